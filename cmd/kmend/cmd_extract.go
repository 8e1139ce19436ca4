// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"kmend/internal/extract"
	"kmend/internal/kernel"
	"kmend/internal/plan"
	"kmend/internal/sourceplan"
)

// sourceOptions are the flags of the source way.
type sourceOptions struct {
	policy        string
	selfContained bool
	allIncludes   bool
}

func (o *sourceOptions) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.policy, "policy", "", "file of decisions by name: \"copy NAME\", \"declare NAME\" or \"refuse NAME\" a line")
	f.BoolVar(&o.selfContained, "self-contained", false, "copy what only headers of the kernel's own directories declare: the headers package is enough to compile")
	f.BoolVar(&o.allIncludes, "all-includes", false, "keep every #include of the file, needed or not")
	_ = c.MarkFlagFilename("policy")
}

func newExtractCmd(a *app) *cobra.Command {
	var opt planOptions
	var src sourceOptions
	var dir string
	var module, prove bool
	c := &cobra.Command{
		Use:   "extract {FIX.patch… | FILE:FUNCTION…}",
		Short: "Write a live patch as one C file that a person can review",
		Long: `extract makes the plan that build makes, and writes it as C: the functions to be
replaced, under names with klpp_ in front, and of what they use only that which
neither the headers nor the running kernel offer. Everything else is declared and
bound to the kernel's own. The text is the kernel's: macros, comments and order
are kept, and each piece says where it is from.

With FILE:FUNCTION it writes functions as they are, ready to be edited, and with
them all that depend on their bodies. FILE can be left out if only one file
defines the function.

The output directory gets livepatch_NAME.c (one for each file that the fix
changes, if there are several, and one that registers), Kbuild, plan.json and
README. The file compiles with -Werror by the Kbuild beside it. --module writes
the module, too: kmend compiles that text itself and adds the relocations to
symbols that the kernel does not export.

What was extracted is compiled without the fix as well and held against the
kernel's own object, function by function: --prove prints the verdicts, plan.json
has them.`,
		Example: `  kmend extract -k 6.1.0-50-amd64 -o out fix.patch
  kmend extract -o out --module --prove fix.patch
  kmend extract -o out fs/proc/cmdline.c:cmdline_proc_show`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePatches,
		RunE: func(c *cobra.Command, args []string) error {
			return runExtract(c.Context(), a, opt, src, dir, module, prove, args)
		},
	}
	opt.addFlags(c)
	src.addFlags(c)
	c.Flags().StringVarP(&dir, "output", "o", "", "directory for the files (made if it is not there)")
	c.Flags().BoolVar(&module, "module", false, "write the module, too")
	c.Flags().BoolVar(&prove, "prove", false, "print for each function how its code compares with the kernel's own")
	_ = c.MarkFlagRequired("output")
	_ = c.MarkFlagDirname("output")
	return c
}

func runExtract(ctx context.Context, a *app, opt planOptions, src sourceOptions, dir string, module, prove bool, args []string) error {
	var err error
	if opt.functions, err = functionArgs(args); err != nil {
		return err
	}
	opt.source = src
	_, r, k, err := planSource(ctx, a, opt, src, args)
	if err != nil {
		return err
	}
	if r.Build.Plan.Verdict == plan.Patch {
		if err := writeOutput(a, r.Build, k, dir, module, r.Write(k)); err != nil {
			return err
		}
	}
	if err := answer(a, r.Build.Plan); err != nil || a.JSON {
		return err
	}
	printExtracted(a, r, dir, prove)
	return nil
}

// planSource makes a plan and goes the source way. Where there is nothing to
// extract, or it is refused, that is the answer, and an error.
func planSource(ctx context.Context, a *app, opt planOptions, src sourceOptions, args []string) (*plan.Build, *sourceplan.Result, *kernel.Kernel, error) {
	b, k, err := makePlan(ctx, a, opt, args)
	if err != nil {
		return nil, nil, nil, err
	}
	if b.Plan.Verdict != plan.Patch {
		return nil, nil, nil, answer(a, b.Plan)
	}
	r, err := makeSource(ctx, a, k, b, src)
	if err == nil && r == nil {
		err = answer(a, b.Plan)
	}
	return b, r, k, err
}

