// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"kmend/internal/compiler"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/levels"
)

// levelsOptions are the flags of kmend levels.
type levelsOptions struct {
	kernel string
	levels []string
	rounds int
	boot   bool
	boots  int
	jobs   int
	svg    string
	agent  string
}

// levelsDocument is the answer with --json; docs/json.md has the fields.
type levelsDocument struct {
	Version  int              `json:"version"`
	Kernel   string           `json:"kernel"`
	Compiler string           `json:"compiler"`
	Units    *levels.Units    `json:"units,omitempty"`
	Runtimes []levels.Runtime `json:"runtimes,omitempty"`
}

func newLevelsCmd(a *app) *cobra.Command {
	var opt levelsOptions
	c := &cobra.Command{
		Use:   "levels [FILE.c|DIRECTORY…]",
		Short: "Measure what each level of -flive-patching costs and brings",
		Long: `levels compiles translation units of a kernel as they are and at each level of
-flive-patching, and shows text size, functions, clones, and how many other
functions must be replaced along with one. Units are C files of the kernel's
source by their path in it; a directory stands for all units below it that the
configuration builds. A unit that does not compile at a level is named with the
compiler's reason, and left out of all figures. Sums are over functions, each in
a section of its own (-ffunction-sections), without padding between them.

--time N measures the CPU seconds of the compiler, too: each unit is compiled N
times at each level, in turn, past the cache, and the least counts.

--boot builds a small kernel from the kernel's source at each level, boots it in
QEMU and counts the instructions that a fixed list of system calls takes there.
QEMU counts, so that the figures are the same on any machine. The kernels are
built once, in levels/KERNEL/LEVEL/build of the cache directory; that takes about
seven minutes each on two cores. A unit that does not compile at a level is
compiled without it, and named. The builds have dumps for "kmend impact index".

--svg FILE draws text size and instructions against how much must be replaced.`,
		Example: `  kmend levels -k 6.1.0-50-amd64 fs/proc mm/mmap.c
  kmend levels --time 3 --level inline-clone,inline kernel/sched
  kmend levels --boot --boots 3 --svg levels.svg fs mm --json`,
		RunE: func(c *cobra.Command, args []string) error { return a.levels(c.Context(), opt, args) },
	}
	f := c.Flags()
	f.StringVarP(&opt.kernel, "kernel", "k", "", "the kernel whose source and configuration it is (default: as for build)")
	f.StringSliceVar(&opt.levels, "level", nil, "levels to measure beside plain (default: all)")
	f.IntVar(&opt.rounds, "time", 0, "measure compile times, the least of `N` compiles each")
	f.BoolVar(&opt.boot, "boot", false, "build a small kernel at each level, boot it and count instructions")
	f.IntVar(&opt.boots, "boots", 3, "how often to boot each of them")
	f.IntVarP(&opt.jobs, "jobs", "j", 0, "what make builds at a time for --boot (default: one for each CPU)")
	f.StringVar(&opt.svg, "svg", "", "draw the trade-off into this file")
	f.StringVar(&opt.agent, "agent", "", "program to run as the guest's init")
	_ = f.MarkHidden("agent")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
	_ = c.RegisterFlagCompletionFunc("level", completeLevels)
	return c
}

