// SPDX-License-Identifier: Apache-2.0

package planpage

import (
	"cmp"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"kmend/internal/impact/graph"
	"kmend/internal/plan"
	"kmend/internal/report/evidence"
	"kmend/internal/report/page"
	"kmend/internal/vm"
)

// view is what the template shows.
type view struct {
	Plan      *plan.Plan
	Verdict   verdict
	Functions int // replaced, in all objects
	Fixes     []fix
	Objects   []object
	Notes     []string
	Picture   template.HTML // the impact graph, "" if no function is in because of another
	TooLarge  string        // instead of Picture
	Sizes     []page.Bar
	Ways      []page.Bar // how references are found
	Klp       []page.Bar // klp relocations by object
	Stages    []page.Bar
	Total     float64 // seconds of all stages
	Test      *vm.Report
	TestWord  verdict
	Steps     []page.Bar
	Console   string
	ConsoleAt string // why there is none, or what was left out
}

// verdict is a word with its colour and what it means.
type verdict struct{ Word, Class, Text string }

type fix struct {
	plan.Source
	Lines []diffLine
	Cut   int
}

// diffLine is a line of a patch: Class is add, del, hunk, file or empty.
type diffLine struct{ Class, Text string }

type object struct {
	Name      string
	Functions []function
}

type function struct {
	plan.Function
	Evidence evidence.Function
	Sources  []source // those of Evidence
	Open     bool     // shown without being asked for
}

// source is the source of one function. Folded: it does not change, or it is
// there already, under the function First that it was copied into as well.
type source struct {
	evidence.Source
	Folded bool
	First  string
}

// openFunctions is how many functions are shown without a click. More would bury
// what follows.
const openFunctions = 6

func newView(in Input) (*view, error) {
	v := &view{}
	var err error
	if v.Plan, err = clean(in.Plan); err != nil {
		return nil, err
	}
	if v.Test, err = clean(in.Test); err != nil {
		return nil, err
	}
	v.Verdict = verdictOf(v.Plan)
	ev := in.Evidence
	if ev == nil {
		ev = &evidence.Evidence{}
	}
	v.Notes = ev.Notes
	for i, s := range v.Plan.Patches {
		f := fix{Source: s}
		if i < len(ev.Fixes) {
			f.Lines, f.Cut = diffLines(ev.Fixes[i].Lines), ev.Fixes[i].Cut
		}
		v.Fixes = append(v.Fixes, f)
	}
	first := map[[2]string]string{}
	for i, o := range v.Plan.Objects {
		out := object{Name: o.Name}
		for j, f := range o.Functions {
			g := function{Function: f, Open: v.Functions < openFunctions}
			if i < len(ev.Functions) && j < len(ev.Functions[i]) {
				g.Evidence = ev.Functions[i][j]
			}
			for _, s := range g.Evidence.Sources {
				key := [2]string{s.File, s.Name}
				under, again := first[key]
				if !again {
					first[key] = f.Name
				}
				g.Sources = append(g.Sources, source{s, s.Sides != nil && (s.Sides.Only || again), under})
			}
			out.Functions = append(out.Functions, g)
			v.Functions++
		}
		v.Objects = append(v.Objects, out)
	}
	v.charts()
	if v.Picture, err = v.picture(); err != nil {
		return nil, err
	}
	v.testing(in)
	return v, nil
}

func verdictOf(p *plan.Plan) verdict {
	switch p.Verdict {
	case plan.Refused:
		return verdict{"Refused", "bad", "No live patch was made of this fix. The reasons, and what can be done, are below."}
	case plan.Nothing:
		return verdict{"Nothing to do", "mild", "The fix changes no code of this kernel."}
	}
	switch {
	case p.Module == nil:
		return verdict{"Can be patched", "good", "The fix can be live patched. This is a plan: no module was written."}
	case !p.Module.Verified:
		return verdict{"Not verified", "bad", "A module was written and not verified: do not load it."}
	}
	return verdict{"Live patch", "good", "A module was written, read back from disk and verified."}
}

// diffLines tells the lines of a patch apart. What precedes the first file is
// its description.
func diffLines(lines []string) []diffLine {
	out := make([]diffLine, len(lines))
	inside := false
	for i, l := range lines {
		out[i].Text = l
		has := func(prefix string) bool { return strings.HasPrefix(l, prefix) }
		switch {
		case has("diff --git "), has("--- ") && i+1 < len(lines) && strings.HasPrefix(lines[i+1], "+++ "),
			has("+++ ") && i > 0 && strings.HasPrefix(lines[i-1], "--- "):
			out[i].Class, inside = "file", true
		case !inside:
		case has("@@ "):
			out[i].Class = "hunk"
		case has("+"):
			out[i].Class = "add"
		case has("-") && l != "-- ":
			out[i].Class = "del"
		}
	}
	return out
}

