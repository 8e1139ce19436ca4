// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// bin joins bytes, strings (as they are) and numbers of 2, 4 and 8 bytes.
func bin(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			out = append(out, byte(p))
		case form:
			out = append(out, byte(p))
		case string:
			out = append(out, p...)
		case []byte:
			out = append(out, p...)
		default:
			out, _ = binary.Append(out, le, p)
		}
	}
	return out
}

// unit5 is a unit of DWARF 5 with 32-bit offsets: a header of 12 bytes, then
// entries.
func unit5(abbrev uint32, entries ...any) []byte {
	body := bin(uint16(5), 1, 8, abbrev, bin(entries...))
	return bin(uint32(len(body)), body)
}

// shapes are the abbreviations of the hand-made units: 1 unit; 2 function with
// a name, with children; 3 function with an origin (ref4); 4 copy of an origin
// (ref4); 5 function with an origin anywhere (ref_addr), with children; 6
// function without anything, with children; 7 copy without an origin; 8 a
// struct with children; 9 an expression; 10 any form (DW_FORM_indirect) for
// the name of a function; 11 function with a name by index; 12 function with a
// name in .debug_str; 13 function with a range list.
var shapes = bin(
	1, 0x11, 1, 0, 0,
	2, 0x2e, 1, 0x03, formString, 0, 0,
	3, 0x2e, 0, 0x31, formRef4, 0, 0,
	4, 0x1d, 0, 0x31, formRef4, 0, 0,
	5, 0x2e, 1, 0x31, formRefAddr, 0, 0,
	6, 0x2e, 1, 0, 0,
	7, 0x1d, 0, 0, 0,
	8, 0x13, 1, 0, 0,
	9, 0x34, 0, 0x02, formExprloc, 0, 0,
	10, 0x2e, 1, 0x03, formIndirect, 0, 0,
	11, 0x2e, 1, 0x03, formStrx1, 0, 0,
	12, 0x2e, 1, 0x03, formStrp, 0, 0,
	13, 0x2e, 1, 0x03, formString, 0x55, formSecOffset, 0, 0,
	0)

const (
	firstEntry = 12 // in a unit of unit5
	inside     = firstEntry + 1
)