// runBoth builds the binary way and the source way and holds them against each
// other.
func runBoth(ctx context.Context, a *app, opt planOptions, src sourceOptions, dir string, args []string) error {
	b, r, k, err := planSource(ctx, a, opt, src, args)
	if err != nil {
		return err
	}
	if r.Build.Plan.Verdict != plan.Patch {
		return answer(a, r.Build.Plan)
	}
	if err := crossCheck(b, r.Build); err != nil {
		return err
	}
	if b.Plan.Verdict == plan.Patch {
		if err := writeOutput(a, r.Build, k, filepath.Join(dir, "source"), true, r.Write(k)); err != nil {
			return err
		}
	}
	if r.Build.Plan.Verdict != plan.Patch {
		return answer(a, r.Build.Plan)
	}
	if b.Plan.Verdict == plan.Patch {
		if err := writeOutput(a, b, k, dir, true, nil); err != nil {
			return err
		}
	}
	if err := answer(a, b.Plan); err != nil || a.JSON {
		return err
	}
	printExtracted(a, r, filepath.Join(dir, "source"), true)
	return nil
}

// editedFix is the fix that the edits of an extracted directory mean.
func editedFix(ctx context.Context, a *app, k *kernel.Kernel, opt planOptions, dir string) ([]byte, error) {
	specs, err := sourceplan.Extracted(k, dir)
	if err != nil {
		return nil, editRefused(err)
	}
	opt.functions, opt.noAudit = specs, false
	b, _, err := makePlan(ctx, a, opt, []string{dir})
	if err != nil {
		return nil, err
	}
	r, err := makeSource(ctx, a, k, b, opt.source)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("put the edits of %s back: its functions cannot be extracted any more; extract them again to see why", dir)
	}
	fix, err := r.Fix(k, dir)
	if err != nil {
		return nil, editRefused(err)
	}
	if len(fix) == 0 {
		return nil, &exitError{exitNothing, fmt.Errorf("%s is as it was extracted: edit it first", dir)}
	}
	return fix, sameEdits(ctx, a, k, opt, dir, fix)
}

// sameEdits extracts once more, from the source with the edits: the functions
// must come out as the directory has them. A fix that cannot be extracted will be
// refused for its own reasons.
func sameEdits(ctx context.Context, a *app, k *kernel.Kernel, opt planOptions, dir string, fix []byte) error {
	b, err := plan.Make(ctx, plan.Request{Kernel: k, Name: "livepatch_edited", Patches: []plan.Input{{Name: dir, Data: fix}}})
	if err != nil || b.Plan.Verdict != plan.Patch {
		return err
	}
	r, err := makeSource(ctx, a, k, b, opt.source)
	if err != nil || r == nil {
		return err
	}
	return editRefused(r.SameBodies(dir))
}

// editRefused makes edits that cannot be put back a refusal.
func editRefused(err error) error {
	var e *sourceplan.EditError
	if errors.As(err, &e) {
		return &exitError{exitRefused, err}
	}
	return err
}

// crossCheck makes the plan of the binary way a refusal where the two ways
// disagree.
func crossCheck(binary, source *plan.Build) error {
	differ, err := plan.CrossCheck(binary, source)
	for _, d := range differ {
		binary.Plan.Refuse(plan.Refusal{Code: plan.CodeWaysDisagree, Object: d.Object, Symbol: d.Function, Why: d.Why,
			Advice: "look at both with extract --prove, and build one way if the difference is right"})
	}
	return err
}

// makeSource goes the source way. Where no file can be cut, the plan becomes a
// refusal and the result is nil.
func makeSource(ctx context.Context, a *app, k *kernel.Kernel, b *plan.Build, src sourceOptions) (*sourceplan.Result, error) {
	so := sourceplan.Options{SelfContained: src.selfContained, AllIncludes: src.allIncludes, Progress: func(stage string, done, total int) {
		a.Progress.Update(stage, int64(done), int64(total))
	}}
	if src.policy != "" {
		data, err := os.ReadFile(src.policy)
		if err != nil {
			return nil, fmt.Errorf("read policy: %w", err)
		}
		if so.Policy, err = extract.ParsePolicy(src.policy, data); err != nil {
			return nil, &exitError{exitUsage, err}
		}
	}
	r, err := sourceplan.Make(ctx, k, b, so)
	a.Progress.Done()
	var refused *extract.Error
	if errors.As(err, &refused) {
		b.Plan.Refuse(plan.Refusal{Code: refused.Code, File: refused.Where, Symbol: refused.Name, Why: refused.Why, Advice: refused.Advice})
		return nil, nil
	}
	return r, err
}

