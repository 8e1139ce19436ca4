// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"fmt"
	"sort"
)

// maxDepth bounds the nesting of entries; the kernel has some dozens.
const maxDepth = 1 << 14

// function is a DW_TAG_subprogram.
type function struct {
	off uint64
	values
}

// copied is a DW_TAG_inlined_subroutine.
type copied struct {
	off    uint64
	origin uint64 // the function that was copied
	host   int32  // into scanner.functions
	parent int32  // into scanner.copies; -1: copied into host itself
	depth  int32
}

// frame is what encloses an entry; -1: nothing does.
type frame struct{ host, copy int32 }

// scanner reads units one after the other. Its lists are for the unit that is
// being read, and are kept only to be filled again.
type scanner struct {
	file      *File
	root      root
	table     *table
	room      table // where a table is put together
	functions []function
	copies    []copied
	stack     []frame
	entries   int
	resolver  resolver
	// lineBudget is how many bytes of headers in .debug_line may still be read. A
	// few units share one; hostile ones can all name the largest.
	lineBudget int
}

func newScanner(f *File) *scanner {
	return &scanner{file: f, lineBudget: 64*len(f.sections.line) + 1<<20}
}

// unit reads one unit.
func (s *scanner) unit(h *unitHeader) (*Unit, error) {
	u, err := s.read(h)
	if err != nil {
		name := ""
		if text, err := s.file.text(&s.root, textRef(s.root.v[slotName])); err == nil && s.root.head == h && s.root.has(slotName) {
			name = fmt.Sprintf(" (%s)", text)
		}
		return nil, fmt.Errorf("unit at %#x%s: %w", h.off, name, err)
	}
	return u, nil
}

func (s *scanner) read(h *unitHeader) (*Unit, error) {
	s.root = root{head: h}
	s.functions, s.copies, s.stack, s.entries = s.functions[:0], s.copies[:0], s.stack[:0], 0
	var err error
	if s.table, err = s.file.tables.get(h.table, &s.room); err != nil {
		return nil, err
	}
	if h.first == h.end {
		return &Unit{Offset: h.off}, nil // ld leaves such a unit of a discarded object
	}
	if err := s.file.readRoot(&s.root, s.table); err != nil {
		return nil, err
	}
	if err := s.walk(h); err != nil {
		return nil, err
	}
	u := &Unit{Offset: h.off, Entries: s.entries, Functions: len(s.functions), Copies: len(s.copies)}
	for _, t := range []struct {
		to   *string
		slot slot
	}{{&u.Name, slotName}, {&u.CompDir, slotCompDir}} {
		if s.root.has(t.slot) {
			text, err := s.file.text(&s.root, textRef(s.root.v[t.slot]))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.slot, err)
			}
			*t.to = string(text)
		}
	}
	if u.Inlines, err = s.inlines(); err != nil {
		return nil, err
	}
	return u, nil
}

// readRoot reads the first entry of a unit. The rest of the unit may need it: a
// string's index counts from a base that is said here.
func (f *File) readRoot(r *root, t *table) error {
	pos, a, err := f.entry(r.head, t, r.head.first)
	if err != nil {
		return err
	}
	if a.kind != kindUnit {
		return fmt.Errorf("the first entry at %#x is none of a unit: %w", r.head.first, ErrDamaged)
	}
	if _, err = r.values.read(t, f.sections.info[:r.head.end], pos, &a, r.head.off); err != nil {
		return fmt.Errorf("entry at %#x: %w", r.head.first, err)
	}
	if r.has(slotSplit) {
		name, err := f.text(r, textRef(r.v[slotSplit]))
		if err != nil {
			return err
		}
		return fmt.Errorf("its debug information is split off into %.200q: compile without -gsplit-dwarf: %w", name, ErrUnsupported)
	}
	return nil
}

// entry finds the abbreviation of the entry at off, and where its attributes
// begin.
func (f *File) entry(h *unitHeader, t *table, off uint64) (int, abbrev, error) {
	code, pos := uleb(f.sections.info[:h.end], int(off))
	a, ok := t.abbrev(code)
	if pos < 0 || !ok {
		return 0, a, noAbbrev(off, code, t)
	}
	return pos, a, nil
}

func noAbbrev(off, code uint64, t *table) error {
	return fmt.Errorf("entry at %#x: abbreviation %d is not in the table at %#x in .debug_abbrev: %w", off, code, t.off, ErrDamaged)
}

// read decodes the attributes of an entry that are wanted and returns the
// position behind all of them.
func (v *values) read(t *table, d []byte, pos int, a *abbrev, base uint64) (int, error) {
	if a.skip >= 0 {
		return pos + int(a.skip), nil
	}
	for i := a.first; i < a.last; i++ {
		st := &t.steps[i]
		pos += int(st.bytes)
		if st.slot != slotNone {
			var err error
			if pos, err = v.decode(t.layout, d, pos, st, base); err != nil {
				return 0, err
			}
		} else if st.form != 0 {
			if pos = t.layout.skip(d, pos, st.form); pos < 0 {
				return 0, fmt.Errorf("an attribute does not end in the unit: %w", ErrDamaged)
			}
		}
	}
	return pos, nil
}

