// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"kmend/internal/plan"
	"kmend/internal/ui"
	"kmend/internal/vm"
)

// Outcomes of a fix in a survey.
const (
	outcomeProven     = "proven"           // built, and passed in the virtual machine
	outcomeBuilt      = "built"            // built, not tested (--no-vm)
	outcomeNothing    = "nothing"          // the fix changes no code
	outcomeRefused    = "refused"          // see Codes
	outcomeNoCompile  = "does-not-compile" // the fix needs something else of its release
	outcomeIncomplete = "incomplete"       // built; the virtual machine could not show all of it
	outcomeWrong      = "wrong"            // built, and failed in the virtual machine
	outcomeError      = "error"            // kmend itself failed
)

// surveyed is the result of one fix; docs/json.md has the fields.
type surveyed struct {
	Key       string   `json:"key"` // of what decides the result: see surveyKey
	Patch     string   `json:"patch"`
	Outcome   string   `json:"outcome"`
	Codes     []string `json:"codes"`
	Reasons   []string `json:"reasons"`
	Object    string   `json:"object"`
	Functions int      `json:"functions"`
	KlpRelocs int      `json:"klp_relocations"`
	Seconds   float64  `json:"seconds"`
	VMSeconds float64  `json:"vm_seconds"`
}

// surveyDocument is the answer with --json.
type surveyDocument struct {
	Version int            `json:"version"`
	Kernel  string         `json:"kernel"`
	Totals  map[string]int `json:"totals"`
	Fixes   []*surveyed    `json:"fixes"`
}

type surveyOptions struct {
	planOptions
	dir      string
	jobs     int
	noVM     bool
	again    bool
	markdown string
}

func newSurveyCmd(a *app) *cobra.Command {
	var opt surveyOptions
	c := &cobra.Command{
		Use:   "survey FIX.patch…",
		Short: "Build and test many fixes, each on its own, and count the outcomes",
		Long: `survey does for each fix what build and test do, and tells how many were proven,
had nothing to patch, were refused and why, or went wrong.

Modules, plans, logs and a result for each fix are left below the output
directory. A fix whose result is there is not done again, unless the fix, the
kernel or kmend itself changed: an interrupted survey goes on where it was.`,
		Example: `  kmend survey -k 6.1.0-50-amd64 -o survey fixes/*.patch
  kmend survey -o survey --markdown survey.md fixes/*.patch`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completePatches,
		RunE:              func(c *cobra.Command, args []string) error { return runSurvey(c.Context(), a, opt, args) },
	}
	f := c.Flags()
	f.StringVarP(&opt.kernel, "kernel", "k", "", "the kernel to patch (default: the running one, or the only one added)")
	f.StringVarP(&opt.dir, "output", "o", "", "directory for results")
	f.IntVarP(&opt.jobs, "jobs", "j", 2, "fixes to work on at a time")
	f.BoolVar(&opt.noVM, "no-vm", false, "build only, do not test")
	f.BoolVar(&opt.again, "again", false, "do fixes again that have a result")
	f.StringVar(&opt.markdown, "markdown", "", "write the table to this file, too, as Markdown")
	_ = c.MarkFlagRequired("output")
	_ = c.RegisterFlagCompletionFunc("kernel", completeKernels)
	return c
}

func runSurvey(ctx context.Context, a *app, opt surveyOptions, args []string) error {
	if opt.jobs < 1 {
		return usageErrorf("--jobs %d: at least 1", opt.jobs)
	}
	self, err := selfDigest()
	if err != nil {
		return err
	}
	results := make([]*surveyed, len(args))
	var mu sync.Mutex
	done := 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(opt.jobs)
	for i, arg := range args {
		g.Go(func() error {
			r, err := surveyOne(gctx, a, opt, self, arg)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			results[i] = r
			done++
			a.Progress.Update("survey", int64(done), int64(len(args)))
			a.Progress.Line(fmt.Sprintf("%-16s %s %s", r.Outcome, filepath.Base(arg), strings.Join(r.Codes, " ")))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	a.Progress.Done()
	return a.surveyAnswer(opt, results)
}

// selfDigest is the digest of this very program: another kmend may come to
// another result.
func selfDigest() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program itself: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program itself: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the program itself: %w", err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// surveyOne does one fix. The error is a cancellation, or that the result
// cannot be written; everything else is an outcome.
func surveyOne(ctx context.Context, a *app, opt surveyOptions, self, arg string) (*surveyed, error) {
	data, err := readPatch(arg)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(filepath.Base(arg), ".patch")
	dir := filepath.Join(opt.dir, name)
	file := filepath.Join(dir, "result.json")
	key := fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprintf("%s %s %t %x", self, opt.kernel, opt.noVM, sha256.Sum256(data)))))
	var r surveyed
	if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &r) == nil && r.Key == key && !opt.again {
		return &r, nil
	}
	r = surveyed{Key: key, Patch: arg, Codes: []string{}, Reasons: []string{}}
	quiet := *a
	quiet.Progress = ui.Discard()
	start := time.Now()
	if err := r.build(ctx, &quiet, opt, dir, arg); err != nil {
		r.Outcome, r.Reasons = outcomeError, []string{err.Error()}
	}
	r.Seconds = time.Since(start).Seconds()
	if r.Outcome == outcomeBuilt && !opt.noVM {
		start = time.Now()
		if err := r.test(ctx, &quiet, opt, dir); err != nil {
			r.Outcome, r.Reasons = outcomeError, []string{err.Error()}
		}
		r.VMSeconds = time.Since(start).Seconds()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &r, r.save(dir, file)
}

