// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"kmend/internal/compiler"
	"kmend/internal/impact"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/oracle"
)

type auditOptions struct {
	kernel   string
	level    string
	sample   int
	units    int
	seed     uint64
	state    string
	markdown string
	strict   bool
}

// auditDocument is the answer with --json.
type auditDocument struct {
	Version int              `json:"version"`
	Kernel  string           `json:"kernel"`
	Totals  []*oracle.Totals `json:"totals"`
	Units   []*oracle.Report `json:"units"`
}

func newAuditCmd(a *app) *cobra.Command {
	var opt auditOptions
	c := &cobra.Command{
		Use:   "audit UNIT.c…|FUNCTION…|UNIT.c:FUNCTION…",
		Short: "Hold the list of impacted functions against the truth",
		Long: `audit compiles a C file twice for each function: as it is, and with the body of
the function hidden from the rest of the file. Whose code differs depends on the
body; that is held against what GCC's own account predicts. For each function
that was not predicted further compiles prove why it differs:

  fact         a fact about the body is used in it, by the optimisations named
  cold         only guesses of how often code runs moved: harmless
  ripple       other inlining moved, no fact is used: an artefact of the method
  unexplained  no compile explains it: counts as unsafe

Two more directions are checked once for each file: static functions that GCC
made to fit their callers, and functions that rest on facts about static
variables.

With --sample functions are drawn from the units that the kernel's configuration
builds; the seed decides which. An audit with -o that was interrupted goes on
where it was. The answer is a report: the exit status is 0 whatever is found,
unless --strict is given. docs/guarantee.md says what is proven and how.`,
		Example: `  kmend audit kernel/events/callchain.c
  kmend audit -v net/ipv4/tcp_output.c:tcp_sync_mss
  kmend audit --level inline-clone get_callchain_entry
  kmend audit --sample 300 --units 60 --level all -o audit.jsonl --markdown audit.md`,
		RunE: func(c *cobra.Command, args []string) error { return runAudit(c.Context(), a, opt, args) },
	}
	f := c.Flags()
	f.StringVarP(&opt.kernel, "kernel", "k", "", "the kernel whose code to audit (default: the running one, or the only one added)")
	f.StringVar(&opt.level, "level", compiler.Plain.String(), "level of -flive-patching to compile at, or all")
	f.IntVar(&opt.sample, "sample", 0, "audit so many functions drawn from the kernel")
	f.IntVar(&opt.units, "units", 60, "with --sample: units to draw them from")
	f.Uint64Var(&opt.seed, "seed", 1, "with --sample: what decides the draw")
	f.StringVarP(&opt.state, "output", "o", "", "keep the result of each unit in this file, one JSON document a line, and use those that are there")
	f.StringVar(&opt.markdown, "markdown", "", "write the tables to this file, too, as Markdown")
	f.BoolVar(&opt.strict, "strict", false, "exit with 3 if the prediction misses a function unsafely")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
	_ = c.RegisterFlagCompletionFunc("level", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names := []string{"all"}
		for _, l := range compiler.Levels {
			names = append(names, l.String())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// auditor is what one run of audit works with.
type auditor struct {
	*app
	opt    auditOptions
	kernel *kernel.Kernel
	tree   *kbuild.Tree
}

// auditTarget is a unit and which of its functions to audit; nil: all.
type auditTarget struct {
	command *kbuild.Command
	names   []string
}

func runAudit(ctx context.Context, a *app, opt auditOptions, args []string) error {
	if (len(args) > 0) == (opt.sample > 0) {
		return usageErrorf("name units or functions, or give --sample with the number of functions to draw")
	}
	if opt.sample < 0 || opt.units < 1 {
		return usageErrorf("--sample and --units must be at least 1")
	}
	names, err := parseLevels(opt.level)
	if err != nil {
		return err
	}
	k, err := kernel.Open(opt.kernel)
	if err != nil {
		return err
	}
	tree, err := kbuild.Open(k)
	if err != nil {
		return err
	}
	levels, err := levelsOf(ctx, k, names)
	if err != nil {
		return err
	}
	w := &auditor{app: a, opt: opt, kernel: k, tree: tree}
	targets, err := w.targets(ctx, args)
	if err != nil {
		return err
	}
	doc, err := w.audit(ctx, levels, targets)
	if err != nil {
		return err
	}
	a.Progress.Done()
	return w.answer(doc)
}

// parseLevels reads --level.
func parseLevels(name string) ([]compiler.Level, error) {
	if name == "all" {
		return compiler.Levels, nil
	}
	l, err := compiler.ParseLevel(name)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%w, or all", err)}
	}
	return []compiler.Level{l}, nil
}

// levelsOf finds the flags of levels for the kernel's compiler.
func levelsOf(ctx context.Context, k *kernel.Kernel, levels []compiler.Level) ([]oracle.Level, error) {
	cc, err := compiler.Identify(ctx, strings.Fields(k.Compiler))
	if err != nil {
		return nil, err
	}
	var out []oracle.Level
	for _, l := range levels {
		level, err := oracle.LevelOf(ctx, cc, l)
		if err != nil {
			return nil, err
		}
		out = append(out, level)
	}
	return out, nil
}

func (w *auditor) targets(ctx context.Context, args []string) ([]auditTarget, error) {
	if w.opt.sample > 0 {
		return w.draw(ctx)
	}
	var out []auditTarget
	for _, arg := range args {
		t, err := w.target(ctx, arg)
		if err != nil {
			return nil, err
		}
		out = append(out, *t)
	}
	return out, nil
}

// target finds what one argument means.
func (w *auditor) target(ctx context.Context, arg string) (*auditTarget, error) {
	source, name, _ := strings.Cut(arg, ":")
	if !strings.HasSuffix(source, ".c") {
		if source != arg {
			return nil, usageErrorf("%s: expected UNIT.c:FUNCTION", arg)
		}
		return w.definition(ctx, arg)
	}
	commands, err := w.tree.Commands(ctx, []string{source})
	if err != nil {
		return nil, err
	}
	t := &auditTarget{command: commands[0]}
	if name == "" {
		return t, nil
	}
	t.names = []string{name}
	u, err := w.open(ctx, t.command)
	if err != nil {
		return nil, err
	}
	if _, err := u.Impact.Impacted(name); err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: %w", source, err)}
	}
	if f := u.Impact.Func(name); f != nil && f.Init {
		return nil, usageErrorf("%s: %s runs at the start or the end only and is never patched", source, name)
	}
	return t, nil
}

// definition finds the unit that has a function which is named alone.
func (w *auditor) definition(ctx context.Context, name string) (*auditTarget, error) {
	w.Progress.Update("find "+name, 0, 0)
	files, err := oracle.FindDefinition(ctx, w.kernel.SourceDir, name)
	if errors.As(err, new(*oracle.NotFoundError)) {
		if near := nearFunctions(ctx, w.kernel, name); len(near) > 0 && !slices.Contains(near, name) {
			err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, ", "))
		}
		return nil, &exitError{exitUsage, err}
	}
	if err != nil {
		return nil, err
	}
	commands, err := w.tree.Built(ctx, files)
	if err != nil {
		return nil, err
	}
	var found []auditTarget
	var units []string
	for _, c := range commands {
		u, err := w.open(ctx, c)
		if err != nil {
			return nil, err
		}
		if _, err := u.Impact.Impacted(name); !errors.As(err, new(*impact.UnknownError)) {
			found = append(found, auditTarget{c, []string{name}})
			units = append(units, c.Source+":"+name)
		}
	}
	switch len(found) {
	case 1:
		return &found[0], nil
	case 0:
		return nil, usageErrorf("find function %s: no unit that this kernel's configuration builds has it (looked at %s)", name, strings.Join(files, ", "))
	}
	return nil, usageErrorf("find function %s: several units have one; name it as one of %s", name, strings.Join(units, ", "))
}

