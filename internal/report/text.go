// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"

	"kmend/internal/plan"
)

// Style marks text; ui.Style is one.
type Style interface {
	Bold(string) string
	Dim(string) string
	Red(string) string
	Green(string) string
	Yellow(string) string
}

// TextOptions says how Text prints.
type TextOptions struct {
	Verbose bool // every reference and part
	Style   Style
}

// printer remembers the first error of a writer.
type printer struct {
	w   io.Writer
	s   Style
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// Text prints a plan for a terminal or a log.
func Text(w io.Writer, p *plan.Plan, opt TextOptions) error {
	t := &printer{w: w, s: opt.Style}
	switch p.Verdict {
	case plan.Refused:
		t.refusals(p)
	case plan.Nothing:
		t.line("%s the fix changes no code of %s %s", t.s.Green("Nothing to do:"), p.Kernel.Release, p.Kernel.Version)
	default:
		t.patch(p, opt.Verbose)
	}
	for _, warning := range p.Warnings {
		t.line("%s %s", t.s.Yellow("warning:"), warning.Text)
	}
	t.timings(p)
	return t.err
}

func (t *printer) refusals(p *plan.Plan) {
	t.line("%s no live patch of this fix for %s %s:", t.s.Red("Refused:"), p.Kernel.Release, p.Kernel.Version)
	for _, r := range p.Refusals {
		var place []string
		for _, s := range []string{r.File, r.Object, r.Symbol} {
			if s != "" {
				place = append(place, s)
			}
		}
		t.line("  %s %s", t.s.Bold(r.Code), strings.Join(place, ": "))
		t.line("      %s", r.Why)
		if r.Advice != "" {
			t.line("      %s %s", t.s.Dim("what to do:"), r.Advice)
		}
		if r.Detail != "" {
			for _, l := range strings.Split(strings.TrimRight(r.Detail, "\n"), "\n") {
				t.line("      %s %s", t.s.Dim("|"), l)
			}
		}
	}
}

func (t *printer) patch(p *plan.Plan, verbose bool) {
	functions := 0
	for _, o := range p.Objects {
		functions += len(o.Functions)
	}
	t.line("%s for %s %s (build id %.12s…)", t.s.Bold(p.Name), p.Kernel.Release, p.Kernel.Version, p.Kernel.BuildID)
	for _, o := range p.Objects {
		t.line("%s: %s replaced", t.s.Bold(o.Name), count(len(o.Functions), "function"))
		for _, f := range o.Functions {
			t.function(&f)
		}
	}
	for _, u := range p.Units {
		t.unit(&u, verbose)
	}
	for _, pin := range p.Pins {
		t.line("%s %s: the module can be disabled but not unloaded", t.s.Yellow("stays loaded:"), pin)
	}
	if m := p.Module; m != nil {
		t.line("%s  %s, %s replaced, %s, re-read and verified", t.s.Green(m.Path), bytesOf(m.Size), count(functions, "function"), count(m.KlpRelocs, "klp relocation"))
	}
}

func (t *printer) function(f *plan.Function) {
	name := f.Name
	if f.Sympos > 0 {
		name = fmt.Sprintf("%s,%d", f.Name, f.Sympos)
	}
	t.line("  %s %s", t.s.Green(name), t.s.Dim("("+f.Unit+")"))
	why := f.Reason.Text
	if len(f.Reason.Via) > 0 {
		why += ": " + strings.Join(f.Reason.Via, " → ")
	}
	t.line("      why:    %s", why)
	t.line("      differs %s", f.Difference)
	proof := fmt.Sprintf("equals what runs at %s, %d bytes", f.RunPre.Address, f.RunPre.Size)
	if len(f.RunPre.Normalised) > 0 {
		proof += " (levelled: " + strings.Join(f.RunPre.Normalised, ", ") + ")"
	}
	t.line("      proof:  %s; %d bytes become %d", proof, f.OldSize, f.NewSize)
}

func (t *printer) unit(u *plan.Unit, verbose bool) {
	ways := map[string]int{}
	for _, r := range u.References {
		ways[r.How]++
	}
	t.line("%s: %d of %d functions equal what runs; needs %d exported, %d other symbols of the kernel", t.s.Dim(u.Source), u.Match.Equal, u.Match.Equal+u.Match.Others,
		ways[plan.ByExport], ways[plan.ByKlp])
	for _, p := range u.Included {
		if verbose || p.Why == "new" || strings.HasPrefix(p.Why, "has no fentry") {
			t.line("  in the patch: %s %s (%s, %d bytes)", p.Kind, p.Name, p.Why, p.Size)
		}
	}
	for _, m := range u.Unmoved {
		t.line("  the same: GCC copied %s, but the code there does not change", m)
	}
	t.audit(u.Audit)
	for _, d := range u.Dropped {
		t.line("  left out: %s entry of %s: %s", d.Section, d.Function, d.Why)
	}
	if !verbose {
		return
	}
	for _, r := range u.References {
		t.line("  uses %s of %s, sympos %d, by %s: %s", r.Name, r.Object, r.Sympos, r.How, r.Proof)
	}
	for _, e := range u.Match.Examples {
		t.line("  not matched: %s", e)
	}
}

// audit sums up what hiding bodies showed.
func (t *printer) audit(a *plan.Audit) {
	if a == nil {
		return
	}
	covered := map[string]int{}
	for _, list := range [][]plan.Dependent{a.Depends, a.Narrowed, a.Variables} {
		for _, d := range list {
			covered[d.Covered]++
		}
	}
	var ways []string
	for _, way := range []struct{ covered, text string }{
		{plan.CoveredReplaced, "replaced"}, {plan.CoveredCopied, "copied"}, {plan.CoveredUnchanged, "the same with the fix"},
		{plan.CoveredUnused, "not used any more"}, {plan.CoveredInit, "run at the start or the end only"},
	} {
		if n := covered[way.covered]; n > 0 {
			ways = append(ways, fmt.Sprintf("%d %s", n, way.text))
		}
	}
	found := "nothing else depends on them"
	if len(ways) > 0 {
		found = "what depends on them or on their unit: " + strings.Join(ways, ", ")
	}
	t.line("  audit: %s hidden from the rest of the unit: %s", count(len(a.Hidden), "changed body"), found)
}

func (t *printer) timings(p *plan.Plan) {
	total, parts := 0.0, []string{}
	for _, s := range p.Timings {
		total += s.Seconds
		parts = append(parts, fmt.Sprintf("%s %.2f s", s.Stage, s.Seconds))
	}
	t.line("%s", t.s.Dim(fmt.Sprintf("%.2f s: %s", total, strings.Join(parts, ", "))))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func bytesOf(n int) string {
	if n < 10_000 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1000)
}
