// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kmend/internal/impact/graph"
	"kmend/internal/impact/index"
	"kmend/internal/ui"
)

// printImpact shows an answer.
func (a *app) printImpact(doc *impactAnswer) error {
	for _, f := range doc.Functions {
		a.printAsked(&f)
	}
	for _, o := range doc.Objects {
		name := o.Object
		if name == "" {
			name = "(not known what it is linked into)"
		}
		fmt.Fprintf(a.Out, "\n%s\n", a.Style.Bold(visible(name)))
		t := ui.Table{Header: []string{"symbol", "unit", "pos", "patch", "because"}, Right: []bool{false, false, true}, Wrap: []bool{false, false, false, false, true}, Style: a.Style}
		for i := range o.Symbols {
			s := &o.Symbols[i]
			pos, patch := "?", "yes"
			if s.Sympos != nil {
				pos = fmt.Sprint(*s.Sympos)
			}
			if !s.Livepatch {
				patch = "no"
			}
			t.Row(s.Name, s.Unit, pos, patch, because(s, len(doc.Functions) > 1))
		}
		if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
			return fmt.Errorf("print the answer: %w", err)
		}
		a.printWhyNot(&o)
	}
	for _, n := range doc.Notes {
		fmt.Fprintf(a.Out, "%s %s\n", a.Style.Yellow("note:"), visible(n))
	}
	a.printCompare(doc.Compare)
	a.printStale(doc.Stale)
	if n := doc.Source.StaleUnits - len(doc.Stale); n > 0 {
		fmt.Fprintf(a.Out, "%s %d other units of the build are stale\n", a.Style.Yellow("note:"), n)
	}
	if !doc.Complete {
		fmt.Fprintf(a.Out, "%s what the dumps say of some function cannot be relied on: build those units again with -fdump-ipa-clones\n", a.Style.Red("incomplete:"))
	}
	return nil
}

func (a *app) printAsked(f *impactFunction) {
	place := f.File
	if f.Line > 0 {
		place += fmt.Sprintf(":%d", f.Line)
	}
	own := "no code of its own"
	switch {
	case f.ClonesOnly:
		own = "exists only as " + strings.Join(f.Own, ", ") + ", whose callers must be replaced too"
	case len(f.Own) > 0:
		own = "exists as " + strings.Join(f.Own, ", ")
	}
	units := "1 unit knows it"
	if f.Units != 1 {
		units = fmt.Sprintf("%d units know it", f.Units)
	}
	fmt.Fprintf(a.Out, "%s (%s): %s; %s; %s\n", a.Style.Bold(visible(f.Name)), visible(place), units, visible(own), impactedText(f.Impacted))
}

func impactedText(n int) string {
	switch n {
	case 0:
		return "no other function has a copy of its body, or calls a clone of it"
	case 1:
		return "1 other function depends on its body"
	}
	return fmt.Sprintf("%d other functions depend on its body", n)
}

// because is the chain of reasons in one line: inlined into middle, inlined.
func because(s *impactSymbol, many bool) string {
	var parts []string
	for i, e := range s.Chain {
		word := map[string]string{"inlined": "inlined", "calls": "calls " + e.From, "recursive": "recursive copy", "fact": "relies on a fact (" + e.Detail + ")"}[e.Kind]
		if word == "" {
			word = "cloned (" + e.Kind + ")"
		}
		if i < len(s.Chain)-1 {
			word += " into " + e.To
		}
		parts = append(parts, word)
	}
	text := strings.Join(parts, ", ")
	if len(parts) == 0 {
		text = "itself"
	}
	if many {
		text = strings.Join(s.For, " ") + ": " + text
	}
	if len(s.Twins) > 0 {
		text += "; same code as " + strings.Join(s.Twins, ", ")
	}
	return text
}

// printWhyNot says why symbols cannot be patched, and why positions are not
// known, each reason once.
func (a *app) printWhyNot(o *impactObject) {
	var order []string
	who := map[string][]string{}
	note := func(why, name string) {
		if why == "" {
			return
		}
		if who[why] == nil {
			order = append(order, why)
		}
		who[why] = append(who[why], name)
	}
	for _, s := range o.Symbols {
		note("no patch: "+s.LivepatchWhy, map[bool]string{false: s.Name}[s.Livepatch])
		note(map[bool]string{true: "position not known: " + s.SymposWhy}[s.Sympos == nil], s.Name)
	}
	for _, why := range order {
		names := who[why]
		if names = compactNames(names); len(names) > 0 {
			fmt.Fprintf(a.Out, "  %s: %s\n", a.Style.Yellow(why), visible(strings.Join(names, ", ")))
		}
	}
}

