// SPDX-License-Identifier: Apache-2.0

package index

import (
	"cmp"
	"slices"

	"kmend/internal/impact"
)

// Query asks questions of an index. It keeps the memory that they need, so that
// one after the other costs nothing; it is for one goroutine.
type Query struct {
	view
	stamp    uint32
	seen     []uint32          // by number in the unit: the stamp of the closure that reached it
	steps    []step            // functions reached, in order, each with how
	syms     []symStep         // symbols reached
	symSet   []uint32          // by number in the unit, as seen
	bySource map[string]uint32 // units, for UnitOf
	strings  map[uint32]string // that were read: many functions have the same
	work     uint64            // edges followed and aliases looked at since the question began
}

// maxWork bounds a question: about half a minute. All functions of 230 units of
// the stock kernel take 105,466; a file can be made so that they take years.
const maxWork = 1 << 32

// spend counts work, and ends a question that takes too much.
func (q *Query) spend(n uint32) {
	if q.work += uint64(n); q.work > maxWork && q.err == nil {
		q.err = &FormatError{What: "damaged: its functions depend on each other as those of no build do"}
	}
}

// str is the string at an offset.
func (q *Query) str(off uint32) string {
	s, ok := q.strings[off]
	if !ok {
		if q.strings == nil {
			q.strings = map[uint32]string{}
		}
		s = q.view.str(off)
		q.strings[off] = s
	}
	return s
}

// step is a function that a closure reached.
type step struct {
	node uint32
	via  int32 // the step before; -1 for a start
	kind impact.Kind
	own  bool // it holds the body that was asked for: the function, or a clone of it
}

type symStep struct {
	sym uint32
	at  int32 // step
}

// NewQuery begins to ask.
func (x *Index) NewQuery() *Query { return &Query{view: view{x: x}} }

// Err is a *FormatError if a question met a damaged part of the index; its
// answer must not be used then.
func (q *Query) Err() error { return q.err }

// reset begins a closure in a unit.
func (q *Query) reset(u *unit) {
	q.stamp++
	if q.stamp == 0 { // after 2^32 closures
		clear(q.seen[:cap(q.seen)])
		clear(q.symSet[:cap(q.symSet)])
		q.stamp = 1
	}
	q.seen = grow(q.seen, u.nodes, q.x.counts[secNodes])
	q.symSet = grow(q.symSet, u.syms, q.x.counts[secSyms])
	q.steps, q.syms = q.steps[:0], q.syms[:0]
}

// grow makes room for n entries; a damaged n does not make it larger than all
// there is.
func grow(s []uint32, n, limit uint32) []uint32 {
	n = min(n, limit)
	if uint32(len(s)) >= n {
		return s
	}
	return append(s, make([]uint32, n-uint32(len(s)))...)
}

// closure follows the edges from functions of one unit. After it q.steps are
// the functions reached and q.syms their symbols, nearest first.
func (q *Query) closure(unitNumber uint32, starts []uint32) {
	u := q.unit(unitNumber)
	q.reset(&u)
	for _, n := range starts {
		q.reach(&u, n, -1, 0, true)
	}
	// An alias that the dump does not name stands for what it is an alias of.
	if len(starts) == 1 && len(q.syms) == 1 {
		if s := q.symbol(q.syms[0].sym); s.flags&flagInDump == 0 {
			q.aliases(&u, q.syms[0].sym, s)
		}
	}
	// Clones first, then whatever else holds the body: a clone that it was also
	// inlined into, as a recursive function is, counts as its own. Calls last:
	// who is reached in another way too keeps that reason. A caller leads further
	// only if it is a clone itself, whose interface may rest on that of the one it
	// calls; only clones have such edges.
	q.follow(&u, true)
	q.follow(&u, false)
	q.callers(&u)
}

// follow follows the edges from the functions reached so far and those that it
// reaches: those to clones only, or all but calls.
func (q *Query) follow(u *unit, clones bool) {
	for i := 0; i < len(q.steps) && q.err == nil; i++ {
		at := q.steps[i]
		if clones && !at.own {
			continue
		}
		from, to := q.edges(at.node)
		q.spend(to - from)
		for b := q.x.sec[secEdges][4*uint64(from) : 4*uint64(to)]; len(b) >= 4; b = b[4:] {
			edge := edge(le.Uint32(b))
			kind := edge.kind()
			clone := kind.IsClone() || kind == impact.Recursive
			if kind != impact.Calls && (clone || !clones) {
				q.reach(u, edge.to(), int32(i), kind, at.own && clone)
			}
		}
	}
}

// callers follows the calls of clones; they are the last edges of a function.
func (q *Query) callers(u *unit) {
	for i := 0; i < len(q.steps) && q.err == nil; i++ {
		from, to := q.edges(q.steps[i].node)
		first := to
		for first > from && edge(q.u32(secEdges, first-1)).kind() == impact.Calls {
			first--
		}
		q.spend(to - first)
		for ; first < to; first++ {
			q.reach(u, edge(q.u32(secEdges, first)).to(), int32(i), impact.Calls, false)
		}
	}
}

