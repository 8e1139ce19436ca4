// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/object"
	"kmend/internal/oracle"
	"kmend/internal/plan"
	"kmend/internal/sourceplan"
)

// ways are the flags that say how new code is made.
type ways struct {
	from string
	both bool
}

func (w *ways) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&w.from, "from", plan.WayBinary, "where the new code comes from: binary (the whole file's object) or source (an extracted C file)")
	c.Flags().BoolVar(&w.both, "both", false, "go both ways and refuse unless they replace the same functions by the same code")
	_ = c.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{plan.WayBinary, plan.WaySource}, cobra.ShellCompDirectiveNoFileComp))
}

func (w *ways) check(c *cobra.Command) error {
	switch {
	case w.from != plan.WayBinary && w.from != plan.WaySource:
		return usageErrorf("--from %s: it is %s or %s", w.from, plan.WayBinary, plan.WaySource)
	case w.both && c.Flags().Changed("from"):
		return usageErrorf("either --both or --from")
	}
	return nil
}

// source reports whether the source way is gone.
func (w *ways) source() bool { return w.both || w.from == plan.WaySource }

// surveyedExtraction sums up what was extracted; docs/json.md has the fields.
type surveyedExtraction struct {
	Lines    int            `json:"lines"`    // of code, in all files
	Includes int            `json:"includes"` // of them #include
	Verdicts map[string]int `json:"verdicts"` // of the functions in the files, by plan.Proof
	Rules    map[string]int `json:"rules"`    // functions by rule
	Worst    string         `json:"worst"`    // verdict of all of them
}

// extract goes the source way. Where that is refused, the plan says why.
func (r *surveyed) extract(ctx context.Context, a *app, k *kernel.Kernel, b *plan.Build, opt surveyOptions) (*plan.Build, []sourceplan.OutFile, error) {
	res, err := makeSource(ctx, a, k, b, opt.source)
	if err != nil {
		return nil, nil, err
	}
	if res == nil {
		return b, nil, nil
	}
	x := &surveyedExtraction{Verdicts: map[string]int{}, Rules: map[string]int{}, Worst: plan.ProofIdentical}
	for _, u := range res.Units {
		x.Lines += u.File.Lines
		x.Includes += bytes.Count(u.File.Text, []byte("\n#include ")) + bytes.Count(u.File.Text[:min(9, len(u.File.Text))], []byte("#include "))
		for _, p := range u.Patched(res.Build.Plan) {
			x.Verdicts[p.Verdict]++
			for _, rule := range p.Rules {
				x.Rules[rule.Rule]++
			}
			if p.Verdict == plan.ProofUnexplained || p.Verdict == plan.ProofNamed && x.Worst == plan.ProofIdentical {
				x.Worst = p.Verdict
			}
		}
	}
	r.Extraction = x
	return res.Build, res.Write(k), nil
}

// sampleOptions draw functions of the kernel.
type sampleOptions struct {
	functions, units int
	seed             uint64
}

func (o *sampleOptions) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.IntVar(&o.functions, "sample", 0, "survey so many functions of the kernel, drawn by --seed, as they are")
	f.IntVar(&o.units, "units", 100, "of how many translation units the sample is")
	f.Uint64Var(&o.seed, "seed", 1, "what the sample depends on")
}

// draw picks functions that a live patch could replace: with a symbol and a
// definition in the unit's own text.
func (o *sampleOptions) draw(ctx context.Context, a *app, name string) ([]string, error) {
	k, err := kernel.Open(name)
	if err != nil {
		return nil, err
	}
	tree, err := kbuild.Open(k)
	if err != nil {
		return nil, err
	}
	s, err := oracle.NewSampler(ctx, tree, k.SourceDir, o.seed)
	if err != nil {
		return nil, err
	}
	var units []string
	var functions [][]string
	for len(units) < o.units {
		a.Progress.Update("draw", int64(len(units)), int64(o.units))
		c, err := s.Next(ctx)
		if err != nil {
			return nil, err
		}
		if c == nil {
			break
		}
		names, err := patchable(ctx, k, tree, c)
		if err != nil {
			return nil, err
		}
		if len(names) > 0 {
			units, functions = append(units, c.Source), append(functions, names)
		}
	}
	a.Progress.Done()
	var out []string
	for i, names := range oracle.Pick(functions, o.functions, o.seed) {
		for _, n := range names {
			out = append(out, units[i]+":"+n)
		}
	}
	return out, nil
}

var wordPattern = regexp.MustCompile(`[A-Za-z_]\w*`)

func patchable(ctx context.Context, k *kernel.Kernel, tree *kbuild.Tree, c *kbuild.Command) ([]string, error) {
	r, err := tree.Compile(ctx, kbuild.Job{Command: c})
	if err != nil {
		return nil, err
	}
	f, err := object.Read(r.Object)
	if err != nil {
		return nil, fmt.Errorf("read the object of %s: %w", c.Source, err)
	}
	u, err := delta.NewUnit(f)
	if err != nil {
		return nil, fmt.Errorf("read the object of %s: %w", c.Source, err)
	}
	text, err := os.ReadFile(filepath.Join(k.SourceDir, c.Source))
	if err != nil {
		return nil, fmt.Errorf("read the source of the kernel: %w", err)
	}
	words := map[string]bool{}
	for _, w := range wordPattern.FindAll(text, -1) {
		words[string(w)] = true
	}
	var out []string
	for _, it := range u.Items {
		if _, clone := delta.Stem(it.Name); it.Kind == delta.Func && it.Parent == nil && !clone && delta.Source(it.Name) == it.Name && words[it.Name] && hasFentry(it) {
			out = append(out, it.Name)
		}
	}
	return out, nil
}

// hasFentry reports whether a function begins with the call that livepatch
// takes over.
func hasFentry(it *delta.Item) bool {
	for i := range it.Refs {
		if it.Refs[i].Target.Extern == "__fentry__" {
			return true
		}
	}
	return false
}
