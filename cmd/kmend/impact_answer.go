// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
	"strings"

	"kmend/internal/impact"
	"kmend/internal/impact/index"
)

// The documents of --json; see docs/json.md.
type (
	indexAnswer struct {
		Version   int           `json:"version"`
		Index     string        `json:"index"`
		Bytes     int           `json:"bytes"`
		Inputs    string        `json:"inputs"`
		Units     int           `json:"units"`
		Functions int           `json:"functions"`
		Nodes     int           `json:"nodes"`
		Edges     int           `json:"edges"`
		Symbols   int           `json:"symbols"`
		Stale     []impactStale `json:"stale"`
	}
	impactAnswer struct {
		Version   int              `json:"version"`
		Source    impactSource     `json:"source"`
		Complete  bool             `json:"complete"`
		Functions []impactFunction `json:"functions"`
		Objects   []impactObject   `json:"objects"`
		Stale     []impactStale    `json:"stale,omitempty"`
		Notes     []string         `json:"notes,omitempty"`
		Compare   *impactCompare   `json:"compare,omitempty"`
	}
	impactSource struct {
		Kind       string `json:"kind"`
		Path       string `json:"path"`
		Units      int    `json:"units"`
		StaleUnits int    `json:"stale_units"`
		LowerBound bool   `json:"lower_bound"`
	}
	impactFunction struct {
		Asked      string   `json:"asked"`
		Name       string   `json:"name"`
		File       string   `json:"file"`
		Line       int      `json:"line"`
		Units      int      `json:"units"`
		Own        []string `json:"own"`
		ClonesOnly bool     `json:"clones_only"`
		Impacted   int      `json:"impacted"`
	}
	impactObject struct {
		Object  string         `json:"object"`
		Symbols []impactSymbol `json:"symbols"`
	}
	impactSymbol struct {
		Name         string       `json:"name"`
		Unit         string       `json:"unit"`
		Section      string       `json:"section,omitempty"`
		Size         uint64       `json:"size"`
		Sympos       *int         `json:"sympos"`
		SymposWhy    string       `json:"sympos_why,omitempty"`
		Livepatch    bool         `json:"livepatch"`
		LivepatchWhy string       `json:"livepatch_why,omitempty"`
		Twins        []string     `json:"twins,omitempty"`
		Own          bool         `json:"own"`
		For          []string     `json:"for"`
		Chain        []impactEdge `json:"chain,omitempty"`
	}
	impactEdge struct {
		From   string `json:"from"`
		To     string `json:"to"`
		Kind   string `json:"kind"`
		Detail string `json:"detail,omitempty"`
	}
	impactStale struct {
		Unit string `json:"unit"`
		Why  string `json:"why"`
	}
	impactSummary struct {
		Version int                `json:"version"`
		Source  impactSource       `json:"source"`
		All     impactDistribution `json:"all"`
		OfUnits impactDistribution `json:"of_units"`
		Worst   []impactWorst      `json:"worst"`
		Stale   []impactStale      `json:"stale,omitempty"`
	}
	impactDistribution struct {
		Functions int     `json:"functions"`
		None      int     `json:"none"`
		Mean      float64 `json:"mean"`
		P50       int     `json:"p50"`
		P90       int     `json:"p90"`
		P99       int     `json:"p99"`
		Max       int     `json:"max"`
	}
	impactWorst struct {
		Name     string `json:"name"`
		File     string `json:"file"`
		Line     int    `json:"line"`
		Impacted int    `json:"impacted"`
	}
	impactCompare struct {
		Units      int             `json:"units"`
		Unknown    int             `json:"unknown_units"`
		Copies     int             `json:"copies"`
		Missing    int             `json:"missing"`
		Violations []impactMissing `json:"violations,omitempty"`
	}
	impactMissing struct {
		Unit     string `json:"unit"`
		Function string `json:"function"`
		Symbol   string `json:"symbol"`
	}
)

