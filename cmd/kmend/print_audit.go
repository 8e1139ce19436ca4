// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"kmend/internal/oracle"
	"kmend/internal/ui"
)

// answer prints the document in the form that was asked for.
func (w *auditor) answer(doc *auditDocument) error {
	if w.opt.markdown != "" {
		if err := writeWhole(w.opt.markdown, []byte(auditMarkdown(doc))); err != nil {
			return err
		}
	}
	if w.JSON {
		if err := w.PrintJSON(doc); err != nil {
			return err
		}
	} else if err := w.printAudit(doc); err != nil {
		return fmt.Errorf("print the audit: %w", err)
	}
	if w.opt.strict {
		for _, t := range doc.Totals {
			if t.Fact+t.Unexplained > 0 {
				return &exitError{exitRefused, nil}
			}
		}
	}
	return nil
}

func (w *auditor) printAudit(doc *auditDocument) error {
	levels := len(doc.Totals) > 1
	if w.opt.sample == 0 || w.Verbose {
		if err := w.printFunctions(doc, levels); err != nil {
			return err
		}
	}
	for _, r := range doc.Units {
		w.printMisses(r)
		w.printDirections(r)
	}
	t := ui.Table{Header: auditHeader, Style: w.Style, Right: rightBut(len(auditHeader))}
	for _, sum := range doc.Totals {
		t.Row(auditCells(sum)...)
	}
	fmt.Fprintln(w.Out)
	return t.Write(w.Out, ui.Width(w.Out))
}

// rightBut aligns all columns on the right but the first.
func rightBut(n int) []bool {
	out := make([]bool, n)
	for i := 1; i < n; i++ {
		out[i] = true
	}
	return out
}

func (w *auditor) printFunctions(doc *auditDocument, levels bool) error {
	header := []string{"function", "predicted", "observed", "hit", "over", "fact", "cold", "ripple", "unexplained"}
	t := ui.Table{Header: header, Style: w.Style, Right: rightBut(len(header))}
	for _, r := range doc.Units {
		name := r.Source + ":"
		if levels {
			name = r.Level + " " + name
		}
		if r.Failed != "" {
			t.Row(name, r.Failed)
		}
		for i := range r.Functions {
			f := &r.Functions[i]
			if f.Verdict != oracle.Audited {
				t.Row(name+f.Name, fmt.Sprint(len(f.Predicted)), f.Verdict)
				continue
			}
			n := map[oracle.Class]int{}
			for _, m := range f.Missed {
				n[m.Class]++
			}
			t.Row(name+f.Name, num(len(f.Predicted)), num(f.Hits()+len(f.Missed)), num(f.Hits()), num(f.Over()),
				num(n[oracle.Fact]), num(n[oracle.Cold]), num(n[oracle.Ripple]), num(n[oracle.Unexplained]))
		}
	}
	return t.Write(w.Out, ui.Width(w.Out))
}