// charts makes the bars.
func (v *view) charts() {
	const most = 60 // functions in the chart, the largest
	ways := map[string]float64{}
	for i, o := range v.Objects {
		for j, f := range o.Functions {
			v.Sizes = append(v.Sizes, page.Bar{Label: f.Name, Link: fmt.Sprintf("f-%d-%d", i, j), Note: o.Name, Values: []page.BarValue{
				{Value: float64(f.OldSize), Text: fmt.Sprintf("%d before", f.OldSize), Class: "a"},
				{Value: float64(f.NewSize), Text: fmt.Sprintf("%d after", f.NewSize), Class: "b"},
			}})
		}
	}
	size := func(b page.Bar) float64 { return max(b.Values[0].Value, b.Values[1].Value) }
	slices.SortStableFunc(v.Sizes, func(a, b page.Bar) int { return cmp.Compare(size(b), size(a)) })
	v.Sizes = page.ScaleBars(v.Sizes[:min(len(v.Sizes), most)])
	for _, u := range v.Plan.Units {
		for _, r := range u.References {
			ways[r.How] += float64(r.Uses)
		}
	}
	v.Ways = bars(ways, func(how string) string {
		switch how {
		case plan.ByExport:
			return "exported symbols, bound by the module loader"
		case plan.ByKlp:
			return "symbols that livepatch finds by name and position"
		case plan.ByPatch:
			return "symbols of other units of the patch"
		}
		return how
	})
	if m := v.Plan.Module; m != nil {
		byObject := map[string]float64{}
		for name, n := range m.ByObject {
			byObject[name] = float64(n)
		}
		v.Klp = bars(byObject, func(s string) string { return s })
	}
	for _, t := range v.Plan.Timings {
		v.Total += t.Seconds
		v.Stages = append(v.Stages, page.Bar{Label: t.Stage, Values: []page.BarValue{{Value: t.Seconds, Text: fmt.Sprintf("%.2f s", t.Seconds), Class: "a"}}})
	}
	v.Stages = page.ScaleBars(v.Stages)
}

// bars is a chart of named numbers, the largest first.
func bars(values map[string]float64, label func(string) string) []page.Bar {
	var out []page.Bar
	for _, k := range slices.Sorted(maps.Keys(values)) {
		out = append(out, page.Bar{Label: label(k), Values: []page.BarValue{{Value: values[k], Text: fmt.Sprintf("%.0f", values[k]), Class: "a"}}})
	}
	slices.SortStableFunc(out, func(a, b page.Bar) int { return cmp.Compare(b.Values[0].Value, a.Values[0].Value) })
	return page.ScaleBars(out[:min(len(out), 60)])
}

// maxArrows bounds the impact graph; a picture of more cannot be read.
const maxArrows = 600

// picture draws which function is in the patch because of which.
func (v *view) picture() (template.HTML, error) {
	g := &graph.Graph{Title: "Which function is in the patch because of which",
		Desc: "Arrows lead from a function that the fix changes to those that are replaced because of it. The same is under “why” of each function below."}
	node := func(unit, name string, replaced, edited bool) int {
		note := ""
		if edited {
			note = "changed by the fix"
		}
		return g.Node(unit+"\x00"+name, graph.Node{Label: page.Clean(name, 80), Note: note, Mark: replaced})
	}
	edited := map[string]bool{}
	for _, u := range v.Plan.Units {
		for _, n := range u.Edited {
			edited[u.Source+"\x00"+n] = true
		}
	}
	replaced := map[string]bool{}
	for _, o := range v.Plan.Objects {
		for _, f := range o.Functions {
			replaced[f.Unit+"\x00"+f.Name] = true
		}
	}
	arrows := 0
	for _, o := range v.Plan.Objects {
		for _, f := range o.Functions {
			chain := f.Reason.Via
			if len(chain) == 0 || chain[len(chain)-1] != f.Name {
				chain = append(slices.Clone(chain), f.Name)
			}
			prev, last := -1, ""
			for _, n := range chain {
				key := f.Unit + "\x00" + n
				at := node(f.Unit, n, replaced[key], edited[key] || n == f.Name && f.Reason.Kind == plan.Edited)
				if prev >= 0 && prev != at {
					g.Edge(prev, at, arrow(last, n, f.Reason.Kind))
					arrows++
				}
				last = n
				if prev = at; g.Len() > graph.MaxSVG || arrows > maxArrows {
					v.TooLarge = fmt.Sprintf("There are more than %d functions or %d arrows: that is too many for a picture.", graph.MaxSVG, maxArrows)
					return "", nil
				}
			}
		}
	}
	if arrows == 0 {
		return "", nil
	}
	svg, err := g.SVG()
	return template.HTML(svg), err
}

// arrow says what an arrow from one function of a chain to the next means.
func arrow(from, to, kind string) string {
	switch {
	case kind != plan.Inlines:
		return page.Clean(kind, 20)
	case strings.HasPrefix(to, from+"."):
		return "cloned as"
	case strings.Contains(from, "."): // a clone changes who calls it, too
		return "copied or called"
	}
	return "copied into"
}

// testing adds the verdict of the virtual machine.
func (v *view) testing(in Input) {
	if v.Test == nil {
		return
	}
	switch v.Test.Verdict {
	case vm.Passed:
		v.TestWord = verdict{"Passed", "good", "Every step was made and was as it must be."}
	case vm.Failed:
		v.TestWord = verdict{"Failed", "bad", "Something was seen that must not be."}
	default:
		v.TestWord = verdict{"Incomplete", "mild", "Nothing wrong was seen, but not all could be examined."}
	}
	for _, p := range v.Test.Phases {
		v.Steps = append(v.Steps, page.Bar{Label: p.Name, Note: fmt.Sprintf("boot %d", p.Boot), Values: []page.BarValue{{Value: float64(p.WallMS), Text: fmt.Sprintf("%d ms", p.WallMS), Class: "a"}}})
	}
	v.Steps = page.ScaleBars(v.Steps)
	text := strings.ReplaceAll(in.Console, "\r\n", "\n")
	v.ConsoleAt = page.Clean(in.NoConsole, page.MaxText)
	if cut := len(text) - maxConsole; cut > 0 {
		v.ConsoleAt = fmt.Sprintf("The first %d bytes are left out.", cut)
		text = text[cut:]
	}
	v.Console = page.Clean(text, 4*maxConsole)
}