func staleUnits(list []index.StaleUnit) []impactStale {
	out := []impactStale{}
	for _, s := range list {
		out = append(out, impactStale{s.Unit, s.Flags.String()})
	}
	return out
}

// livepatch says whether a live patch can replace a symbol, and if not, why.
func livepatch(s *index.Symbol) (bool, string) {
	switch {
	case s.Missing != "":
		return false, s.Missing
	case s.Flags.Init():
		return false, "it is freed after the start"
	case !s.Flags.Fentry():
		return false, "it does not begin with a call of __fentry__: notrace, noinstr, or its unit is built without -pg"
	}
	return true, ""
}

// united puts answers together: each symbol once, with whom it is there for.
type united struct {
	doc     *impactAnswer
	symbols map[[3]string]*impactSymbol
	stale   map[string]bool
}

func newUnited(doc *impactAnswer) *united {
	doc.Version, doc.Complete = 1, true
	doc.Functions, doc.Objects = []impactFunction{}, []impactObject{}
	return &united{doc, map[[3]string]*impactSymbol{}, map[string]bool{}}
}

func (u *united) add(asked string, ans *index.Answer) {
	f := impactFunction{Asked: asked, Name: ans.Function.Name, File: ans.Function.File, Line: ans.Function.Line, Units: ans.Units, Own: []string{}}
	itself := false
	for i := range ans.Symbols {
		s := &ans.Symbols[i]
		if s.Own {
			f.Own = append(f.Own, s.Name)
			itself = itself || !s.Flags.Clone()
		} else {
			f.Impacted++
		}
		u.symbol(asked, s)
	}
	slices.Sort(f.Own)
	f.Own = slices.Compact(f.Own)
	f.ClonesOnly = len(f.Own) > 0 && !itself
	u.doc.Functions = append(u.doc.Functions, f)
	for _, s := range ans.Stale {
		if !u.stale[s.Unit] {
			u.stale[s.Unit] = true
			u.doc.Stale = append(u.doc.Stale, impactStale{s.Unit, s.Flags.String()})
		}
	}
	if len(ans.Stale) == ans.Units {
		u.doc.Complete = false // nothing that is said of it can be relied on
	}
}

func (u *united) symbol(asked string, s *index.Symbol) {
	key := [3]string{s.Object, s.Unit, s.Name}
	have := u.symbols[key]
	if have == nil {
		have = &impactSymbol{Name: s.Name, Unit: s.Unit, Section: s.Section, Size: s.Size, SymposWhy: s.SymposWhy, Twins: s.Twins, Own: s.Own, Chain: edges(s.Chain)}
		if s.SymposWhy == "" {
			have.Sympos = &s.Sympos
		}
		have.Livepatch, have.LivepatchWhy = livepatch(s)
		u.symbols[key] = have
	}
	if s.Own && !have.Own {
		have.Own, have.Chain = true, edges(s.Chain)
	}
	if !slices.Contains(have.For, asked) {
		have.For = append(have.For, asked)
	}
}

// finish lays the symbols out by object.
func (u *united) finish() {
	keys := make([][3]string, 0, len(u.symbols))
	for k := range u.symbols {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [3]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2]))
	})
	for _, k := range keys {
		n := len(u.doc.Objects)
		if n == 0 || u.doc.Objects[n-1].Object != k[0] {
			u.doc.Objects = append(u.doc.Objects, impactObject{Object: k[0]})
			n++
		}
		o := &u.doc.Objects[n-1]
		o.Symbols = append(o.Symbols, *u.symbols[k])
	}
	slices.SortFunc(u.doc.Stale, func(a, b impactStale) int { return strings.Compare(a.Unit, b.Unit) })
}

func edges(chain []impact.Edge) []impactEdge {
	var out []impactEdge
	for _, e := range chain {
		out = append(out, impactEdge{e.From, e.To, e.Kind.String(), e.Detail})
	}
	return out
}
