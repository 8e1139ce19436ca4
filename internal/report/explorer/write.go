// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"html/template"
	"io"

	"kmend/internal/impact/index"
	"kmend/internal/levels"
	"kmend/internal/report/page"
)

// Build is an index and what the user calls it.
type Build struct {
	Name  string
	Index *index.Index
}

// Input is what is shown: the first build is explored, all are compared.
type Input struct {
	Builds []Build // at least one
	Levels *Levels // nil: none
}

//go:embed *.tmpl
var files embed.FS

var templates = page.Templates(files, "*.tmpl")

//go:embed graph.js
var graphScript string

//go:embed search.js
var searchScript string

// view is what the template shows.
type view struct {
	Builds    []buildView
	Histogram page.Histogram // of the first
	Worst     []index.Worst  // of the first
	Stale     []index.StaleUnit
	Curves    page.Curves
	Changes   []comparison
	Levels    *levelsView
}

// buildView is a build in the comparison.
type buildView struct {
	Name                             string
	Units, Functions, Symbols, Stale int
	All, OfUnits                     index.Distribution
}

// Write writes the page. The same input gives the same bytes.
func Write(ctx context.Context, w io.Writer, in Input) error {
	if len(in.Builds) == 0 {
		return fmt.Errorf("write the page: there is no index: give one")
	}
	v := &view{}
	var graphs []*index.Graph
	for i, b := range in.Builds {
		g, err := v.add(ctx, b)
		if err != nil {
			return fmt.Errorf("explore %s: %w", b.Name, err)
		}
		if i == 0 {
			v.Histogram = page.NewHistogram("How many symbols depend on a function", "functions", "symbols that depend on it", g.Counts)
		} else {
			v.Changes = append(v.Changes, compare(in.Builds[0].Name, b.Name, graphs[0], g))
		}
		graphs = append(graphs, g)
	}
	v.curves(graphs)
	v.Levels = viewLevels(in.Levels)
	data, err := encode(graphs[0], v.Changes)
	if err != nil {
		return err
	}
	var main bytes.Buffer
	if err := templates.ExecuteTemplate(&main, "explorer", v); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return page.Write(w, page.Document{Title: v.Builds[0].Name + ": kmend impact", Main: template.HTML(main.String()), Data: data,
		Scripts: []string{graphScript, searchScript}})
}

// add asks one build for everything.
func (v *view) add(ctx context.Context, b Build) (*index.Graph, error) {
	q := b.Index.NewQuery()
	s, err := q.Summary(ctx)
	if err != nil {
		return nil, err
	}
	g, err := q.Graph(ctx)
	if err != nil {
		return nil, err
	}
	stale, err := q.StaleUnits()
	if err != nil {
		return nil, err
	}
	if len(v.Builds) == 0 {
		v.Stale = stale
		for _, w := range s.Worst {
			w.Name, w.File = page.Clean(w.Name, 4096), page.Clean(w.File, 4096)
			v.Worst = append(v.Worst, w)
		}
		for i := range v.Stale {
			v.Stale[i].Unit = page.Clean(v.Stale[i].Unit, 4096)
		}
	}
	v.Builds = append(v.Builds, buildView{Name: page.Clean(b.Name, 200), Units: b.Index.Units(), Functions: len(g.Functions), Symbols: b.Index.Symbols(),
		Stale: len(stale), All: s.All, OfUnits: s.OfUnits})
	return g, nil
}

// curves draws the builds over each other.
func (v *view) curves(graphs []*index.Graph) {
	v.Curves = page.Curves{Title: "Functions on which at most so many symbols depend", Unit: "functions", Size: "symbols that depend on it"}
	for i, g := range graphs {
		v.Curves.Add(v.Builds[i].Name, g.Counts)
	}
}

// levelsView is a measurement of levels.
type levelsView struct {
	Kernel, Compiler string
	Units            *levels.Units
	Impacted, Text   []page.Bar
	Instructions     []page.Bar
	Failed           []string
}
