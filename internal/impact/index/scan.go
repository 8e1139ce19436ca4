// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"fmt"
	"slices"

	"kmend/internal/compiler"
	"kmend/internal/impact"
)

// Limits of what one unit may hold: far beyond a real one.
const (
	maxNodesOfUnit = 1 << 22
	maxDump        = 1 << 30
	maxObject      = 2 << 30
)

// noOrder marks a function that the object has and the dump does not name.
const noOrder = -1

type node struct {
	name, file  uint32 // strings
	line, order int32
	unit        uint32
	sym         uint32 // number + 1; 0: the object has no symbol of that name
}

// symbol is a function symbol of an object.
type symbol struct {
	value, size uint64
	node        uint32 // the first of its name
	flags       SymbolFlags
	section     uint32 // string
	twin        uint32 // the next symbol of the same address, around in a ring; itself if alone
	sympos      int32
	why         uint32 // why sympos is not known
}

// edge is packed as it is stored.
type edge uint32

const (
	kindShift = 28
	maxNodes  = 1 << kindShift
)

func makeEdge(kind impact.Kind, to uint32) edge { return edge(uint32(kind)<<kindShift | to) }
func (e edge) to() uint32                       { return uint32(e) & (maxNodes - 1) }
func (e edge) kind() impact.Kind                { return impact.Kind(e >> kindShift) }

type link struct {
	from uint32
	edge edge
}

// part is what one worker made of its units: numbers of nodes and symbols are
// its own, those of one unit follow each other.
type part struct {
	strings *interner
	nodes   []node
	links   []link
	syms    []symbol
}

// scanner reads units one after the other.
type scanner struct {
	part
	first    uint32           // first node of the unit
	byOrder  table            // node of an order, in this unit
	farOrder map[int32]uint32 // the same for orders that no real compile has
	byName   table            // first node of a name
	names    [][]byte         // of the nodes of this unit, in the dump
	lastFile []byte
	lastID   uint32
	obj      objectScan
}

func newScanner() *scanner {
	return &scanner{part: part{strings: newInterner()}, farOrder: map[int32]uint32{}}
}

// begin starts a unit.
func (s *scanner) begin() {
	s.first = uint32(len(s.nodes))
	s.byOrder.reset()
	s.byName.reset()
	clear(s.farOrder)
	s.names = s.names[:0]
	s.lastFile, s.lastID = nil, 0
}

var kindOf = [...]impact.Kind{
	compiler.CloneInlined: impact.Inlined, compiler.CloneConstprop: impact.Constprop, compiler.CloneIsra: impact.Isra,
	compiler.ClonePart: impact.Part, compiler.CloneRecursive: impact.Recursive,
}

// dump adds the nodes and edges of a dump.
func (s *scanner) dump(data []byte) error {
	firstLink := len(s.links)
	d := compiler.ScanDump(data)
	for d.Next() {
		from, err := s.dumpNode(&d.From, d.Line())
		if err != nil {
			return err
		}
		if d.Op == compiler.CloneRemoved {
			continue
		}
		to, err := s.dumpNode(&d.To, d.Line())
		if err != nil {
			return err
		}
		if from != to {
			s.links = append(s.links, link{from, makeEdge(kindOf[d.Op], to)})
		}
	}
	if err := d.Err(); err != nil {
		return err
	}
	s.settle(firstLink)
	return nil
}

// settle sorts the edges from first on and drops those that are there twice.
func (s *scanner) settle(first int) {
	list := s.links[first:]
	slices.SortFunc(list, func(a, b link) int {
		if a.from != b.from {
			return int(a.from) - int(b.from)
		}
		return int(int64(a.edge) - int64(b.edge))
	})
	s.links = s.links[:first+len(slices.Compact(list))]
}

// maxNearOrder bounds the table of orders; a unit of the kernel has some 10^5.
const maxNearOrder = 1 << 20

func (s *scanner) ordered(order int32) (id uint32, ok bool) {
	if order < maxNearOrder {
		return s.byOrder.get(uint32(order))
	}
	id, ok = s.farOrder[order]
	return id, ok
}

