// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kmend/internal/kernel"
	"kmend/internal/klp"
	"kmend/internal/plan"
	"kmend/internal/report"
	"kmend/internal/verify"
)

// maxPatch bounds what is read of one patch file.
const maxPatch = 64 << 20

// planOptions are the flags that build and plan share.
type planOptions struct {
	kernel  string
	name    string
	noAudit bool

	functions []plan.FunctionSpec // in place of patches
	source    sourceOptions       // of the extraction, where edits of one are the fix
}

func (o *planOptions) addFlags(c *cobra.Command) {
	c.Flags().StringVarP(&o.kernel, "kernel", "k", "", "the kernel to patch (default: the running one, or the only one added)")
	c.Flags().StringVarP(&o.name, "name", "n", "", "name of the patch (default: from the first file name)")
	c.Flags().BoolVar(&o.noAudit, "no-audit", false, "do not compile the unit with the changed bodies hidden to see who depends on them (the plan says so)")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
}

// completeKernels offers the kernels that were added.
func completeKernels(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := kernel.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, k := range all {
		names = append(names, k.Name+"\t"+k.Version)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func completePatches(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"patch", "diff"}, cobra.ShellCompDirectiveFilterFileExt
}

func newBuildCmd(a *app) *cobra.Command {
	var opt planOptions
	var src sourceOptions
	var way ways
	var dir string
	c := &cobra.Command{
		Use:   "build {FIX.patch… | EXTRACTED-DIR}",
		Short: "Make a live patch out of a source fix",
		Long: `build compiles each C file that the fix changes twice, before and after, compares
the two function by function, proves that what it compiled before the fix is what
the kernel runs, resolves every symbol that the new code needs, and writes a
livepatch module. Who depends on the changed bodies is observed by compiling the
file with them hidden from the rest of it, and must be covered by the patch.

It leaves livepatch-NAME.ko and plan.json in the output directory. The plan says
which functions are replaced and why, and what was proved. What cannot be patched
safely is refused with the reason (exit status 3).

The patches are unified diffs, made by git or by diff -u; several are applied in
the order given and make one module. The kernel's source is never modified.
A directory in place of patches is one that extract left for functions as they
are, and that was edited since: its edits are the fix.

With --from source the new code is not cut out of the whole file's object but
compiled from a C file that has just the functions concerned and that is left
beside the module: see extract. --both goes both ways and refuses unless they
replace the same functions by the same code.`,
		Example: `  kmend build -k 6.1.0-50-amd64 -o out fix.patch
  kmend build --from source -o out fix.patch
  kmend build -o out 0001-net.patch 0002-net.patch
  git show 1234abcd | kmend build -n cve-2026-1 -o out -`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePatches,
		RunE: func(c *cobra.Command, args []string) error {
			opt.source = src
			switch err := way.check(c); {
			case err != nil:
				return err
			case way.both:
				return runBoth(c.Context(), a, opt, src, dir, args)
			case way.source():
				return runExtract(c.Context(), a, opt, src, dir, true, false, args)
			}
			return runBuild(c.Context(), a, opt, dir, args)
		},
	}
	opt.addFlags(c)
	src.addFlags(c)
	way.addFlags(c)
	c.Flags().StringVarP(&dir, "output", "o", "", "directory for the module and the plan (made if it is not there)")
	_ = c.MarkFlagRequired("output")
	_ = c.MarkFlagDirname("output")
	return c
}

func newPlanCmd(a *app) *cobra.Command {
	var opt planOptions
	c := &cobra.Command{
		Use:   "plan FIX.patch…",
		Short: "Tell what a live patch of a fix would replace, and why",
		Long: `plan does all that build does short of writing the module: the plan is printed,
nothing is left behind. With --json it is the document that build leaves as
plan.json.`,
		Example: `  kmend plan -k 6.1.0-50-amd64 fix.patch
  kmend plan --json fix.patch | jq '.objects[].functions[].name'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePatches,
		RunE: func(c *cobra.Command, args []string) error {
			b, _, err := makePlan(c.Context(), a, opt, args)
			if err != nil {
				return err
			}
			return answer(a, b.Plan)
		},
	}
	opt.addFlags(c)
	return c
}

// makePlan reads the inputs and runs the pipeline.
func makePlan(ctx context.Context, a *app, opt planOptions, args []string) (*plan.Build, *kernel.Kernel, error) {
	k, err := kernel.Open(opt.kernel)
	if err != nil {
		return nil, nil, err
	}
	q := plan.Request{Kernel: k, NoAudit: opt.noAudit, Progress: func(stage string, done, total int) { a.Progress.Update(stage, int64(done), int64(total)) }}
	first := args[0]
	switch st, err := os.Stat(first); {
	case len(opt.functions) > 0:
		q.Functions, first = opt.functions, opt.functions[0].Name
	case err == nil && st.IsDir() && len(args) == 1:
		fix, err := editedFix(ctx, a, k, opt, first)
		if err != nil {
			return nil, nil, err
		}
		q.Patches = []plan.Input{{Name: first, Data: fix}}
	default:
		for _, arg := range args {
			data, err := readPatch(arg)
			if err != nil {
				return nil, nil, err
			}
			q.Patches = append(q.Patches, plan.Input{Name: arg, Data: data})
		}
	}
	if q.Name, err = moduleName(opt.name, first); err != nil {
		return nil, nil, err
	}
	b, err := plan.Make(ctx, q)
	a.Progress.Done()
	return b, k, err
}

func readPatch(name string) ([]byte, error) {
	r := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read patch: %w", err)
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxPatch+1))
	if err != nil {
		return nil, fmt.Errorf("read patch %s: %w", name, err)
	}
	if len(data) > maxPatch {
		return nil, fmt.Errorf("read patch %s: more than %d MB, which is no patch", name, maxPatch>>20)
	}
	return data, nil
}

// moduleName makes livepatch_NAME of a name or a file name.
func moduleName(name, file string) (string, error) {
	if name == "" {
		if file == "-" {
			return "", usageErrorf("a patch from standard input needs a name: give --name")
		}
		name = filepath.Base(file)
		for _, ext := range []string{".patch", ".diff", ".txt"} {
			name = strings.TrimSuffix(name, ext)
		}
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, name)
	clean = strings.Trim(clean, "_")
	if clean == "" {
		return "", usageErrorf("%q gives no name for the module: give --name", name)
	}
	const prefix, limit = "livepatch_", 55 // MODULE_NAME_LEN less its NUL
	return prefix + clean[:min(len(clean), limit-len(prefix))], nil
}

// fileName is the module's file name as users expect it.
func fileName(module string) string {
	return strings.ReplaceAll(module, "_", "-") + ".ko"
}

func runBuild(ctx context.Context, a *app, opt planOptions, dir string, args []string) error {
	b, k, err := makePlan(ctx, a, opt, args)
	if err != nil {
		return err
	}
	if b.Plan.Verdict == plan.Patch {
		if err := writeOutput(a, b, k, dir, true, nil); err != nil {
			return err
		}
	}
	return answer(a, b.Plan)
}

// moduleData makes the module. An objection makes the plan a refusal.
func moduleData(a *app, b *plan.Build, k *kernel.Kernel, path string) ([]byte, error) {
	p := b.Plan
	start := time.Now()
	a.Progress.Update("write", 0, 0)
	spec, err := klp.SpecOf(b)
	if err != nil {
		return nil, err
	}
	facts, err := klp.FactsOf(k)
	if err != nil {
		return nil, err
	}
	data, stats, err := klp.Write(spec, facts)
	var refused *klp.Error
	if errors.As(err, &refused) && refused.Code == klp.CodeModuleSpecialReference {
		p.Refuse(plan.Refusal{Code: plan.CodeModuleSpecial, Object: refused.Object, Symbol: refused.Where, Why: refused.Why, Advice: refused.Advice})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.Module = moduleOf(path, data, stats)
	p.Time("write", time.Since(start))
	return data, nil
}

// stage writes a file beside its place, to be renamed or removed.
func stage(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write %s: %w; check the free space there", path, err)
	}
	return f.Name(), nil
}

// verifyFile re-reads the module from disk and checks it as a stranger's.
func verifyFile(a *app, p *plan.Plan, k *kernel.Kernel, path string, want []byte) error {
	start := time.Now()
	a.Progress.Update("verify", 0, 0)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("re-read the module: %w", err)
	}
	if !bytes.Equal(data, want) {
		return fmt.Errorf("re-read the module: %s is not what was written; check the disk", path)
	}
	rep, err := verify.Check(k, data)
	if err != nil {
		return fmt.Errorf("verify the module: %w", err)
	}
	for _, o := range rep.Objections {
		p.Refuse(plan.Refusal{Code: plan.CodeVerify, Symbol: o.Where, Why: o.Code + ": " + o.What,
			Advice: "this is a defect of kmend: report it with the patch"})
	}
	p.Time("verify", time.Since(start))
	return nil
}

// answer prints a plan and turns its verdict into the exit code.
func answer(a *app, p *plan.Plan) error {
	a.Progress.Done()
	if a.JSON {
		if err := a.PrintJSON(p); err != nil {
			return err
		}
	} else if err := report.Text(a.Out, p, report.TextOptions{Verbose: a.Verbose, Style: a.Style}); err != nil {
		return fmt.Errorf("print the plan: %w", err)
	}
	switch p.Verdict {
	case plan.Refused:
		return &exitError{exitRefused, nil}
	case plan.Nothing:
		return &exitError{exitNothing, nil}
	}
	return nil
}

// moduleOf is what the plan says of the file.
func moduleOf(path string, data []byte, stats klp.Stats) *plan.Module {
	return &plan.Module{
		Path: path, Size: len(data), SHA256: fmt.Sprintf("%x", sha256.Sum256(data)), BuildID: stats.BuildID,
		KlpRelocs: stats.KlpRelocs, ByObject: stats.KlpByObject, Verified: true,
	}
}
