// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kmend/internal/impact"
	"kmend/internal/impact/index"
	"kmend/internal/impact/stock"
)

// impactOptions are the flags of kmend impact.
type impactOptions struct {
	index, dumps, kernel, dwarf string
	patches                     []string
	source                      string
	all, audit                  bool
	graph                       string
	maxUnits                    int
}

func newImpactCmd(a *app) *cobra.Command {
	var opt impactOptions
	c := &cobra.Command{
		Use:   "impact FUNC…",
		Short: "Tell which functions must be patched along with a function",
		Long: `impact answers who depends on the body of a function: where GCC copied it, which
clones it made of it, and who calls those. For each there is a chain of reasons,
the symbols of what must be replaced with their positions, and whether a live
patch can replace them. For a function of a header it is the union over all
translation units.

FUNC is a name; file.c:FUNC, file.c:LINE:FUNC, or OBJECT:FUNC with vmlinux, a
module or an object file settles a name that several functions have.

What it knows comes from one of:
  --dumps DIR    a build with -fdump-ipa-clones: the dumps and the objects; the
                 index of it is kept in the cache
  --index FILE   the same, from an index that "kmend impact index" made
  -k KERNEL      a kernel that was added: just the units concerned are compiled
  --dwarf FILE   debug information, which shows only copies that left
                 instructions; with --dumps or --index both are compared

What no dump tells are facts that the compiler used about a function that it did
not copy. With -k, --audit adds those who depend on one: their code differs when
the unit is compiled with the function's body hidden.`,
		Example: `  kmend impact --dumps /home/me/linux-build kmalloc_slab
  kmend impact index --dumps /home/me/linux-build -o linux.idx
  kmend impact --index linux.idx mm/slub.c:get_partial --graph get_partial.svg
  kmend impact --index linux.idx --all
  kmend impact -k 6.1.0-50-amd64 --audit kernel/events/callchain.c:get_callchain_entry
  kmend impact -k 6.1.0-50-amd64 --patch fix.patch --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			a.started = true
			return runImpact(c.Context(), a, opt, args)
		},
	}
	f := c.Flags()
	f.StringVar(&opt.dumps, "dumps", "", "directory of a build with .ipa-clones dumps")
	f.StringVar(&opt.index, "index", "", "index of a build")
	f.StringVarP(&opt.kernel, "kernel", "k", "", "a kernel that was added")
	f.StringVar(&opt.dwarf, "dwarf", "", "vmlinux, module or object file with debug information")
	f.StringArrayVar(&opt.patches, "patch", nil, "ask for the functions that a fix edits; may be given several times")
	f.StringVar(&opt.source, "source", "", "source that the fix is for (default: that of the kernel or the build)")
	f.BoolVar(&opt.all, "all", false, "ask for every function: how many depend on one, and the worst twenty")
	f.BoolVar(&opt.audit, "audit", false, "with -k: add who depends on facts, by compiling with the function's body hidden")
	f.StringVar(&opt.graph, "graph", "", "write a picture of the reasons to a file: .dot or .svg")
	f.IntVar(&opt.maxUnits, "max-units", 0, "with -k: compile up to so many units (default 40)")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
	_ = c.MarkFlagDirname("dumps")
	_ = c.MarkFlagDirname("source")
	_ = c.MarkFlagFilename("patch", "patch", "diff")
	c.AddCommand(newImpactIndexCmd(a), newImpactVerifyCmd(a))
	return c
}

// check finds what is wrong with a command line.
func (o *impactOptions) check(args []string) error {
	sources := 0
	for _, s := range []string{o.dumps, o.index, o.kernel} {
		if s != "" {
			sources++
		}
	}
	switch {
	case sources == 0 && o.dwarf == "":
		return usageErrorf("nothing to ask: give --dumps DIR, --index FILE, -k KERNEL or --dwarf FILE")
	case sources > 1:
		return usageErrorf("--dumps, --index and -k exclude each other")
	case o.kernel != "" && o.dwarf != "":
		return usageErrorf("--dwarf is compared with --dumps or --index, not with -k")
	case o.all && (len(args) > 0 || len(o.patches) > 0 || o.graph != ""):
		return usageErrorf("--all asks for every function: name none, and no --patch or --graph")
	case o.all && o.kernel != "":
		return usageErrorf("--all needs a whole build: give --dumps or --index")
	case !o.all && len(args) == 0 && len(o.patches) == 0 && (o.dwarf == "" || sources == 0):
		return usageErrorf("a function is missing; name one, or give --patch or --all")
	case o.graph != "" && filepath.Ext(o.graph) != ".dot" && filepath.Ext(o.graph) != ".svg":
		return usageErrorf("--graph %s: the file must end in .dot or .svg", o.graph)
	case o.audit && o.kernel == "":
		return usageErrorf("--audit compiles the units of a kernel: give -k KERNEL")
	case o.maxUnits != 0 && o.kernel == "":
		return usageErrorf("--max-units is for -k")
	case o.maxUnits < 0:
		return usageErrorf("--max-units %d: no number of units", o.maxUnits)
	case o.source != "" && len(o.patches) == 0:
		return usageErrorf("--source is for --patch")
	}
	for _, arg := range args {
		if arg == "" || strings.HasSuffix(arg, ":") || strings.ContainsAny(arg, " \t\n") {
			return usageErrorf("%q is no function", arg)
		}
	}
	return nil
}

func runImpact(ctx context.Context, a *app, opt impactOptions, args []string) error {
	if err := opt.check(args); err != nil {
		return err
	}
	src, err := openImpact(ctx, a, opt, args)
	if err != nil {
		return impactError(err)
	}
	defer src.close()
	a.Progress.Done()
	if opt.all {
		return a.impactAll(ctx, src)
	}
	answer, err := src.answer(ctx)
	if err != nil {
		return impactError(err)
	}
	if opt.graph != "" {
		if err := writeGraph(answer, opt.graph); err != nil {
			return err
		}
	}
	a.Progress.Done()
	if a.JSON {
		err = a.PrintJSON(answer)
	} else {
		err = a.printImpact(answer)
	}
	if err == nil && !answer.Complete {
		return &exitError{exitRefused, nil}
	}
	return err
}

// impactError makes what the command line got wrong a usage error.
func impactError(err error) error {
	var unknown *impact.UnknownError
	var ambiguous *index.AmbiguousError
	var large *stock.TooManyError
	switch {
	case errors.As(err, &unknown), errors.As(err, &ambiguous):
		return &exitError{exitUsage, err}
	case errors.As(err, &large):
		return &exitError{exitRefused, err}
	}
	return err
}

func newImpactIndexCmd(a *app) *cobra.Command {
	var dir, out string
	c := &cobra.Command{
		Use:   "index --dumps DIR -o FILE",
		Short: "Make the index of a whole build",
		Long: `index reads every .ipa-clones dump below DIR with the object beside it and makes
one file that answers questions in milliseconds. The same build gives the same
bytes. To get dumps, build the kernel with make KCFLAGS=-fdump-ipa-clones.

Dumps without object, objects without dump, and dumps that are older or newer
than their object are counted as stale; questions about their units say so.`,
		Example: "  kmend impact index --dumps /home/me/linux-build -o linux.idx",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.impactIndex(c.Context(), dir, out)
		},
	}
	c.Flags().StringVar(&dir, "dumps", "", "directory of a build with .ipa-clones dumps")
	c.Flags().StringVarP(&out, "output", "o", "", "the index")
	_ = c.MarkFlagRequired("dumps")
	_ = c.MarkFlagRequired("output")
	_ = c.MarkFlagDirname("dumps")
	return c
}

func (a *app) impactIndex(ctx context.Context, dir, out string) error {
	data, err := index.Build(ctx, index.Options{Dir: dir, Progress: a.counts("read dumps")})
	if err != nil {
		return err
	}
	if err := index.WriteFile(out, data); err != nil {
		return err
	}
	return a.describeIndex(out)
}

// counts shows the progress of a phase.
func (a *app) counts(phase string) func(done, total int) {
	return func(done, total int) { a.Progress.Update(phase, int64(done), int64(total)) }
}

func newImpactVerifyCmd(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "verify INDEX",
		Short: "Check all of an index, and whether it is of a build",
		Long: `verify reads all of an index: its checksums, and whether what one part says of
another is so. Questions check only what they touch. With --dumps it reads the
build as well and lists the units that are not those of the index.`,
		Example: "  kmend impact verify linux.idx\n  kmend impact verify linux.idx --dumps /home/me/linux-build",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.impactVerify(c.Context(), args[0], dir)
		},
	}
	c.Flags().StringVar(&dir, "dumps", "", "the build that the index should be of")
	_ = c.MarkFlagDirname("dumps")
	return c
}

func (a *app) impactVerify(ctx context.Context, name, dir string) error {
	x, err := index.Open(name)
	if err != nil {
		return err
	}
	defer x.Close()
	if err := x.Verify(); err != nil {
		return fmt.Errorf("verify %s: %w", name, err)
	}
	if dir != "" {
		data, err := index.Build(ctx, index.Options{Dir: dir, Progress: a.counts("read dumps")})
		if err != nil {
			return err
		}
		now, err := index.Parse(data)
		if err != nil {
			return err
		}
		diff, err := index.Differences(x, now)
		if err != nil {
			return err
		}
		if len(diff) > 0 {
			const most = 20
			list := strings.Join(diff[:min(len(diff), most)], "\n  ")
			return &exitError{exitRefused, fmt.Errorf("verify %s: it is not of the build in %s, %d units differ:\n  %s\nmake it anew with kmend impact index", name, dir, len(diff), list)}
		}
	}
	return a.describeIndex(name)
}

// describeIndex says what an index holds.
func (a *app) describeIndex(name string) error {
	x, err := index.Open(name)
	if err != nil {
		return err
	}
	defer x.Close()
	stale, err := x.NewQuery().StaleUnits()
	if err != nil {
		return err
	}
	a.Progress.Done()
	inputs := x.Inputs()
	doc := indexAnswer{Version: 1, Index: name, Bytes: x.Size(), Inputs: fmt.Sprintf("%x", inputs), Units: x.Units(),
		Functions: x.Names(), Nodes: x.Nodes(), Edges: x.Edges(), Symbols: x.Symbols(), Stale: staleUnits(stale)}
	if a.JSON {
		return a.PrintJSON(doc)
	}
	fmt.Fprintf(a.Out, "%s: %d units, %d functions, %d edges, %d symbols, %d bytes\n", a.Style.Bold(name), doc.Units, doc.Nodes, doc.Edges, doc.Symbols, doc.Bytes)
	a.printStale(doc.Stale)
	return nil
}
