// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"fmt"
	"slices"
)

// maxHops bounds a chain of references from a function to the one that has its
// name. Compilers need two: an out-of-line function has an abstract origin,
// which specifies a declaration.
const maxHops = 16

// identity is what a function is called and where it is declared. It aliases
// the file.
type identity struct {
	name []byte
	root *root // of the unit that File counts in
	file uint64
	line uint64
}

// resolver turns offsets and addresses into names, for one unit.
type resolver struct {
	callees map[uint64]callee // by offset of the origin
	names   map[string]int32  // to recognise equal names
	hosts   map[hostKey]int32 // likewise
	found   map[int64]int32   // callee and host → index of the Inline
	byIndex []int32           // for each function of the unit its host or -1
	list    []hostKey         // hosts
	entries []int32           // for each copy its Inline
	out     []Inline
	units   map[*unitHeader]*root // other units that this one refers to
	files   map[*root]*fileTable
}

type callee struct {
	id   int32
	name string
	file string
	line int
}

type hostKey struct{ name, symbol string }

func (r *resolver) reset(functions, copies int) {
	if r.callees == nil {
		r.callees, r.names, r.hosts, r.found = map[uint64]callee{}, map[string]int32{}, map[hostKey]int32{}, map[int64]int32{}
		r.units, r.files = map[*unitHeader]*root{}, map[*root]*fileTable{}
	}
	clear(r.callees)
	clear(r.names)
	clear(r.hosts)
	clear(r.found)
	clear(r.units)
	clear(r.files)
	r.list, r.byIndex, r.entries, r.out = r.list[:0], r.byIndex[:0], r.entries[:0], r.out[:0]
	for range functions {
		r.byIndex = append(r.byIndex, -1)
	}
}

// inlines turns the copies of the unit into the distinct ones, with names.
func (s *scanner) inlines() ([]Inline, error) {
	r := &s.resolver
	r.reset(len(s.functions), len(s.copies))
	for i := range s.copies {
		c := &s.copies[i]
		callee, err := s.callee(c.origin)
		if err != nil {
			return nil, fmt.Errorf("entry at %#x: abstract origin: %w", c.off, err)
		}
		host, err := s.host(c.host)
		if err != nil {
			return nil, fmt.Errorf("entry at %#x: %w", s.functions[c.host].off, err)
		}
		parent := -1
		if c.parent >= 0 {
			parent = int(r.entries[c.parent])
		}
		key := int64(callee.id)<<32 | int64(host)
		e, seen := r.found[key]
		switch {
		case !seen:
			e = int32(len(r.out))
			r.found[key] = e
			h := r.list[host]
			r.out = append(r.out, Inline{
				Callee: callee.name, File: callee.file, Line: callee.line,
				Host: h.name, Symbol: h.symbol, Depth: int(c.depth), Parent: parent,
			})
		case int(c.depth) < r.out[e].Depth:
			r.out[e].Depth, r.out[e].Parent = int(c.depth), parent
		}
		r.entries = append(r.entries, e)
	}
	return slices.Clone(r.out), nil
}

// callee names the function at off in .debug_info.
func (s *scanner) callee(off uint64) (callee, error) {
	r := &s.resolver
	if c, ok := r.callees[off]; ok {
		return c, nil
	}
	id, err := s.identify(off)
	if err != nil {
		return callee{}, err
	}
	if id.name == nil {
		return callee{}, fmt.Errorf("the function at %#x has no name: %w", off, ErrDamaged)
	}
	c := callee{name: string(id.name), line: int(min(id.line, 1<<31-1))}
	var known bool
	if c.id, known = r.names[c.name]; !known {
		c.id = int32(len(r.names))
		r.names[c.name] = c.id
	}
	if id.root != nil {
		if c.file, err = s.fileName(id.root, id.file); err != nil {
			return c, fmt.Errorf("the function at %#x: DW_AT_decl_file: %w", off, err)
		}
	}
	r.callees[off] = c
	return c, nil
}

// host names a function of this unit, and the symbol at its entry; the result
// is an index into resolver.list.
func (s *scanner) host(index int32) (int32, error) {
	r := &s.resolver
	if h := r.byIndex[index]; h >= 0 {
		return h, nil
	}
	fn := &s.functions[index]
	id, err := s.identify(fn.off)
	if err != nil {
		return 0, err
	}
	key := hostKey{name: string(id.name)}
	pc, ok, err := s.file.entryPC(&s.root, &fn.values)
	if err != nil {
		return 0, err
	}
	if ok {
		key.symbol = s.file.symbols.at(pc, key.name)
	}
	if id.name == nil {
		if key.symbol == "" {
			return 0, fmt.Errorf("a function that holds copies has neither a name nor a symbol: %w", ErrDamaged)
		}
		key.name = key.symbol
	}
	h, known := r.hosts[key]
	if !known {
		h = int32(len(r.list))
		r.list = append(r.list, key)
		r.hosts[key] = h
	}
	r.byIndex[index] = h
	return h, nil
}

// identify follows DW_AT_abstract_origin and DW_AT_specification from the
// function at off. What is nearer counts, but a linkage name more than a name.
func (s *scanner) identify(off uint64) (identity, error) {
	var id identity
	linked := false
	start := off
	for range maxHops {
		v, r, err := s.functionAt(off)
		if err != nil {
			return id, err
		}
		for _, at := range []slot{slotLinkage, slotName} {
			if v.has(at) && !linked && (id.name == nil || at == slotLinkage) {
				name, err := s.file.text(r, textRef(v.v[at]))
				if err != nil {
					return id, fmt.Errorf("the function at %#x: %s: %w", off, at, err)
				}
				if len(name) > 0 {
					id.name, linked = name, at == slotLinkage
				}
			}
		}
		if v.has(slotFile) && id.root == nil {
			id.root, id.file, id.line = r, v.v[slotFile], v.v[slotLine]
		}
		switch {
		case v.has(slotOrigin):
			off = v.v[slotOrigin]
		case v.has(slotSpec):
			off = v.v[slotSpec]
		default:
			return id, nil
		}
	}
	return id, fmt.Errorf("more than %d references follow from the function at %#x: do they go in a circle? %w", maxHops, start, ErrDamaged)
}

// functionAt finds the function at off, in this unit or another.
func (s *scanner) functionAt(off uint64) (*values, *root, error) {
	if fn := s.local(off); fn != nil {
		return &fn.values, &s.root, nil
	}
	h := s.file.unitOf(off)
	if h == nil || h == s.root.head {
		return nil, nil, fmt.Errorf("there is no function at %#x: %w", off, ErrDamaged)
	}
	t, err := s.file.tables.get(h.table, &s.room)
	if err != nil {
		return nil, nil, err
	}
	r := s.resolver.units[h]
	if r == nil {
		r = &root{head: h}
		if err := s.file.readRoot(r, t); err != nil {
			return nil, nil, fmt.Errorf("unit at %#x: %w", h.off, err)
		}
		s.resolver.units[h] = r
	}
	pos, a, err := s.file.entry(h, t, off)
	if err != nil {
		return nil, nil, err
	}
	if a.kind != kindFunction {
		return nil, nil, fmt.Errorf("there is no function at %#x: %w", off, ErrDamaged)
	}
	v := new(values)
	if _, err := v.read(t, s.file.sections.info[:h.end], pos, &a, h.off); err != nil {
		return nil, nil, fmt.Errorf("the function at %#x: %w", off, err)
	}
	return v, r, nil
}