func TestHostile(t *testing.T) {
	function := bin(2, "f\x00") // its children follow
	// A table of a thousand abbreviations, and units that begin it anywhere.
	var table []byte
	var overlapping [][]byte
	for i := range 1000 {
		overlapping = append(overlapping, unit5(uint32(len(table)), 0x80|i&0x7f, i>>7+8, make([]byte, 20)))
		table = bin(table, 0x80|i&0x7f, i>>7+8, 0x11, 0, bytes.Repeat(bin(0x20, formUdata), 20), 0, 0)
	}
	table = bin(table, 0)
	for _, c := range []struct {
		name         string
		info, abbrev []byte // shapes if nil
		is           error
		say          string
	}{
		{"origins in a circle", unit5(0, 1, 3, uint32(inside+5), 3, uint32(inside), 6, 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "unit at 0x0: entry at 0x18: abstract origin: more than 16 references follow from the function at 0xd: do they go in a circle?"},
		{"its own origin", unit5(0, 1, 5, uint32(inside), 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "do they go in a circle?"},
		{"an origin in no unit", unit5(0, 1, function, 4, uint32(1<<20), 0, 0), nil,
			ErrDamaged, "entry at 0x10: abstract origin: there is no function at 0x100000"},
		{"an origin inside an entry", unit5(0, 1, function, 4, uint32(inside+1), 0, 0), nil,
			ErrDamaged, "there is no function at 0xe"},
		{"an origin in the header of another unit", bin(unit5(0, 1, 0), unit5(0, 1, function, 5, uint32(4), 4, uint32(inside+3), 0, 0, 0)), nil,
			ErrDamaged, "unit at 0xe: entry at 0x23: abstract origin: there is no function at 0x4"},
		{"an origin in another unit that is no function", bin(unit5(0, 1, 0), unit5(0, 1, function, 5, uint32(12), 4, uint32(inside+3), 0, 0, 0)), nil,
			ErrDamaged, "there is no function at 0xc"},
		{"a copy in no function", unit5(0, 1, 4, uint32(inside), 0), nil,
			ErrDamaged, "unit at 0x0: entry at 0xd: an inlined copy that is in no function"},
		{"a copy of nothing", unit5(0, 1, function, 7, 0, 0), nil,
			ErrDamaged, "entry at 0x10: an inlined copy without DW_AT_abstract_origin"},
		{"a host without a name", unit5(0, 1, function, 0, 6, 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "entry at 0x11: a function that holds copies has neither a name nor a symbol"},
		{"a host with an empty name", unit5(0, 1, function, 0, 2, "\x00", 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "has neither a name nor a symbol"},
		{"a callee without a name", unit5(0, 1, 6, 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "the function at 0xd has no name"},
		{"a length beyond the section", bin(uint32(1000), uint16(5)), nil,
			ErrDamaged, "unit at 0x0 in .debug_info: its 1000 bytes do not fit the section of 6 bytes"},
		{"a length of 2^63", bin(uint32(0xffffffff), uint64(1<<63), uint16(5)), nil,
			ErrDamaged, "do not fit the section"},
		{"a reserved length", bin(uint32(0xfffffff3), "abcdefgh"), nil,
			ErrDamaged, "its length 0xfffffff3 is reserved"},
		{"a length of 0", bin(unit5(0, 1, 0), uint32(0)), nil,
			ErrDamaged, "unit at 0xe in .debug_info: its header does not fit"},
		{"DWARF 6", bin(uint32(20), uint16(6), make([]byte, 18)), nil,
			ErrUnsupported, "DWARF version 6, known are 2 to 5"},
		{"a .dwo unit", bin(uint32(20), uint16(5), 5, 8, uint32(0), make([]byte, 12)), nil,
			ErrUnsupported, "unit type 5: a .dwo file"},
		{"addresses of 4 bytes", bin(uint32(20), uint16(5), 1, 4, uint32(0), make([]byte, 12)), nil,
			ErrUnsupported, "addresses of 4 bytes"},
		{"an abbreviation that is not there", unit5(0, 1, 99, 0), nil,
			ErrDamaged, "unit at 0x0: entry at 0xd: abbreviation 99 is not in the table at 0x0"},
		{"a first entry that is none of a unit", unit5(0, 8, 0), nil,
			ErrDamaged, "the first entry at 0xc is none of a unit"},
		{"a number without an end", unit5(0, 1, 0x80, 0x80), nil,
			ErrDamaged, "entry at 0xd: its abbreviation does not end in the unit"},
		{"an expression of 2^63 bytes", unit5(0, 1, 9, bytes.Repeat(bin(0xff), 9), 0x00, 0), nil,
			ErrDamaged, "entry at 0xd: it does not end in the unit"},
		{"an expression past the unit", bin(unit5(0, 1, 9, 3, "a"), unit5(0, 1, 0)), nil,
			ErrDamaged, "entry at 0xd: it does not end in the unit"},
		{"a name past the unit", bin(unit5(0, 1, 2, "a"), unit5(0, 1, 0)), nil,
			ErrDamaged, "entry at 0xd: DW_AT_name does not end in the unit"},
		{"no end of children", unit5(0, 1, function), nil,
			ErrDamaged, "it ends at 0x10, 2 entries deep"},
		{"nested too deep", unit5(0, 1, bytes.Repeat(bin(8), 1<<15)), nil,
			ErrDamaged, "nested more than 16384 deep"},
		{"a form that is itself indirect", unit5(0, 1, 10, formIndirect, 0, 0), nil,
			ErrDamaged, "DW_FORM_indirect names form 0x16"},
		{"a name that is a number", unit5(0, 1, 10, formData4, uint32(1), 0, 0), nil,
			ErrDamaged, "DW_AT_name has form 0x6, which it cannot have"},
		{"a name by index without a base", unit5(0, 1, 11, 1, 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "no DW_AT_str_offsets_base"},
		{"a name beyond .debug_str", unit5(0, 1, 12, uint32(77), 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "DW_AT_name: no string at 0x4d in .debug_str of 0 bytes"},
		{"a range list that is not there", unit5(0, 1, 13, "f\x00", uint32(9), 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "range list at 0x9 is not in .debug_rnglists of 0 bytes"},
		{"a table that is not there", unit5(1<<20, 1, 0), nil,
			ErrDamaged, "abbreviations at 0x100000 in .debug_abbrev"},
		{"a table without an end", unit5(0, 1, 0), shapes[:len(shapes)-1],
			ErrDamaged, "the table has no end"},
		{"an abbreviation without an end", unit5(0, 1, 0), shapes[:4],
			ErrDamaged, "abbreviation 1 at 0x0: it has no end"},
		{"an abbreviation twice", unit5(0, 1, 0), bin(1, 0x11, 1, 0, 0, 1, 0x11, 1, 0, 0, 0),
			ErrDamaged, "abbreviation 1 is there twice"},
		{"children neither yes nor no", unit5(0, 1, 0), bin(1, 0x11, 2, 0, 0, 0),
			ErrDamaged, "does not say whether it has children"},
		{"a form that is not known", unit5(0, 1, 0), bin(1, 0x11, 1, 0x03, 0x7f, 0, 0, 0),
			ErrUnsupported, "attribute 0x3 has form 0x7f, which is not known"},
		{"a name in dwz's file", unit5(0, 1, uint32(0), 0), bin(1, 0x11, 1, 0x03, formStrpSup, 0, 0, 0),
			ErrUnsupported, "another file that dwz made"},
		{"attributes without measure", unit5(0, 1, 0), bin(1, 0x11, 1, bytes.Repeat(bin(0x20, formData16), 1<<21), 0, 0, 0),
			ErrDamaged, "more than 16777216 bytes"},
		{"a name without measure", unit5(0, 1, 2, bytes.Repeat(bin("x"), maxText+1), "\x00", 4, uint32(inside), 0, 0), nil,
			ErrDamaged, "or one longer than 1024"},
		{"nothing", nil, nil,
			ErrNoDebugInfo, ".debug_info is empty"},
		{"tables that overlap", bytes.Join(overlapping, nil), table,
			ErrDamaged, "the tables overlap many times"},
	} {
		if c.abbrev == nil {
			c.abbrev = shapes
		}
		f, err := newFile(sections{info: c.info, abbrev: c.abbrev}, symbols{})
		if err == nil {
			_, err = f.Units(t.Context())
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: error is %v, want %q", c.name, err, c.say)
		}
	}
}

// TestHostileTables: what the other sections can claim.
func TestHostileTables(t *testing.T) {
	if _, _, err := firstRange(bytes.Repeat(bin(^uint64(0), uint64(7)), 1000), 0, 0); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "more than 64 bases") {
		t.Errorf(".debug_ranges of bases only: %v", err)
	}
	if pc, ok, err := firstRange(bin(^uint64(0), uint64(0x100), uint64(8), uint64(9)), 0, 0); pc != 0x108 || !ok || err != nil {
		t.Errorf("range after a base: %#x %v %v", pc, ok, err)
	}
	f := &File{sections: sections{rangeLists: bin(bytes.Repeat(bin(5, uint64(7)), 1000), 0)}}
	if _, _, err := f.firstRange5(&root{}, 0, 0); !errors.Is(err, ErrDamaged) {
		t.Errorf(".debug_rnglists of bases only: %v", err)
	}
	f.sections.rangeLists = bin(0, 5, uint64(0x100), 4, 8, 9, 0)
	if pc, ok, err := f.firstRange5(&root{}, 1, 0); pc != 0x108 || !ok || err != nil {
		t.Errorf("range after a base: %#x %v %v", pc, ok, err)
	}
	// A line table of one directory and no files, but 2^32 promised.
	head := bin(uint16(5), 8, 0, uint32(20), 1, 1, 1, 1, 1, 1, 1, 1, 0x08, 1, "/\x00", 1, 1, 0x08)
	for what, tail := range map[string][]byte{
		"files promised":        bin(0xff, 0xff, 0xff, 0xff, 0x0f),
		"files of no bytes":     bin(1),
		"a file without an end": bin(1, "abc"),
	} {
		if table, _, err := readFileTable(bin(uint32(len(head)+len(tail)), head, tail), 0); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v %v", what, table, err)
		}
	}
	table, size, err := readFileTable(bin(uint32(len(head)+5), head, 1, "abc\x00"), 0)
	if err != nil || len(table.files) != 1 || size != 4+len(head)+5 {
		t.Errorf("a table of one file: %+v, %d bytes, %v", table, size, err)
	}
}
