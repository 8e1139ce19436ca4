// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"kmend/internal/levels"
	"kmend/internal/ui"
)

// printLevels prints the answer of kmend levels for a person.
func (a *app) printLevels(doc *levelsDocument) error {
	fmt.Fprintf(a.Out, "%s, %s\n", a.Style.Bold(doc.Kernel), doc.Compiler)
	if doc.Units != nil {
		if err := a.printUnits(doc.Units); err != nil {
			return err
		}
	}
	if len(doc.Runtimes) > 0 {
		return a.printRuntimes(doc.Runtimes)
	}
	return nil
}

func (a *app) printUnits(u *levels.Units) error {
	if u.Counted == 0 {
		fmt.Fprintf(a.Out, "\nno unit compiles at every level, so there is nothing to compare: leave levels out with --level\n")
		return a.printFailures(u.Failures, "does not compile")
	}
	fmt.Fprintf(a.Out, "\n%d of %d units, %d functions\n", u.Counted, u.Asked, u.Functions)
	t := ui.Table{
		Header: []string{"level", "text", "ratio", "bodies", "no body", "clones", "any", "mean", "p50", "p90", "p99", "max"},
		Right:  []bool{false, true, true, true, true, true, true, true, true, true, true, true, true, true},
		Style:  a.Style,
	}
	if u.Rounds > 0 {
		t.Header = append(t.Header, "cpu", "ratio")
	}
	for _, l := range u.Levels {
		d := l.Impacted
		cells := []string{
			l.Level.String(), fmt.Sprint(l.Text), fmt.Sprintf("%.4f", l.TextRatio), fmt.Sprint(l.Bodies), fmt.Sprint(l.Bodiless), fmt.Sprint(l.Clones),
			fmt.Sprintf("%.1f %%", 100*d.Any), fmt.Sprintf("%.3f", d.Mean), fmt.Sprint(d.P50), fmt.Sprint(d.P90), fmt.Sprint(d.P99), fmt.Sprint(d.Max),
		}
		if u.Rounds > 0 {
			cells = append(cells, fmt.Sprintf("%.2f s", l.CPUSeconds), fmt.Sprintf("%.3f", l.CPURatio))
		}
		t.Row(cells...)
	}
	if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
		return err
	}
	return a.printFailures(u.Failures, "does not compile")
}

// printFailures names units that do not compile at a level, and why.
func (a *app) printFailures(list []levels.Failure, what string) error {
	for _, f := range list {
		fmt.Fprintf(a.Out, "%s %s at %s: %s\n", a.Style.Bold(f.Unit), what, f.Level, visible(f.Reason))
	}
	return nil
}

// printRuntimes prints instructions, and their ratio to plain, by operation.
func (a *app) printRuntimes(list []levels.Runtime) error {
	fmt.Fprintf(a.Out, "\ninstructions for one operation, in a small kernel built at each level\n")
	t := ui.Table{Header: []string{"operation"}, Right: []bool{false}, Style: a.Style}
	var good []levels.Runtime
	for _, r := range list {
		if r.Error == "" {
			good = append(good, r)
		}
	}
	for i, r := range good {
		t.Header, t.Right = append(t.Header, r.Level.String()), append(t.Right, true)
		if i > 0 {
			t.Header, t.Right = append(t.Header, "ratio"), append(t.Right, true)
		}
	}
	row := func(name string, cell func(r levels.Runtime) (value string, ratio float64)) {
		cells := []string{name}
		for i, r := range good {
			value, ratio := cell(r)
			cells = append(cells, value)
			if i > 0 {
				cells = append(cells, fmt.Sprintf("%.3f", ratio))
			}
		}
		t.Row(cells...)
	}
	worst := 0.0
	for k, o := range good[0].Operations {
		row(o.Name, func(r levels.Runtime) (string, float64) {
			worst = max(worst, r.Operations[k].Spread)
			return fmt.Sprintf("%.0f", r.Operations[k].Instructions), r.Operations[k].Ratio
		})
	}
	row("geometric mean", func(r levels.Runtime) (string, float64) { return "", r.Ratio })
	row("text of the kernel", func(r levels.Runtime) (string, float64) {
		return fmt.Sprint(r.Text), float64(r.Text) / float64(good[0].Text)
	})
	if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
		return err
	}
	if n := good[0].Boots; n > 1 {
		fmt.Fprintf(a.Out, "largest difference between any of %d boots: %.3f %%\n", n, 100*worst)
	}
	for _, r := range list {
		if err := a.printFailures(r.Without, "is compiled as plain"); err != nil {
			return err
		}
		if r.Error != "" {
			fmt.Fprintf(a.Out, "%s: %s\n", a.Style.Red("no kernel at "+r.Level.String()), strings.TrimSpace(visible(r.Error)))
		}
	}
	return nil
}