func num(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// printMisses shows what was not predicted, and with -v all there is.
func (w *auditor) printMisses(r *oracle.Report) {
	for i := range r.Functions {
		f := &r.Functions[i]
		if w.Verbose {
			for _, p := range f.Predicted {
				mark := "changes"
				if !p.Observed {
					mark = "does not change"
				}
				fmt.Fprintf(w.Out, "%s %s: predicted %s, which %s: %s\n", r.Level, f.Name, p.Symbol, mark, p.Chain)
			}
		}
		if f.Verdict == oracle.NotHidden {
			fmt.Fprintf(w.Out, "%s %s:%s cannot be hidden: %s\n", r.Level, r.Source, f.Name, f.Why)
		}
		for _, m := range f.Missed {
			fmt.Fprintf(w.Out, "%s %s:%s -> %s: %s\n", r.Level, r.Source, f.Name, m.Symbol, classText(m.Proof))
			w.printProof(m.Change, m.Proof, m.Disassembly)
		}
	}
}

func classText(p oracle.Proof) string {
	s := harm(string(p.Class), p.Class.Unsafe())
	if len(p.Optimisations) > 0 {
		s += " (" + strings.Join(p.Optimisations, ", ") + ")"
	}
	return s
}

func harm(class string, unsafe bool) string {
	if unsafe {
		return class + ", unsafe"
	}
	return class + ", harmless"
}

func (w *auditor) printProof(c oracle.Change, p oracle.Proof, disassembly string) {
	if !w.Verbose {
		return
	}
	fmt.Fprintf(w.Out, "  difference: %s\n", c.What)
	for _, e := range p.Evidence {
		fmt.Fprintf(w.Out, "  proof: %s\n", e)
	}
	for line := range strings.Lines(disassembly) {
		fmt.Fprint(w.Out, "    "+line)
	}
}

// printDirections shows facts about callers and about variables.
func (w *auditor) printDirections(r *oracle.Report) {
	if r.Narrowed == nil {
		return
	}
	for _, n := range r.Narrowed.InPlace {
		fmt.Fprintf(w.Out, "%s %s:%s is made to fit its callers: %s\n", r.Level, r.Source, n.Symbol, classText(n.Proof))
		w.printProof(n.Change, n.Proof, n.Disassembly)
	}
	for _, v := range r.Variables {
		about := "a static variable"
		if len(v.Variables) > 0 {
			about = strings.Join(v.Variables, ", ")
			if v.Unproven {
				about = "static variables, perhaps " + about
			}
		}
		fmt.Fprintf(w.Out, "%s %s:%s rests on facts about %s\n", r.Level, r.Source, v.Symbol, about)
		if w.Verbose {
			fmt.Fprintf(w.Out, "  difference: %s\n", v.What)
		}
	}
}

var auditHeader = []string{"level", "units", "functions", "depended on", "predicted", "observed", "hit", "by clone callers", "over-predicted",
	"missed: fact", "missed: unexplained", "missed: cold", "missed: ripple", "unsafe in"}

func auditCells(t *oracle.Totals) []string {
	cells := []string{t.Level}
	for _, n := range []int{t.Units, t.Functions, t.Depended, t.Predicted, t.Observed, t.Hits, t.CloneCallers, t.Over, t.Fact, t.Unexplained, t.Cold, t.Ripple, t.UnsafeIn} {
		cells = append(cells, fmt.Sprint(n))
	}
	return cells
}

var directionHeader = []string{"level", "static functions", "narrowed: fact", "narrowed: cold", "narrowed: unexplained", "readers of variable facts", "variables named", "units with them",
	"always inline", "not hidden", "units that do not compile", "minutes"}

func directionCells(t *oracle.Totals) []string {
	cells := []string{t.Level}
	for _, n := range []int{t.Statics, t.NarrowedFact, t.NarrowedCold, t.NarrowedOther, t.VariableReaders, t.Variables, t.VariablesOf, t.AlwaysInline, t.NotHidden, t.Failed} {
		cells = append(cells, fmt.Sprint(n))
	}
	return append(cells, fmt.Sprintf("%.1f", t.Seconds/60))
}

// auditMarkdown is the tables of a document, and a list of the misses.
func auditMarkdown(doc *auditDocument) string {
	var b strings.Builder
	table := func(header []string, cells func(*oracle.Totals) []string) {
		fmt.Fprintf(&b, "| %s |\n| --- |%s\n", strings.Join(header, " | "), strings.Repeat(" ---: |", len(header)-1))
		for _, t := range doc.Totals {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells(t), " | "))
		}
		b.WriteByte('\n')
	}
	table(auditHeader, auditCells)
	table(directionHeader, directionCells)
	b.WriteString("| level | unit | function | who depends on it | class | optimisations |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range doc.Units {
		for _, f := range r.Functions {
			for _, m := range f.Missed {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Level, r.Source, f.Name, m.Symbol, m.Class, strings.Join(m.Optimisations, ", "))
			}
		}
	}
	b.WriteString("\n| level | unit | made to fit its callers | class | optimisations |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range doc.Units {
		if r.Narrowed == nil {
			continue
		}
		for _, n := range r.Narrowed.InPlace {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Level, r.Source, n.Symbol, n.Class, strings.Join(n.Optimisations, ", "))
		}
	}
	b.WriteString("\n| level | unit | rests on facts about static variables | variables |\n| --- | --- | --- | --- |\n")
	for _, r := range doc.Units {
		for _, v := range r.Variables {
			names := strings.Join(v.Variables, ", ")
			if v.Unproven {
				names = "perhaps " + names
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Level, r.Source, v.Symbol, names)
		}
	}
	return b.String()
}
