// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"fmt"
	"slices"
	"sync"
)

// kind is what we make of a tag.
type kind uint8

const (
	kindOther kind = iota
	kindUnit
	kindFunction // DW_TAG_subprogram
	kindCopy     // DW_TAG_inlined_subroutine
)

// kindOf is the kind of a tag (DWARF 5, 7.5.3).
func kindOf(tag uint64) kind {
	switch tag {
	case 0x11, 0x3c, 0x41, 0x4a: // DW_TAG_compile_unit, _partial_unit, _type_unit, _skeleton_unit
		return kindUnit
	case 0x2e:
		return kindFunction
	case 0x1d:
		return kindCopy
	}
	return kindOther
}

// wanted are the attributes that are decoded, by kind of entry (DWARF 5,
// 7.5.4; those from 0x2000 on are MIPS's and GNU's, binutils include/dwarf2.def).
var wanted = [...]map[uint64]slot{
	kindOther: nil,
	kindUnit: {
		0x03: slotName, 0x1b: slotCompDir, 0x10: slotLineTable, 0x11: slotLowPC,
		0x72: slotStrOffsetsBase, 0x73: slotAddrBase, 0x74: slotRangesBase, 0x76: slotSplit,
		0x2130: slotSplit, 0x2133: slotAddrBase,
	},
	kindFunction: {
		0x03: slotName, 0x6e: slotLinkage, 0x2007: slotLinkage, 0x31: slotOrigin, 0x47: slotSpec,
		0x3a: slotFile, 0x3b: slotLine, 0x11: slotLowPC, 0x55: slotRanges,
	},
	kindCopy: {0x31: slotOrigin},
}

// abbrev is an abbreviation: the shape of an entry.
type abbrev struct {
	skip        int32  // bytes of all attributes; -1: run the steps
	first, last uint32 // steps in table.steps
	kind        kind
	children    bool
}

// step passes over some bytes and then decodes one value (slot), or passes over
// it since its size depends on it (no slot).
type step struct {
	bytes uint32
	form  form // 0: nothing more
	slot  slot
	value int64 // of DW_FORM_implicit_const
}

// table is the abbreviations that one or more units use.
type table struct {
	layout layout
	dense  []abbrev // codes 1, 2, 3, …, as all compilers give them
	sparse map[uint64]abbrev
	steps  []step
	off    uint64 // in .debug_abbrev, for messages
}

func (t *table) abbrev(code uint64) (abbrev, bool) {
	if code-1 < uint64(len(t.dense)) {
		return t.dense[code-1], true
	}
	a, ok := t.sparse[code]
	return a, ok
}

// tableCache holds the tables that were read. Units made from one object file
// share one table.
type tableCache struct {
	mu     sync.Mutex
	data   []byte // .debug_abbrev
	tables map[tableKey]*table
	budget int // bytes that may still be read
}

type tableKey struct {
	off    uint64
	layout layout
}

func (c *tableCache) init(data []byte) {
	c.data, c.tables = data, map[tableKey]*table{}
	// Tables do not overlap, but hostile units can claim so, one table a byte.
	c.budget = 4*len(data) + 1<<16
}