func (r *surveyed) save(dir, file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode a result: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("keep a result: %w", err)
	}
	staged, err := stage(file, append(text, '\n'))
	if err != nil {
		return err
	}
	if err := os.Rename(staged, file); err != nil {
		os.Remove(staged)
		return fmt.Errorf("keep a result: %w", err)
	}
	return nil
}

func (r *surveyed) build(ctx context.Context, a *app, opt surveyOptions, dir, arg string) error {
	b, k, err := makePlan(ctx, a, opt.planOptions, []string{arg})
	if err != nil {
		return err
	}
	if b.Plan.Verdict == plan.Patch {
		if err := writeOutput(a, b, k, dir, true, nil); err != nil {
			return err
		}
	}
	p := b.Plan
	for _, o := range p.Objects {
		r.Functions += len(o.Functions)
		r.Object = strings.TrimPrefix(r.Object+" "+o.Name, " ")
	}
	for _, ref := range p.Refusals {
		if !slices.Contains(r.Codes, ref.Code) {
			r.Codes = append(r.Codes, ref.Code)
		}
		r.Reasons = append(r.Reasons, ref.String())
	}
	switch {
	case p.Verdict == plan.Patch:
		r.Outcome, r.KlpRelocs = outcomeBuilt, p.Module.KlpRelocs
	case p.Verdict == plan.Nothing:
		r.Outcome = outcomeNothing
	case slices.Equal(r.Codes, []string{plan.CodeNotCompiled}):
		r.Outcome = outcomeNoCompile
	default:
		r.Outcome = outcomeRefused
	}
	return nil
}

func (r *surveyed) test(ctx context.Context, a *app, opt surveyOptions, dir string) error {
	modules, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil || len(modules) != 1 {
		return fmt.Errorf("find the module in %s: there are %d: %w", dir, len(modules), errors.Join(err))
	}
	cfg, err := a.testConfig(modules[0], testOptions{
		kernel: opt.kernel, timeout: 5 * time.Minute, transition: time.Minute,
		machine: vm.Machine{CPUs: 1, MemoryMB: 1024, CPUModel: "qemu64"},
	})
	if err != nil {
		return err
	}
	rep, err := vm.Run(ctx, *cfg)
	if err != nil {
		return err
	}
	for _, reason := range rep.Reasons {
		r.Reasons = append(r.Reasons, fmt.Sprintf("%s: %s", reason.Code, reason.Text))
	}
	switch rep.Verdict {
	case vm.Passed:
		r.Outcome = outcomeProven
	case vm.Incomplete:
		r.Outcome = outcomeIncomplete
	default:
		r.Outcome = outcomeWrong
	}
	return nil
}

// surveyAnswer prints the totals and the table; anything wrong is a failure.
func (a *app) surveyAnswer(opt surveyOptions, results []*surveyed) error {
	doc := surveyDocument{Version: 1, Kernel: opt.kernel, Totals: map[string]int{}, Fixes: results}
	for _, r := range results {
		doc.Totals[r.Outcome]++
	}
	if opt.markdown != "" {
		staged, err := stage(opt.markdown, []byte(surveyMarkdown(&doc)))
		if err != nil {
			return err
		}
		if err := os.Rename(staged, opt.markdown); err != nil {
			return fmt.Errorf("write the table: %w", err)
		}
	}
	if a.JSON {
		if err := a.PrintJSON(doc); err != nil {
			return err
		}
	} else {
		t := ui.Table{Header: []string{"outcome", "fixes"}, Right: []bool{false, true}, Style: a.Style}
		for _, o := range surveyOrder {
			if n := doc.Totals[o]; n > 0 {
				t.Row(o, fmt.Sprint(n))
			}
		}
		if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
			return err
		}
	}
	if doc.Totals[outcomeWrong] > 0 || doc.Totals[outcomeError] > 0 {
		return &exitError{exitFailed, nil}
	}
	return nil
}

var surveyOrder = []string{outcomeProven, outcomeBuilt, outcomeIncomplete, outcomeNothing, outcomeRefused, outcomeNoCompile, outcomeWrong, outcomeError}

// surveyMarkdown is the table for a document.
func surveyMarkdown(doc *surveyDocument) string {
	var b strings.Builder
	b.WriteString("| outcome | fixes |\n| --- | ---: |\n")
	for _, o := range surveyOrder {
		if n := doc.Totals[o]; n > 0 {
			fmt.Fprintf(&b, "| %s | %d |\n", o, n)
		}
	}
	fmt.Fprintf(&b, "| all | %d |\n\n", len(doc.Fixes))
	b.WriteString("| fix | object | outcome | functions | klp relocations | build s | VM s | reason |\n| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n")
	for _, r := range doc.Fixes {
		reason := strings.Join(r.Codes, ", ")
		if reason == "" && len(r.Reasons) > 0 {
			reason = strings.ReplaceAll(strings.SplitN(r.Reasons[0], "\n", 2)[0], "|", "\\|")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d | %.1f | %.1f | %s |\n", strings.TrimSuffix(filepath.Base(r.Patch), ".patch"), r.Object, r.Outcome,
			r.Functions, r.KlpRelocs, r.Seconds, r.VMSeconds, reason)
	}
	return b.String()
}