// printExtracted tells what was written, and the proofs if asked for.
func printExtracted(a *app, r *sourceplan.Result, dir string, prove bool) {
	for _, u := range r.Units {
		fmt.Fprintf(a.Out, "%s: %d lines of code from %s\n", filepath.Join(dir, u.Object.File), u.File.Lines, u.Source)
	}
	if !prove {
		return
	}
	for _, u := range r.Units {
		printProofs(a, "without the fix", u.Object.Unpatched)
		printProofs(a, "as extracted", u.Patched(r.Build.Plan))
	}
}

func printProofs(a *app, when string, proofs []plan.Proof) {
	for _, p := range proofs {
		verdict := a.Style.Green(p.Verdict)
		if p.Verdict != plan.ProofIdentical {
			var rules []string
			for _, r := range p.Rules {
				rules = append(rules, r.Rule)
			}
			verdict = a.Style.Yellow(p.Verdict)
			if len(rules) > 0 {
				verdict += " (" + strings.Join(rules, ", ") + ")"
			}
			verdict += ": " + p.Difference
		}
		fmt.Fprintf(a.Out, "  %s, %s: %s\n", p.Function, when, verdict)
	}
}

var functionArg = regexp.MustCompile(`^(?:([\w./+-]+\.c):)?([A-Za-z_]\w*)$`)

// badFunctionArg looks like a function and is none.
var badFunctionArg = regexp.MustCompile(`^[^ ]+:[A-Za-z_]\w*$`)

// functionArgs tells functions from patches among the arguments: either all are
// functions or none is.
func functionArgs(args []string) ([]plan.FunctionSpec, error) {
	var specs []plan.FunctionSpec
	for _, arg := range args {
		m := functionArg.FindStringSubmatch(arg)
		if _, err := os.Stat(arg); err == nil {
			continue
		}
		if m == nil && badFunctionArg.MatchString(arg) {
			return nil, usageErrorf("%s: functions are named as FILE.c:FUNCTION, with the C file that is compiled", arg)
		}
		if m == nil {
			continue
		}
		specs = append(specs, plan.FunctionSpec{File: m[1], Name: m[2]})
	}
	if len(specs) > 0 && len(specs) < len(args) {
		return nil, usageErrorf("either patches or functions, not both: %s", strings.Join(args, " "))
	}
	return specs, nil
}

// writeOutput puts a plan, its module if asked for, and other files into a
// directory: all of them or none.
func writeOutput(a *app, b *plan.Build, k *kernel.Kernel, dir string, module bool, files []sourceplan.OutFile) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	var staged []stagedFile
	defer func() {
		for _, s := range staged {
			os.Remove(s.temp)
		}
	}()
	put := func(name string, data []byte) error {
		path := filepath.Join(dir, name)
		temp, err := stage(path, data)
		if err == nil {
			staged = append(staged, stagedFile{temp, path})
		}
		return err
	}
	for _, f := range files {
		if err := put(f.Name, f.Data); err != nil {
			return err
		}
	}
	if module {
		data, err := moduleData(a, b, k, filepath.Join(dir, fileName(b.Plan.Name)))
		if err != nil || b.Plan.Verdict != plan.Patch {
			return err
		}
		if err := put(fileName(b.Plan.Name), data); err != nil {
			return err
		}
		if err := verifyFile(a, b.Plan, k, staged[len(staged)-1].temp, data); err != nil || b.Plan.Verdict != plan.Patch {
			return err
		}
	}
	doc, err := json.MarshalIndent(b.Plan, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the plan: %w", err)
	}
	if err := put("plan.json", append(doc, '\n')); err != nil {
		return err
	}
	// The plan first: it names its module by digest, so it is never taken for
	// the plan of an older module that is still there.
	for i := len(staged) - 1; i >= 0; i-- {
		if err := os.Rename(staged[i].temp, staged[i].path); err != nil {
			return fmt.Errorf("put %s into place: %w", filepath.Base(staged[i].path), err)
		}
	}
	return nil
}

// stagedFile is a file beside its place.
type stagedFile struct{ temp, path string }
