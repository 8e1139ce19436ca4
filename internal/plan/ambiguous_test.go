// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"kmend/internal/closure"
	"kmend/internal/delta"
	"kmend/internal/object"
	"kmend/internal/runpre"
)

// No function of the stock kernel is ambiguous: where names and code agree, the
// order of functions decides. So the verdicts are made up here; package runpre
// has the tests of how they come about.
func TestAmbiguousSymbol(t *testing.T) {
	w := &work{source: "drivers/block/loop.c", object: "loop"}
	it := &delta.Item{Name: "show"}
	for _, c := range []struct {
		match *runpre.FuncMatch
		code  string
		word  string
	}{
		{&runpre.FuncMatch{Verdict: runpre.Ambiguous, Why: "2 fit", Fentry: true}, CodeAmbiguousSymbol, "2 fit"},
		{&runpre.FuncMatch{Verdict: runpre.Equal, Symbol: runpre.Symbol{Name: "show", Sympos: -1}, Fentry: true}, CodeAmbiguousSymbol, "freed after start"},
		{&runpre.FuncMatch{Verdict: runpre.Missing, Why: "none"}, CodeRunPreMismatch, "none"},
		{nil, CodeRunPreMismatch, "not compared"},
		{&runpre.FuncMatch{Verdict: runpre.Equal}, CodeNoFentry, "__fentry__"},
		{&runpre.FuncMatch{Verdict: runpre.Equal, Symbol: runpre.Symbol{Sympos: 2}, Fentry: true}, "", ""},
	} {
		r := w.replaceable(it, c.match)
		switch {
		case r == nil && c.code != "":
			t.Errorf("%+v is accepted", c.match)
		case r != nil && (r.Code != c.code || !strings.Contains(r.Why, c.word) || r.Advice == "" || r.File != w.source || r.Object != "loop" || r.Symbol != "show"):
			t.Errorf("%+v: refused with %s", c.match, r)
		}
	}
}

// The same for what the new code refers to.
func TestAmbiguousReference(t *testing.T) {
	sym := &object.Symbol{Name: "count.0"}
	it := &delta.Item{Name: "count.0", Kind: delta.State, Symbols: []*object.Symbol{sym}}
	match := func(names ...string) *runpre.UnitMatch {
		v := runpre.Value{Section: ".bss", Addr: 8}
		for _, n := range names {
			v.Symbols = append(v.Symbols, runpre.Symbol{Name: n, Sympos: -1})
		}
		return &runpre.UnitMatch{Values: map[*object.Symbol]runpre.Value{sym: v}}
	}
	for _, c := range []struct {
		match *runpre.UnitMatch
		code  string
		word  string
	}{
		{match("count.7"), CodeAmbiguousSymbol, "some in sections that are freed"},
		{match("other"), CodeUnproved, "where the symbol table has other"},
		{match(), CodeUnproved, "no symbol"},
		{&runpre.UnitMatch{}, CodeUnproved, "no code that could be matched"},
	} {
		r := &resolver{object: "loop", match: c.match}
		_, err := r.resolve(&closure.Need{Item: it, Before: it})
		nf, ok := err.(*notFound)
		if !ok || nf.code != c.code || !strings.Contains(nf.why, c.word) || nf.advice == "" {
			t.Errorf("%+v: %+v, want %s with %q", c.match, err, c.code, c.word)
		}
	}
}