// compactNames drops empty names, and all beyond the first few.
func compactNames(names []string) []string {
	const most = 6
	var out []string
	for _, n := range names {
		if n != "" {
			out = append(out, n)
		}
	}
	if len(out) > most {
		out = append(out[:most:most], fmt.Sprintf("and %d more", len(out)-most))
	}
	return out
}

func (a *app) printStale(stale []impactStale) {
	const most = 10
	for i, s := range stale {
		if i == most {
			fmt.Fprintf(a.Out, "%s %d more units are stale\n", a.Style.Yellow("stale:"), len(stale)-most)
			return
		}
		fmt.Fprintf(a.Out, "%s %s: %s\n", a.Style.Yellow("stale:"), visible(s.Unit), s.Why)
	}
}

func (a *app) printCompare(c *impactCompare) {
	if c == nil {
		return
	}
	fmt.Fprintf(a.Out, "debug information: %d inlined copies of %d units, %d of them not in the dumps\n", c.Copies, c.Units, c.Missing)
	if c.Unknown > 0 {
		fmt.Fprintf(a.Out, "%s %d units with debug information are not in the build\n", a.Style.Yellow("note:"), c.Unknown)
	}
	for _, v := range c.Violations {
		fmt.Fprintf(a.Out, "%s %s: %s is inlined into %s, of which the dump does not tell\n", a.Style.Red("missing:"), visible(v.Unit), visible(v.Function), visible(v.Symbol))
	}
}

// impactAll answers --all.
func (a *app) impactAll(ctx context.Context, src *impactSourceHandle) error {
	a.Progress.Update("ask for every function", 0, 0)
	q := src.index.NewQuery()
	s, err := q.Summary(ctx)
	if err != nil {
		return err
	}
	stale, err := q.StaleUnits()
	if err != nil {
		return err
	}
	a.Progress.Done()
	doc := impactSummary{Version: 1, Source: src.describe(), All: impactDistribution(s.All), OfUnits: impactDistribution(s.OfUnits), Stale: staleUnits(stale)}
	for _, w := range s.Worst {
		doc.Worst = append(doc.Worst, impactWorst(w))
	}
	if a.JSON {
		return a.PrintJSON(doc)
	}
	t := ui.Table{Header: []string{"impacted symbols per function", "functions", "none", "mean", "p50", "p90", "p99", "max"}, Right: []bool{false, true, true, true, true, true, true, true}, Style: a.Style}
	for _, row := range []struct {
		what string
		d    index.Distribution
	}{{"all functions", s.All}, {"functions defined in C files", s.OfUnits}} {
		d := row.d
		t.Row(row.what, fmt.Sprint(d.Functions), fmt.Sprint(d.None), fmt.Sprintf("%.3f", d.Mean), fmt.Sprint(d.P50), fmt.Sprint(d.P90), fmt.Sprint(d.P99), fmt.Sprint(d.Max))
	}
	if err := t.Write(a.Out, 0); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	fmt.Fprintln(a.Out)
	t = ui.Table{Header: []string{"the worst", "defined in", "impacted"}, Right: []bool{false, false, true}, Style: a.Style}
	for _, w := range s.Worst {
		t.Row(w.Name, fmt.Sprintf("%s:%d", w.File, w.Line), fmt.Sprint(w.Impacted))
	}
	if err := t.Write(a.Out, ui.Width(a.Out)); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	a.printStale(doc.Stale)
	return nil
}

// writeGraph draws the chains of an answer.
func writeGraph(doc *impactAnswer, name string) error {
	g := &graph.Graph{}
	files := map[string]string{}
	for _, f := range doc.Functions {
		files[f.Name] = f.File
		g.Node(f.Name, graph.Node{Label: f.Name, Note: f.File, Mark: true})
	}
	for _, o := range doc.Objects {
		for _, s := range o.Symbols {
			// Functions of one name in several units are several boxes.
			key := func(n string) string {
				if files[n] != "" {
					return n
				}
				return s.Unit + " " + n
			}
			for i, e := range s.Chain {
				note := s.Unit
				if i == len(s.Chain)-1 && o.Object != "" {
					note = o.Object + ", " + s.Unit
				}
				from := g.Node(key(e.From), graph.Node{Label: e.From, Note: s.Unit})
				to := g.Node(key(e.To), graph.Node{Label: e.To, Note: note})
				g.Edge(from, to, e.Kind)
			}
		}
	}
	data := g.DOT()
	if filepath.Ext(name) == ".svg" {
		var err error
		if data, err = g.SVG(); err != nil {
			return &exitError{exitRefused, err}
		}
	}
	staged, err := stage(name, data)
	if err != nil {
		return err
	}
	defer os.Remove(staged)
	if err := os.Rename(staged, name); err != nil {
		return fmt.Errorf("put the graph into place: %w", err)
	}
	return nil
}
