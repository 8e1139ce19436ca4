// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"

	"kmend/internal/impact"
)

// Graph is all of an index as plain numbers, for what answers in another place,
// as a page that is opened without kmend does. Following Edges as
// Query.closure does gives the same answers.
type Graph struct {
	Functions []*Function // as Each gives them
	Counts    []int       // of each function, as Count gives it
	Units     []GraphUnit
}

// GraphUnit is one translation unit. Its nodes and symbols are numbered from 0.
type GraphUnit struct {
	Path, Object string // object file; what it is linked into, "" unknown
	Flags        UnitFlags
	Nodes        []GraphNode
	Symbols      []GraphSymbol
}

// GraphNode is a function of a unit.
type GraphNode struct {
	Function int // in Graph.Functions
	Symbol   int // in the unit's Symbols, -1 if it has none
	Edges    []GraphEdge
}

// GraphEdge leads to a node of the same unit that depends on the one it
// belongs to. Calls are the last edges of a node.
type GraphEdge struct {
	To   int
	Kind impact.Kind
}

// GraphSymbol is a function symbol of a unit's object.
type GraphSymbol struct {
	Node   int // whose name it has
	Twin   int // next symbol of the same address, in a ring
	Flags  SymbolFlags
	InDump bool // GCC's account names it
	Absent bool // the linked object does not have it
	Size   uint64
}

// Graph reads the whole index. The error is a *FormatError, or the context's.
func (q *Query) Graph(ctx context.Context) (*Graph, error) {
	g := &Graph{}
	function := make([]int, q.x.Nodes())
	err := q.Each(func(f *Function) bool {
		for _, n := range f.nodes {
			if int(n) >= len(function) {
				q.damaged("entry of nodes", n)
				return false
			}
			function[n] = len(g.Functions)
		}
		g.Functions = append(g.Functions, f)
		g.Counts = append(g.Counts, q.Count(f))
		return ctx.Err() == nil
	})
	if err != nil {
		return nil, err
	}
	left := rest{nodes: q.x.Nodes(), symbols: q.x.Symbols(), edges: q.x.Edges()}
	for i := range uint32(q.x.Units()) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		g.Units = append(g.Units, q.graphUnit(i, function, &left))
		if q.err != nil {
			return nil, q.err
		}
	}
	return g, nil
}

// rest is what there is for the units that are still to be read. Units that share
// what they have would make a graph many times as large as the file.
type rest struct{ nodes, symbols, edges int }

// take takes something for a unit.
func (q *Query) take(what string, from *int, n, unit uint32) {
	if *from -= int(n); *from < 0 {
		q.damaged(what+" of its own for unit", unit)
	}
}

// graphUnit reads one unit; function are the numbers of all nodes' functions, left
// is what no unit before it has.
func (q *Query) graphUnit(number uint32, function []int, left *rest) GraphUnit {
	u := q.unit(number)
	out := GraphUnit{Path: q.str(u.path), Object: q.str(u.object), Flags: u.flags}
	// inside is the number within the unit of something of the whole index.
	inside := func(what string, at, first, count uint32) int {
		if at-first >= count {
			q.damaged(what+" of the same unit", at)
			return 0
		}
		return int(at - first)
	}
	if uint64(u.node0)+uint64(u.nodes) > uint64(len(function)) || uint64(u.sym0)+uint64(u.syms) > uint64(q.x.Symbols()) {
		q.damaged("unit", number)
		return out
	}
	q.take("function", &left.nodes, u.nodes, number)
	q.take("symbol", &left.symbols, u.syms, number)
	for n := u.node0; n < u.node0+u.nodes && q.err == nil; n++ {
		node := GraphNode{Function: function[n], Symbol: -1}
		if s := q.symbolNumber(n); s != 0 {
			node.Symbol = inside("symbol", s-1, u.sym0, u.syms)
		}
		from, to := q.edges(n)
		q.take("edge", &left.edges, to-from, number)
		for e := from; e < to && q.err == nil; e++ {
			edge := edge(q.u32(secEdges, e))
			node.Edges = append(node.Edges, GraphEdge{inside("function", edge.to(), u.node0, u.nodes), edge.kind()})
		}
		out.Nodes = append(out.Nodes, node)
	}
	for s := u.sym0; s < u.sym0+u.syms && q.err == nil; s++ {
		y := q.symbol(s)
		out.Symbols = append(out.Symbols, GraphSymbol{
			Node: inside("function", y.node, u.node0, u.nodes), Twin: inside("symbol", y.twin, u.sym0, u.syms),
			Flags: y.flags, InDump: y.flags&flagInDump != 0, Absent: y.why == sympAbsent, Size: y.size,
		})
	}
	return out
}
