// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"path"
	"strings"
)

// merge makes one index of what the workers read. Units come in the order of
// their paths, and numbers are given as things come: the result does not depend
// on who read what.
type merge struct {
	scanners []*scanner
	strings  *interner
	ids      [][]uint32 // worker's string → merged string + 1; 0: not met yet
	file     file
	links    []link
	nameIDs  []uint32 // of nodes
	root     string   // prefix of the source files' paths, with a slash; "" if not known
	paths    []string // of units
}

func newMerge(scanners []*scanner, root string) *merge {
	m := &merge{scanners: scanners, root: root, strings: newInterner()}
	for _, s := range scanners {
		m.ids = append(m.ids, make([]uint32, s.strings.len()))
	}
	return m
}

// str is the merged number of a worker's string.
func (m *merge) str(worker int, id uint32, file bool) uint32 {
	got := &m.ids[worker][id]
	if *got == 0 {
		s := m.scanners[worker].strings
		if b := s.bytes(id); file {
			*got = m.strings.add(m.sourceName(b)) + 1
		} else {
			*got = m.strings.addHashed(b, s.hashes[id]) + 1
		}
	}
	return *got - 1
}

// sourceName is a source file relative to the source root, without steps back.
func (m *merge) sourceName(b []byte) []byte {
	if bytes.Contains(b, []byte("./")) || bytes.Contains(b, []byte("//")) {
		b = []byte(path.Clean(string(b)))
	}
	return bytes.TrimPrefix(b, []byte(m.root))
}

// add appends a unit of a build.
func (m *merge) add(u *scanned, object string) {
	m.addAs(u, strings.TrimSuffix(u.path, ".o")+".c", object)
}

func (m *merge) addAs(u *scanned, source, object string) {
	s, f := m.scanners[u.worker], &m.file
	number := uint32(len(f.units))
	node0, sym0 := uint32(len(f.nodes)), uint32(len(f.syms))
	out := u.unit
	out.path, out.source, out.object = m.strings.add([]byte(u.path)), m.strings.add([]byte(source)), m.strings.add([]byte(object))
	out.node0, out.nodes = node0, u.nodes[1]-u.nodes[0]
	out.sym0, out.syms = sym0, u.syms[1]-u.syms[0]
	for _, n := range s.nodes[u.nodes[0]:u.nodes[1]] {
		n.name, n.unit = m.str(u.worker, n.name, false), number
		if n.order != noOrder {
			n.file = m.str(u.worker, n.file, true)
		}
		if n.sym != 0 {
			n.sym += sym0 - u.syms[0]
		}
		f.nodes = append(f.nodes, n)
	}
	for _, l := range s.links[u.links[0]:u.links[1]] {
		m.links = append(m.links, link{l.from - u.nodes[0] + node0, makeEdge(l.edge.kind(), l.edge.to()-u.nodes[0]+node0)})
	}
	for _, y := range s.syms[u.syms[0]:u.syms[1]] {
		y.node += node0 - u.nodes[0]
		y.twin += sym0 - u.syms[0]
		y.section = m.str(u.worker, y.section, false)
		f.syms = append(f.syms, y)
	}
	f.units = append(f.units, out)
	m.paths = append(m.paths, u.path)
}

// finish lays edges out by node and nodes by name, and replaces the numbers of
// strings by their places.
func (m *merge) finish() {
	f := &m.file
	f.outs = make([]uint32, len(f.nodes)+1)
	for _, l := range m.links {
		f.outs[l.from+1]++
	}
	for i := range f.nodes {
		f.outs[i+1] += f.outs[i]
	}
	f.edges = make([]edge, len(m.links))
	at := make([]uint32, len(f.nodes))
	for _, l := range m.links {
		f.edges[f.outs[l.from]+at[l.from]] = l.edge
		at[l.from]++
	}
	m.links = nil
	m.index()
	for i := range f.nodes {
		f.nodes[i].name, f.nodes[i].file = m.strings.starts[f.nodes[i].name], m.strings.starts[f.nodes[i].file]
	}
	for i := range f.syms {
		f.syms[i].section = m.strings.starts[f.syms[i].section]
	}
	for i := range f.units {
		u := &f.units[i]
		u.path, u.source, u.object = m.strings.starts[u.path], m.strings.starts[u.source], m.strings.starts[u.object]
	}
	f.strings = m.strings.text
}

// index lists the nodes of each name, and makes the hash table of the names.
func (m *merge) index() {
	f := &m.file
	number := make([]uint32, m.strings.len()) // string → name + 1
	var hashes []uint64
	var count []uint32
	for i := range f.nodes {
		s := f.nodes[i].name
		if number[s] == 0 {
			f.names = append(f.names, [2]uint32{m.strings.starts[s], 0})
			hashes = append(hashes, m.strings.hashes[s])
			count = append(count, 0)
			number[s] = uint32(len(f.names))
		}
		count[number[s]-1]++
	}
	var sum uint32
	for i := range f.names {
		f.names[i][1] = sum
		sum += count[i]
		count[i] = f.names[i][1]
	}
	f.names = append(f.names, [2]uint32{0, sum}) // where the last one ends
	f.byName = make([]uint32, sum)
	for i := range f.nodes {
		n := number[f.nodes[i].name] - 1
		f.byName[count[n]] = uint32(i)
		count[n]++
	}
	f.slots = slotsOf(hashes, 2*len(hashes))
}