// completeLevels offers the levels that can be measured beside plain.
func completeLevels(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, l := range compiler.Levels {
		if l != compiler.Plain {
			names = append(names, l.String())
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) levels(ctx context.Context, opt levelsOptions, args []string) error {
	list, err := levelList(opt, args)
	if err != nil {
		return err
	}
	k, err := kernel.Open(opt.kernel)
	if err != nil {
		return err
	}
	cc, err := compiler.Identify(ctx, strings.Fields(k.Compiler))
	if err != nil {
		return err
	}
	doc := &levelsDocument{Version: 1, Kernel: k.Name, Compiler: cc.Text}
	if len(args) > 0 {
		if doc.Units, err = a.measureUnits(ctx, opt, k, cc, list, args); err != nil {
			return refuseLevel(err)
		}
	}
	if opt.boot {
		doc.Runtimes, err = levels.Runtimes(ctx, levels.RunConfig{
			Kernel: k, Compiler: cc, Levels: list, Boots: opt.boots, Jobs: opt.jobs, Agent: opt.agent, Progress: a.Progress.Update,
		})
		if err != nil {
			return refuseLevel(err)
		}
	}
	a.Progress.Done()
	if a.JSON {
		err = a.PrintJSON(doc)
	} else {
		err = a.printLevels(doc)
	}
	if err != nil {
		return err
	}
	if opt.svg != "" && (doc.Units == nil || doc.Units.Counted > 0) {
		if err := writePicture(opt.svg, doc); err != nil {
			return err
		}
	}
	return unmeasured(doc)
}

// levelList checks the command line.
func levelList(opt levelsOptions, args []string) ([]compiler.Level, error) {
	switch {
	case len(args) == 0 && !opt.boot:
		return nil, usageErrorf("name C files or directories of the kernel's source, or give --boot")
	case len(args) == 0 && opt.svg != "":
		return nil, usageErrorf("--svg draws against the functions to replace: name C files or directories of the kernel's source, too")
	case len(args) == 0 && opt.rounds != 0:
		return nil, usageErrorf("--time is of compiles of units: name C files or directories of the kernel's source")
	case opt.rounds < 0 || opt.rounds > 100:
		return nil, usageErrorf("--time %d: 0 to 100 compiles of each unit", opt.rounds)
	case opt.boots < 1 || opt.boots > 100:
		return nil, usageErrorf("--boots %d: 1 to 100", opt.boots)
	}
	if len(opt.levels) == 0 {
		return compiler.Levels, nil
	}
	var list []compiler.Level
	for _, name := range opt.levels {
		l, err := compiler.ParseLevel(name)
		if err != nil {
			return nil, usageErrorf("--level: %w", err)
		}
		list = append(list, l)
	}
	return list, nil
}

// refuseLevel gives a compiler that has not got a level the exit code of a refusal.
func refuseLevel(err error) error {
	var missing *compiler.LevelError
	if errors.As(err, &missing) {
		return &exitError{exitRefused, err}
	}
	return err
}

func (a *app) measureUnits(ctx context.Context, opt levelsOptions, k *kernel.Kernel, cc *compiler.Compiler, list []compiler.Level, args []string) (*levels.Units, error) {
	tree, err := kbuild.Open(k)
	if err != nil {
		return nil, err
	}
	if opt.rounds > 0 {
		tree.Cache = nil
	}
	commands, err := a.unitsNamed(ctx, tree, args)
	if err != nil {
		return nil, err
	}
	units, compile := levels.InTree(tree, commands)
	return levels.Measure(ctx, levels.Config{
		Units: units, Compile: compile, Compiler: cc, Levels: list, Rounds: opt.rounds, Jobs: tree.Jobs.N(),
		Progress: func(done, total int64) { a.Progress.Update("compile", done, total) },
	})
}

// unitsNamed finds the units of C files and of directories.
func (a *app) unitsNamed(ctx context.Context, tree *kbuild.Tree, args []string) (commands []*kbuild.Command, err error) {
	a.Progress.Update("find the units", 0, 0)
	var files []string
	for _, arg := range args {
		arg = path.Clean(arg)
		if path.Ext(arg) == ".c" {
			files = append(files, arg)
			continue
		}
		below, err := tree.Below(ctx, arg)
		if err != nil {
			return nil, err
		}
		commands = append(commands, below...)
	}
	named, err := tree.Commands(ctx, files)
	return append(commands, named...), err
}

// writePicture writes the SVG, all of it or nothing.
func writePicture(file string, doc *levelsDocument) error {
	data, err := levels.Picture(doc.Units, doc.Runtimes)
	if err != nil {
		return err
	}
	temp := file + ".tmp"
	if err = os.WriteFile(temp, data, 0o644); err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}

// unmeasured is the error of an answer that lacks what was asked for.
func unmeasured(doc *levelsDocument) error {
	if doc.Units != nil && doc.Units.Counted == 0 {
		return &exitError{exitFailed, nil}
	}
	for _, r := range doc.Runtimes {
		if r.Error != "" {
			return &exitError{exitFailed, nil}
		}
	}
	return nil
}