func (w *auditor) open(ctx context.Context, c *kbuild.Command) (*oracle.Unit, error) {
	cc, err := oracle.KernelUnit(w.tree, w.kernel.SourceDir, c)
	if err != nil {
		return nil, err
	}
	return oracle.Open(ctx, cc, c.Source, oracle.Options{})
}

// draw makes the sample: units that have functions, and some of those.
func (w *auditor) draw(ctx context.Context) ([]auditTarget, error) {
	s, err := oracle.NewSampler(ctx, w.tree, w.kernel.SourceDir, w.opt.seed)
	if err != nil {
		return nil, err
	}
	var targets []auditTarget
	var functions [][]string
	for len(targets) < w.opt.units {
		w.Progress.Update("draw", int64(len(targets)), int64(w.opt.units))
		batch, names, err := w.drawSome(ctx, s, w.opt.units-len(targets))
		if err != nil {
			return nil, err
		}
		if len(batch) == 0 {
			break
		}
		for i, c := range batch {
			if len(names[i]) > 0 {
				targets, functions = append(targets, auditTarget{command: c}), append(functions, names[i])
			}
		}
	}
	picked := oracle.Pick(functions, w.opt.sample, w.opt.seed)
	var out []auditTarget
	for i := range targets {
		if len(picked[i]) > 0 {
			targets[i].names = picked[i]
			out = append(out, targets[i])
		}
	}
	return out, nil
}

