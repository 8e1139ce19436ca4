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
	"kmend/internal/sourceplan"
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

	Extraction *surveyedExtraction `json:"extraction"` // null unless the source way was gone
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

	source sourceOptions
	ways   ways
	sample sampleOptions
}

func newSurveyCmd(a *app) *cobra.Command {
	var opt surveyOptions
	c := &cobra.Command{
		Use:   "survey {FIX.patch… | FILE:FUNCTION… | --sample N}",
		Short: "Build and test many fixes, each on its own, and count the outcomes",
		Long: `survey does for each fix what build and test do, and tells how many were proven,
had nothing to patch, were refused and why, or went wrong.

Modules, plans, logs and a result for each fix are left below the output
directory. A fix whose result is there is not done again, unless the fix, the
kernel or kmend itself changed: an interrupted survey goes on where it was.

With --from source it goes the source way, with --both both ways, and counts how
the code of what was extracted compares with the kernel's own. Then functions as
they are can be surveyed, too: those named, or a --sample of the kernel's.`,
		Example: `  kmend survey -k 6.1.0-50-amd64 -o survey fixes/*.patch
  kmend survey -o survey --markdown survey.md fixes/*.patch
  kmend survey --from source --no-vm --sample 300 --units 100 --seed 1 -o sample`,
		ValidArgsFunction: completePatches,
		RunE: func(c *cobra.Command, args []string) error {
			if err := opt.ways.check(c); err != nil {
				return err
			}
			if (len(args) > 0) == (opt.sample.functions > 0) {
				return usageErrorf("survey: either fixes or functions, or --sample")
			}
			return runSurvey(c.Context(), a, opt, args)
		},
	}
	f := c.Flags()
	f.StringVarP(&opt.kernel, "kernel", "k", "", "the kernel to patch (default: the running one, or the only one added)")
	f.StringVarP(&opt.dir, "output", "o", "", "directory for results")
	f.IntVarP(&opt.jobs, "jobs", "j", 2, "fixes to work on at a time")
	f.BoolVar(&opt.noVM, "no-vm", false, "build only, do not test")
	f.BoolVar(&opt.again, "again", false, "do fixes again that have a result")
	f.StringVar(&opt.markdown, "markdown", "", "write the table to this file, too, as Markdown")
	opt.source.addFlags(c)
	opt.ways.addFlags(c)
	opt.sample.addFlags(c)
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
	if opt.sample.functions > 0 {
		if args, err = opt.sample.draw(ctx, a, opt.kernel); err != nil {
			return err
		}
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
	specs, err := functionArgs([]string{arg})
	if err != nil {
		return nil, err
	}
	opt.functions = specs
	data := []byte(arg)
	if len(specs) == 0 {
		if data, err = readPatch(arg); err != nil {
			return nil, err
		}
	}
	name := strings.TrimSuffix(filepath.Base(arg), ".patch")
	if len(specs) > 0 {
		name = strings.NewReplacer("/", "-", ":", "-").Replace(arg)
	}
	dir := filepath.Join(opt.dir, name)
	file := filepath.Join(dir, "result.json")
	key := fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprintf("%s %s %t %x %v %v", self, opt.kernel, opt.noVM, sha256.Sum256(data), opt.ways, opt.source))))
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
	var files []sourceplan.OutFile
	if b.Plan.Verdict == plan.Patch && opt.ways.source() {
		binary := b
		if b, files, err = r.extract(ctx, a, k, b, opt); err != nil {
			return err
		}
		if opt.ways.both && b.Plan.Verdict == plan.Patch {
			if err := crossCheck(binary, b); err != nil {
				return err
			}
			if binary.Plan.Verdict != plan.Patch {
				b = binary
			}
		}
	}
	if b.Plan.Verdict == plan.Patch {
		if err := writeOutput(a, b, k, dir, true, files); err != nil {
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
