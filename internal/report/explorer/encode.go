// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"kmend/internal/impact/index"
	"kmend/internal/report/page"
)

// texts are the strings of the graph; numbers in the graph are places in them.
type texts struct {
	Names   []string `json:"names"` // of functions
	Files   []string `json:"files"` // that define them
	Units   []string `json:"units"` // object files
	Objects []string `json:"objects"`
	Others  []string `json:"others"` // names of the other builds
	Stale   []string `json:"stale"`  // why a unit cannot be relied on; the first is empty
}

// table numbers strings as they come.
type table struct {
	list []string
	at   map[string]int
}

func (t *table) number(s string) int {
	if i, ok := t.at[s]; ok {
		return i
	}
	if t.at == nil {
		t.at = map[string]int{}
	}
	t.at[s] = len(t.list)
	t.list = append(t.list, page.Clean(s, 4096))
	return len(t.list) - 1
}

// encoder writes numbers: LEB128, signed ones with the sign in the lowest bit.
type encoder struct{ data []byte }

func (e *encoder) u(n int)          { e.data = binary.AppendUvarint(e.data, uint64(n)) }
func (e *encoder) s(n int)          { e.data = binary.AppendVarint(e.data, int64(n)) }
func (e *encoder) step(n, last int) { e.s(n - last) }

// Bits of a symbol.
const (
	bitFentry = 1 << iota
	bitInit
	bitInDump
	bitAbsent
)

// encode makes the two blocks of data that graph.js reads. Text is JSON; numbers
// are base64 of:
//
//	2, number of functions, of other builds; for each function its file
//	  (difference to the one before), line, count; for each other build its count + 1
//	  there, 0 if that does not have it
//	number of units; for each its object, its trouble, number of nodes, of symbols
//	  for each node: function (difference), symbol + 1 (difference), number of
//	  edges; for each edge (target - node) zigzag × 8 + kind
//	  for each symbol: node (difference), twin - symbol, bits, size
func encode(g *index.Graph, others []comparison) ([]page.Data, error) {
	t := texts{Names: []string{}, Units: []string{}, Others: []string{}}
	for _, o := range others {
		t.Others = append(t.Others, o.Other)
	}
	var files, objects, stale table
	stale.number("")
	e := &encoder{}
	e.u(2)
	e.u(len(g.Functions))
	e.u(len(others))
	last := 0
	for i, f := range g.Functions {
		t.Names = append(t.Names, page.Clean(f.Name, 512))
		file := files.number(f.File)
		e.step(file, last)
		e.u(max(f.Line, 0))
		e.u(g.Counts[i])
		for _, o := range others {
			e.u(o.Counts[i] + 1)
		}
		last = file
	}
	e.u(len(g.Units))
	function := 0
	for i := range g.Units {
		u := &g.Units[i]
		t.Units = append(t.Units, page.Clean(u.Path, 4096))
		e.u(objects.number(u.Object))
		e.u(stale.number(u.Flags.String()))
		function = e.unit(u, function)
	}
	t.Files, t.Objects, t.Stale = files.list, objects.list, stale.list
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("write the page: %w", err)
	}
	return []page.Data{{ID: "graph-text", Text: string(text)}, {ID: "graph-numbers", Text: base64.StdEncoding.EncodeToString(e.data)}}, nil
}

// unit writes the graph of one unit; function is the last one of the unit before.
func (e *encoder) unit(u *index.GraphUnit, function int) int {
	e.u(len(u.Nodes))
	e.u(len(u.Symbols))
	symbol := 0
	for i, n := range u.Nodes {
		e.step(n.Function, function)
		e.step(n.Symbol+1, symbol)
		function, symbol = n.Function, n.Symbol+1
		e.u(len(n.Edges))
		for _, edge := range n.Edges {
			d := edge.To - i
			zigzag := d << 1
			if d < 0 {
				zigzag = ^zigzag
			}
			e.u(zigzag<<3 | int(edge.Kind)&7)
		}
	}
	node := 0
	for i, s := range u.Symbols {
		e.step(s.Node, node)
		e.step(s.Twin, i)
		node = s.Node
		bits := 0
		for bit, set := range map[int]bool{bitFentry: s.Flags.Fentry(), bitInit: s.Flags.Init(), bitInDump: s.InDump, bitAbsent: s.Absent} {
			if set {
				bits |= bit
			}
		}
		e.u(bits)
		e.u(int(min(s.Size, 1<<40)))
	}
	return function
}
