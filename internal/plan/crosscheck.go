// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"kmend/internal/delta"
)

// CrossCheck compares the plans that the binary and the source way made of one
// fix: what is replaced, the code of each function (by its Proof), and where
// both look for what they use by name. They agree if nothing is returned.
//
// A clone that the binary way replaces is no disagreement where the source way
// replaces all its callers: C text cannot have the clone's interface.
func CrossCheck(binary, source *Build) ([]Disagreement, error) {
	if binary.Plan.Way != WayBinary || source.Plan.Way != WaySource || binary.Plan.Verdict != Patch || source.Plan.Verdict != Patch {
		return nil, fmt.Errorf("compare the two ways of plan %s: ways %s and %s, verdicts %s and %s; two plans to patch, one of each way, are needed",
			binary.Plan.Name, binary.Plan.Way, source.Plan.Way, binary.Plan.Verdict, source.Plan.Verdict)
	}
	c := &crossCheck{out: []Disagreement{}}
	for _, bw := range binary.works {
		i := slices.IndexFunc(source.works, func(w *work) bool { return w.source == bw.source && w.object == bw.object })
		if i < 0 {
			c.differ(bw.object, bw.source, "the source way has nothing of this unit")
			continue
		}
		c.functions(bw, source.works[i])
		c.code(source.works[i])
	}
	for i, bp := range binary.Pieces {
		for _, sp := range source.Pieces {
			if binary.works[i].source == sp.source && bp.Object == sp.Object {
				c.references(&bp, &sp)
			}
		}
	}
	return c.out, nil
}

type crossCheck struct{ out []Disagreement }

func (c *crossCheck) differ(object, function, why string) {
	c.out = append(c.out, Disagreement{Object: object, Function: function, Why: why})
}

// functions compares what a unit's two plans replace.
func (c *crossCheck) functions(binary, source *work) {
	names := func(w *work) (out []string) {
		for _, ch := range w.result.Changed {
			if !slices.Contains(w.carried, ch.After) {
				m, _ := w.matchOf(ch.Before)
				out = append(out, fmt.Sprintf("%s,%d", m.Symbol.Name, m.Symbol.Sympos))
			}
		}
		return out
	}
	want, have := names(binary.sourceSet()), names(source)
	for _, n := range want {
		if !slices.Contains(have, n) {
			c.differ(binary.object, n, "the binary way replaces it or what calls it, the source way does not")
		}
	}
	for _, n := range have {
		if !slices.Contains(want, n) {
			c.differ(binary.object, n, "the source way replaces it, the binary way does not")
		}
	}
}

// code wants a proof of every replaced function.
func (c *crossCheck) code(source *work) {
	for _, ch := range source.cl.Replaced {
		i := -1
		if source.unit.Extraction != nil {
			i = slices.IndexFunc(source.unit.Extraction.Patched, func(p Proof) bool { return p.Function == ch.After.Name })
		}
		switch {
		case i < 0:
			c.differ(source.object, ch.After.Name, "the code of the source way was not compared")
		case source.unit.Extraction.Patched[i].Verdict == ProofUnexplained:
			c.differ(source.object, ch.After.Name, "its code differs between the two ways, and nothing explains that: "+source.unit.Extraction.Patched[i].Difference)
		}
	}
}

// references compares where two pieces find what they use under one name.
func (c *crossCheck) references(binary, source *Piece) {
	found := map[string]*Found{}
	for sym, f := range binary.Refs {
		found[sym.Name] = f
	}
	for _, sym := range source.File.Symbols {
		f, was := source.Refs[sym], found[sym.Name]
		if f == nil || was == nil {
			continue
		}
		if _, numbered := delta.Stem(sym.Name); numbered {
			continue // the two compiles number on their own
		}
		if f.How != was.How || f.Object != was.Object || f.Name != was.Name || f.Sympos != was.Sympos {
			c.differ(source.Object, sym.Name, fmt.Sprintf("the binary way finds it as %s,%d of %s, the source way as %s,%d of %s", was.Name, was.Sympos, was.Object, f.Name, f.Sympos, f.Object))
		}
	}
}