// drawSome draws up to n units and lists the functions of each.
func (w *auditor) drawSome(ctx context.Context, s *oracle.Sampler, n int) ([]*kbuild.Command, [][]string, error) {
	var batch []*kbuild.Command
	for len(batch) < n {
		c, err := s.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			break
		}
		batch = append(batch, c)
	}
	names := make([][]string, len(batch))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, c := range batch {
		g.Go(func() error {
			u, err := w.open(ctx, c)
			if err == nil {
				names[i], _ = u.Functions()
			}
			return err
		})
	}
	return batch, names, g.Wait()
}

// audit audits all targets at all levels, several units at a time.
func (w *auditor) audit(ctx context.Context, levels []oracle.Level, targets []auditTarget) (*auditDocument, error) {
	kept, err := openAuditState(w.opt.state)
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	reports := make([]*oracle.Report, len(levels)*len(targets))
	var mu sync.Mutex
	done := 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for li, level := range levels {
		for ti, t := range targets {
			g.Go(func() error {
				r, err := w.auditOne(gctx, kept, level, t)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				reports[li*len(targets)+ti] = r
				done++
				w.Progress.Update("audit", int64(done), int64(len(reports)))
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	doc := &auditDocument{Version: 1, Kernel: w.kernel.Name, Units: reports}
	for li, level := range levels {
		doc.Totals = append(doc.Totals, oracle.Sum(level.String(), reports[li*len(targets):(li+1)*len(targets)]))
	}
	return doc, nil
}

// auditOne audits one unit at one level, or takes the result that is kept.
func (w *auditor) auditOne(ctx context.Context, kept *auditState, level oracle.Level, t auditTarget) (*oracle.Report, error) {
	key := kept.key(w.kernel.BuildID, level.String(), t.command.Source, t.names, w.Verbose || w.JSON)
	if r := kept.get(key); r != nil {
		return r, nil
	}
	cc, err := oracle.KernelUnit(w.tree, w.kernel.SourceDir, t.command)
	if err != nil {
		return nil, err
	}
	r, err := oracle.Run(ctx, cc, t.command.Source, t.names, level, oracle.Options{Disassemble: w.Verbose || w.JSON, Jobs: runtime.NumCPU()})
	if err != nil {
		return nil, err
	}
	return r, kept.put(key, r)
}

// writeWhole writes a file beside its place and renames it.
func writeWhole(path string, data []byte) error {
	staged, err := stage(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(staged, path); err != nil {
		os.Remove(staged)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