// get returns a table, which it reads into room first if nobody has before.
func (c *tableCache) get(key tableKey, room *table) (*table, error) {
	c.mu.Lock()
	t := c.tables[key]
	c.mu.Unlock()
	if t != nil {
		return t, nil
	}
	size, err := room.read(c.data, key)
	if err != nil {
		return nil, fmt.Errorf("abbreviations at %#x in .debug_abbrev: %w", key.off, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tables[key]; t != nil { // another scanner was faster
		return t, nil
	}
	if c.budget -= size; c.budget < 0 {
		return nil, fmt.Errorf("abbreviations at %#x in .debug_abbrev: the tables overlap many times: %w", key.off, ErrDamaged)
	}
	t = &table{layout: room.layout, off: room.off, dense: slices.Clone(room.dense), steps: slices.Clone(room.steps), sparse: room.sparse}
	c.tables[key] = t
	return t, nil
}

// read reads one table and says how many bytes it has (DWARF 5, 7.5.3).
func (t *table) read(data []byte, key tableKey) (int, error) {
	*t = table{layout: key.layout, off: key.off, dense: t.dense[:0], steps: t.steps[:0]}
	if key.off >= uint64(len(data)) {
		return 0, fmt.Errorf("the section has %d bytes: %w", len(data), ErrDamaged)
	}
	pos := int(key.off)
	for {
		code, next := uleb(data, pos)
		if next < 0 {
			return 0, fmt.Errorf("the table has no end: %w", ErrDamaged)
		}
		if code == 0 {
			return next - int(key.off), nil
		}
		tag, next := uleb(data, next)
		if next < 0 || next >= len(data) || data[next] > 1 {
			return 0, fmt.Errorf("abbreviation %d at %#x is cut off or does not say whether it has children: %w", code, pos, ErrDamaged)
		}
		a := abbrev{kind: kindOf(tag), children: data[next] == 1}
		after, err := t.compile(&a, data, next+1)
		if err != nil {
			return 0, fmt.Errorf("abbreviation %d at %#x: %w", code, pos, err)
		}
		pos = after
		if _, twice := t.abbrev(code); twice {
			return 0, fmt.Errorf("abbreviation %d is there twice: %w", code, ErrDamaged)
		}
		if code == uint64(len(t.dense))+1 {
			t.dense = append(t.dense, a)
		} else {
			if t.sparse == nil {
				t.sparse = map[uint64]abbrev{}
			}
			t.sparse[code] = a
		}
	}
}

// compile turns the attributes at pos into steps.
func (t *table) compile(a *abbrev, data []byte, pos int) (int, error) {
	a.first = uint32(len(t.steps))
	bytes, seen := 0, uint32(0)
	for {
		attr, next := uleb(data, pos)
		if next < 0 {
			return pos, fmt.Errorf("it has no end: %w", ErrDamaged)
		}
		f, next := uleb(data, next)
		if next < 0 {
			return pos, fmt.Errorf("it has no end: %w", ErrDamaged)
		}
		pos = next
		if attr == 0 && f == 0 {
			break
		}
		size := -2
		if f <= 0xffff {
			size = t.layout.size(form(f))
		}
		if size == -2 {
			return pos, fmt.Errorf("attribute %#x has form %#x, which is not known: %w", attr, f, ErrUnsupported)
		}
		s := step{bytes: uint32(bytes), form: form(f), slot: wanted[a.kind][attr]}
		if seen>>s.slot&1 != 0 { // the first of two counts
			s.slot = slotNone
		}
		if form(f) == formImplicitConst {
			if s.value, pos = sleb(data, pos); pos < 0 {
				return next, fmt.Errorf("it has no end: %w", ErrDamaged)
			}
		}
		if s.slot == slotNone && size >= 0 {
			if bytes += size; bytes > 1<<24 {
				return pos, fmt.Errorf("its attributes have more than %d bytes: %w", 1<<24, ErrDamaged)
			}
			continue
		}
		if s.slot != slotNone {
			seen |= 1 << s.slot
		}
		t.steps = append(t.steps, s)
		bytes = 0
	}
	a.skip = int32(bytes)
	if len(t.steps) > int(a.first) {
		if a.skip = -1; bytes > 0 {
			t.steps = append(t.steps, step{bytes: uint32(bytes)})
		}
	}
	a.last = uint32(len(t.steps))
	return pos, nil
}

// sleb reads a signed LEB128 number; next is -1 if it is not terminated in d.
func sleb(d []byte, pos int) (v int64, next int) {
	for shift := uint(0); uint(pos) < uint(len(d)); {
		b := d[pos]
		pos++
		if shift < 64 {
			v |= int64(b&0x7f) << shift
		}
		shift += 7
		if b < 0x80 {
			if shift < 64 && b&0x40 != 0 {
				v |= -1 << shift
			}
			return v, pos
		}
	}
	return 0, -1
}