func (s *scanner) dumpNode(n *compiler.DumpNode, line int) (uint32, error) {
	if id, ok := s.ordered(n.Order); ok {
		if have := s.names[id-s.first]; !bytes.Equal(have, n.Name) {
			return 0, &compiler.DumpError{Line: line, What: fmt.Sprintf(
				"order %d is %.80s here and %.80s above: two compiles wrote to the dump; compile the unit again", n.Order, n.Name, have)}
		}
		return id, nil
	}
	if len(s.names) >= maxNodesOfUnit {
		return 0, &compiler.DumpError{Line: line, What: fmt.Sprintf("more than %d functions: no compile makes so many", maxNodesOfUnit)}
	}
	if !bytes.Equal(s.lastFile, n.File) || s.lastFile == nil {
		s.lastFile, s.lastID = n.File, s.strings.add(n.File)
	}
	name := s.strings.add(n.Name)
	id := uint32(len(s.nodes))
	s.nodes = append(s.nodes, node{name: name, file: s.lastID, line: n.Line, order: n.Order})
	s.names = append(s.names, n.Name)
	if n.Order < maxNearOrder {
		s.byOrder.put(uint32(n.Order), id)
	} else {
		s.farOrder[n.Order] = id
	}
	if _, ok := s.byName.get(name); !ok {
		s.byName.put(name, id)
	}
	return id, nil
}

// nodeOf is the first node of a name in this unit; it is made if there is none.
func (s *scanner) nodeOf(name []byte) uint32 {
	str := s.strings.add(name)
	if id, ok := s.byName.get(str); ok {
		return id
	}
	id := uint32(len(s.nodes))
	s.nodes = append(s.nodes, node{name: str, order: noOrder})
	s.byName.put(str, id)
	return id
}

// object adds the symbols of an object, and who calls its clones. unknown is a
// clone that the dump does not tell of, which then is not this object's.
func (s *scanner) object(data []byte) (unknown string, err error) {
	o := &s.obj
	if err := o.read(data); err != nil {
		return "", err
	}
	fromDump := uint32(len(s.nodes))
	firstSym := uint32(len(s.syms))
	for i := range o.funcs {
		f := &o.funcs[i]
		f.node = noNode
		if f.cold {
			continue
		}
		f.node = s.nodeOf(f.name)
		if f.clone && f.node >= fromDump && unknown == "" {
			unknown = string(f.name)
		}
		if s.nodes[f.node].sym != 0 {
			continue // a second local symbol of that name: the first stands for both
		}
		s.nodes[f.node].sym = uint32(len(s.syms)) + 1
		s.syms = append(s.syms, symbol{
			value: f.value, size: f.size, node: f.node, flags: f.flags,
			section: s.strings.add(o.sectionName(f.section)), twin: uint32(len(s.syms)),
		})
	}
	s.twins()
	s.users()
	// Nodes of one name, as the master copy of a recursive function, share the symbol.
	for id := s.first; id < uint32(len(s.nodes)); id++ {
		n := &s.nodes[id]
		if n.sym == 0 {
			first, _ := s.byName.get(n.name)
			n.sym = s.nodes[first].sym
		}
	}
	for i := firstSym; i < uint32(len(s.syms)); i++ {
		if s.syms[i].node < fromDump {
			s.syms[i].flags |= flagInDump
		}
	}
	return unknown, nil
}

// twins links the symbols of one address; o.funcs is sorted by address.
func (s *scanner) twins() {
	funcs := s.obj.funcs
	for i := 0; i < len(funcs); {
		j := i + 1
		for j < len(funcs) && funcs[j].section == funcs[i].section && funcs[j].value == funcs[i].value {
			j++
		}
		first, last := noNode, noNode
		for _, f := range funcs[i:j] {
			if f.node == noNode {
				continue
			}
			sym := s.nodes[f.node].sym - 1
			if s.syms[sym].value != f.value || s.syms[sym].twin != sym {
				continue // another symbol stands for this name, or the name is there twice
			}
			if first == noNode {
				first = sym
			} else {
				s.syms[last].twin = sym
			}
			last = sym
			s.syms[sym].twin = first
		}
		i = j
	}
}

// users adds an edge from each clone to every function that refers to it.
func (s *scanner) users() {
	first := len(s.links)
	s.obj.cloneUsers(func(clone, user *function) {
		to := user.node
		if user.cold {
			id, ok := s.byName.get(s.strings.add(bytes.TrimSuffix(user.name, []byte(".cold"))))
			if !ok || s.nodes[id].sym == 0 {
				return // the cold part of nothing
			}
			to = id
		}
		if to != clone.node {
			s.links = append(s.links, link{clone.node, makeEdge(impact.Calls, to)})
		}
	})
	s.settle(first)
}