// reach adds a function and its symbol to the closure.
func (q *Query) reach(u *unit, n uint32, via int32, kind impact.Kind, own bool) {
	i := n - u.node0
	if i >= u.nodes || i >= uint32(len(q.seen)) {
		q.damaged("function of the same unit", n)
		return
	}
	if q.seen[i] == q.stamp {
		return
	}
	q.seen[i] = q.stamp
	q.steps = append(q.steps, step{n, via, kind, own})
	sym := q.symbolNumber(n)
	if sym == 0 {
		return
	}
	i = sym - 1 - u.sym0
	if i >= u.syms || i >= uint32(len(q.symSet)) {
		q.damaged("symbol of the same unit", sym-1)
		return
	}
	if q.symSet[i] != q.stamp {
		q.symSet[i] = q.stamp
		q.syms = append(q.syms, symStep{sym - 1, int32(len(q.steps)) - 1})
	}
}

// aliases starts from the functions of the dump at the address of a symbol.
func (q *Query) aliases(u *unit, first uint32, s symbol) {
	for range min(u.syms, q.x.counts[secSyms]) {
		if q.spend(1); s.twin == first || q.err != nil {
			return
		}
		at := s.twin
		if s = q.symbol(at); s.flags&flagInDump != 0 {
			q.reach(u, s.node, -1, 0, true)
		}
	}
}

// Count is the number of symbols, in all objects, that depend on a function's
// body and do not hold it.
func (q *Query) Count(f *Function) int {
	n := 0
	q.eachUnit(f, func(uint32) {
		for _, s := range q.syms {
			if !q.steps[s.at].own {
				n++
			}
		}
	})
	return n
}

// eachUnit makes the closure of the function in each of its units.
func (q *Query) eachUnit(f *Function, do func(unit uint32)) {
	for i := 0; i < len(f.nodes) && q.err == nil; {
		u, j := q.node(f.nodes[i]).unit, i+1
		for j < len(f.nodes) && q.node(f.nodes[j]).unit == u {
			j++
		}
		q.closure(u, f.nodes[i:j])
		do(u)
		i = j
	}
}

// Symbol is a function symbol of an object file.
type Symbol struct {
	Name, Unit string // assembler name, object file relative to the build
	Object     string // what the unit is linked into: vmlinux or a module; "" unknown
	Section    string
	Size       uint64
	Flags      SymbolFlags
	Sympos     int    // as livepatch wants it, if SymposWhy is ""
	SymposWhy  string // why Sympos is not known
	Missing    string // why the linked object does not have it; "" if it has, or that is not known
	Twins      []string
	Own        bool          // it holds the body that was asked for
	Chain      []impact.Edge // shortest, from the function asked for
}

// StaleUnit is a unit whose account cannot be relied on.
type StaleUnit struct {
	Unit  string
	Flags UnitFlags
}

// Answer is all that the index knows of one function.
type Answer struct {
	Function *Function
	Units    int      // how many know the function
	Symbols  []Symbol // that hold or depend on its body, by object, unit and name
	Stale    []StaleUnit
	Unlinked int // units of Stale and others whose object is not known
}

// Answer asks who depends on a function.
func (q *Query) Answer(f *Function) (*Answer, error) {
	a := &Answer{Function: f}
	q.work = 0
	q.eachUnit(f, func(number uint32) {
		a.Units++
		u := q.unit(number)
		path, object := q.str(u.path), q.str(u.object)
		if u.flags.Stale() {
			a.Stale = append(a.Stale, StaleUnit{path, u.flags})
		}
		if object == "" {
			a.Unlinked++
		}
		for _, s := range q.syms {
			a.Symbols = append(a.Symbols, q.describe(s, path, object))
		}
	})
	slices.SortStableFunc(a.Symbols, func(a, b Symbol) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Name, b.Name))
	})
	return a, q.err
}

func (q *Query) describe(s symStep, path, object string) Symbol {
	y := q.symbol(s.sym)
	out := Symbol{
		Name: q.str(q.node(y.node).name), Unit: path, Object: object, Section: q.str(y.section), Size: y.size, Flags: y.flags,
		Sympos: int(y.sympos), Own: q.steps[s.at].own,
	}
	if y.why == sympAbsent {
		out.Missing = sympWhy[sympAbsent]
	}
	if y.why != sympKnown {
		out.SymposWhy = "not known"
		if int(y.why) < len(sympWhy) {
			out.SymposWhy = sympWhy[y.why]
		}
	}
	for twin, n := y.twin, 0; twin != s.sym && n < 1000 && q.err == nil; n++ {
		t := q.symbol(twin)
		out.Twins = append(out.Twins, q.str(q.node(t.node).name))
		twin = t.twin
	}
	slices.Sort(out.Twins)
	for at := s.at; at >= 0 && q.steps[at].via >= 0; at = q.steps[at].via {
		from, to := q.steps[q.steps[at].via].node, q.steps[at].node
		out.Chain = append(out.Chain, impact.Edge{From: q.str(q.node(from).name), To: q.str(q.node(to).name), Kind: q.steps[at].kind})
	}
	slices.Reverse(out.Chain)
	return out
}