// walk goes over all entries of a unit and collects functions and copies.
func (s *scanner) walk(h *unitHeader) error {
	d, t := s.file.sections.info[:h.end], s.table
	cur := frame{-1, -1}
	pos := int(h.first)
	for pos < len(d) {
		off := pos
		code := uint64(d[pos])
		pos++
		if code >= 0x80 {
			if code, pos = uleb(d, off); pos < 0 {
				return fmt.Errorf("entry at %#x: its abbreviation does not end in the unit: %w", off, ErrDamaged)
			}
		}
		if code == 0 { // the last child was before; behind the unit's own entry it is padding
			if n := len(s.stack); n > 0 {
				cur, s.stack = s.stack[n-1], s.stack[:n-1]
			}
			continue
		}
		s.entries++
		var a *abbrev
		if code-1 < uint64(len(t.dense)) {
			a = &t.dense[code-1]
		} else {
			other, ok := t.sparse[code]
			if !ok {
				return noAbbrev(uint64(off), code, t)
			}
			a = &other
		}
		inner := cur
		switch {
		case a.kind == kindFunction || a.kind == kindCopy:
			var err error
			if pos, inner, err = s.wanted(h, uint64(off), pos, a, cur); err != nil {
				return fmt.Errorf("entry at %#x: %w", off, err)
			}
		case a.skip >= 0:
			pos += int(a.skip)
		default:
			if pos = t.pass(d, pos, a); pos < 0 {
				return fmt.Errorf("entry at %#x: it does not end in the unit: %w", off, ErrDamaged)
			}
		}
		if pos > len(d) {
			return fmt.Errorf("entry at %#x: it does not end in the unit: %w", off, ErrDamaged)
		}
		if a.children {
			if len(s.stack) == maxDepth {
				return fmt.Errorf("entry at %#x: nested more than %d deep: %w", off, maxDepth, ErrDamaged)
			}
			s.stack = append(s.stack, cur)
			cur = inner
		}
	}
	if len(s.stack) > 0 {
		return fmt.Errorf("it ends at %#x, %d entries deep: %w", h.end, len(s.stack), ErrDamaged)
	}
	return nil
}

// pass returns the position behind all attributes of an entry with steps; -1 if
// that is not in d.
func (t *table) pass(d []byte, pos int, a *abbrev) int {
	for _, st := range t.steps[a.first:a.last] {
		pos += int(st.bytes)
		switch st.form {
		case 0:
		case formExprloc: // most are short
			if uint(pos) < uint(len(d)) && d[pos] < 0x80 {
				pos += 1 + int(d[pos])
				continue
			}
			fallthrough
		default:
			if size := t.layout.size(st.form); size >= 0 { // decoded elsewhere
				pos += size
			} else if pos = t.layout.skip(d, pos, st.form); pos < 0 {
				return -1
			}
		}
	}
	return pos
}

// wanted reads a function or a copy, and says what its children lie in.
func (s *scanner) wanted(h *unitHeader, off uint64, pos int, a *abbrev, cur frame) (int, frame, error) {
	d := s.file.sections.info[:h.end]
	if a.kind == kindFunction {
		s.functions = append(s.functions, function{off: off})
		fn := &s.functions[len(s.functions)-1]
		pos, err := fn.read(s.table, d, pos, a, h.off)
		return pos, frame{int32(len(s.functions) - 1), -1}, err
	}
	var v values
	pos, err := v.read(s.table, d, pos, a, h.off)
	switch {
	case err != nil:
		return 0, cur, err
	case !v.has(slotOrigin):
		return 0, cur, fmt.Errorf("an inlined copy without DW_AT_abstract_origin: %w", ErrDamaged)
	case cur.host < 0:
		return 0, cur, fmt.Errorf("an inlined copy that is in no function: %w", ErrDamaged)
	}
	c := copied{off: off, origin: v.v[slotOrigin], host: cur.host, parent: cur.copy, depth: 1}
	if c.parent >= 0 {
		c.depth = s.copies[c.parent].depth + 1
	}
	s.copies = append(s.copies, c)
	return pos, frame{cur.host, int32(len(s.copies) - 1)}, nil
}

// local is the function of this unit at an offset, or nil.
func (s *scanner) local(off uint64) *function {
	i := sort.Search(len(s.functions), func(i int) bool { return s.functions[i].off >= off })
	if i == len(s.functions) || s.functions[i].off != off {
		return nil
	}
	return &s.functions[i]
}
