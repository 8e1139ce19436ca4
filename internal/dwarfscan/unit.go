// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"fmt"
	"sort"
)

// Types of unit (DWARF 5, 7.5.1).
const (
	unitCompile  = 1
	unitType     = 2
	unitPartial  = 3
	unitSkeleton = 4
)

// unitHeader is where a unit is and how it is stored (DWARF 5, 7.5.1; DWARF 4,
// 7.5.1.1).
type unitHeader struct {
	off, first, end uint64 // of the header, the first entry, what follows the unit
	version         uint16
	table           tableKey
}

// readUnitHeaders hops from header to header.
func readUnitHeaders(info []byte) ([]unitHeader, error) {
	var units []unitHeader
	for off := uint64(0); off < uint64(len(info)); {
		u, err := readUnitHeader(info, off)
		if err != nil {
			return nil, fmt.Errorf("unit at %#x in .debug_info: %w", off, err)
		}
		units = append(units, u)
		off = u.end
	}
	return units, nil
}

func readUnitHeader(info []byte, off uint64) (unitHeader, error) {
	u := unitHeader{off: off}
	pos, ok := int(off), true
	next := func(n int) uint64 {
		v, fits := fixed(info, pos, n)
		ok = ok && fits
		pos += n
		return v
	}
	length := next(4)
	switch {
	case length == 0xffffffff:
		u.table.layout.wide = true
		length = next(8)
	case length >= 0xfffffff0:
		return u, fmt.Errorf("its length %#x is reserved: %w", length, ErrDamaged)
	}
	if !ok || length > uint64(len(info)-pos) {
		return u, fmt.Errorf("its %d bytes do not fit the section of %d bytes: is the file truncated? %w", length, len(info), ErrDamaged)
	}
	u.end = uint64(pos) + length
	info = info[:u.end]
	u.version = uint16(next(2))
	if ok && (u.version < 2 || u.version > 5) {
		return u, fmt.Errorf("DWARF version %d, known are 2 to 5: compile with -gdwarf-5: %w", u.version, ErrUnsupported)
	}
	u.table.layout.old = u.version == 2
	kind, size := uint64(unitCompile), uint64(0)
	if u.version >= 5 {
		kind, size = next(1), next(1)
		u.table.off = next(u.table.layout.offset())
	} else {
		u.table.off = next(u.table.layout.offset())
		size = next(1)
	}
	switch kind {
	case unitCompile, unitPartial:
	case unitSkeleton:
		next(8) // the id of the .dwo file, which the first entry names
	case unitType:
		next(8)
		next(u.table.layout.offset())
	default:
		return u, fmt.Errorf("unit type %d: a .dwo file, or newer than this program: name the file that was linked, compiled without -gsplit-dwarf: %w", kind, ErrUnsupported)
	}
	if !ok {
		return u, fmt.Errorf("its header does not fit its %d bytes: %w", length, ErrDamaged)
	}
	if size != addrSize {
		return u, fmt.Errorf("addresses of %d bytes in a 64-bit file: %w", size, ErrUnsupported)
	}
	u.first = uint64(pos)
	return u, nil
}

// unitOf is the unit that holds an offset in .debug_info, or nil.
func (f *File) unitOf(off uint64) *unitHeader {
	i := sort.Search(len(f.units), func(i int) bool { return f.units[i].end > off })
	if i == len(f.units) || off < f.units[i].first {
		return nil
	}
	return &f.units[i]
}

// root is what the first entry of a unit says about all of it.
type root struct {
	values
	head *unitHeader
}

// text is the string that a reference to one stands for. It aliases the file.
func (f *File) text(r *root, ref textRef) ([]byte, error) {
	table, name := f.sections.str, ".debug_str"
	off := uint64(ref &^ textKind)
	switch ref & textKind {
	case textInfo:
		table, name = f.sections.info[:r.head.end], ".debug_info"
	case textLine:
		table, name = f.sections.lineStr, ".debug_line_str"
	case textIndex:
		base := r.v[slotStrOffsetsBase]
		if !r.has(slotStrOffsetsBase) && r.head.version >= 5 {
			return nil, fmt.Errorf("a string has index %d, but the unit no DW_AT_str_offsets_base: %w", off, ErrDamaged)
		}
		index := off
		var ok bool
		if off, ok = indexed(f.sections.strOffsets, base, index, r.head.table.layout.offset()); !ok {
			return nil, fmt.Errorf("string %d is not in .debug_str_offsets: %w", index, ErrDamaged)
		}
	}
	s, ok := cstring(table, off)
	if !ok {
		return nil, fmt.Errorf("no string at %#x in %s of %d bytes, or one longer than %d: %w", off, name, len(table), maxText, ErrDamaged)
	}
	return s, nil
}

// indexed is entry i of a table of numbers of size bytes that begins at base.
func indexed(table []byte, base, i uint64, size int) (uint64, bool) {
	if base > uint64(len(table)) || i >= (uint64(len(table))-base)/uint64(size) {
		return 0, false
	}
	return fixed(table, int(base+i*uint64(size)), size)
}

// address is an address out of .debug_addr.
func (f *File) address(r *root, index uint64) (uint64, error) {
	if !r.has(slotAddrBase) {
		return 0, fmt.Errorf("an address has index %d, but the unit no DW_AT_addr_base: %w", index, ErrDamaged)
	}
	addr, ok := indexed(f.sections.addr, r.v[slotAddrBase], index, addrSize)
	if !ok {
		return 0, fmt.Errorf("address %d is not in .debug_addr: %w", index, ErrDamaged)
	}
	return addr, nil
}

// lowPC is the DW_AT_low_pc among v.
func (f *File) lowPC(r *root, v *values) (uint64, error) {
	if v.indexed>>slotLowPC&1 == 0 {
		return v.v[slotLowPC], nil
	}
	return f.address(r, v.v[slotLowPC])
}

// entryPC is where the code of a function begins: DW_AT_low_pc, else the first
// of its ranges; false if it has no code.
func (f *File) entryPC(r *root, v *values) (uint64, bool, error) {
	if v.has(slotLowPC) {
		addr, err := f.lowPC(r, v)
		return addr, err == nil, err
	}
	if !v.has(slotRanges) {
		return 0, false, nil
	}
	var base uint64
	if r.has(slotLowPC) {
		var err error
		if base, err = f.lowPC(r, &r.values); err != nil {
			return 0, false, err
		}
	}
	if r.head.version < 5 {
		return firstRange(f.sections.ranges, v.v[slotRanges], base)
	}
	off := v.v[slotRanges]
	if v.indexed>>slotRanges&1 != 0 {
		index := off
		var ok bool
		if off, ok = indexed(f.sections.rangeLists, r.v[slotRangesBase], index, r.head.table.layout.offset()); !ok || !r.has(slotRangesBase) {
			return 0, false, fmt.Errorf("range list %d is not in .debug_rnglists: %w", index, ErrDamaged)
		}
		off += r.v[slotRangesBase]
	}
	return f.firstRange5(r, off, base)
}

// maxBases bounds the entries before the first range that only set a base.
const maxBases = 64

// firstRange reads .debug_ranges (DWARF 4, 2.17.3).
func firstRange(data []byte, off, base uint64) (uint64, bool, error) {
	for range maxBases {
		if off > uint64(len(data)) || uint64(len(data))-off < 2*addrSize {
			return 0, false, fmt.Errorf("range list at %#x is not in .debug_ranges of %d bytes: %w", off, len(data), ErrDamaged)
		}
		from, to := le.Uint64(data[off:]), le.Uint64(data[off+addrSize:])
		switch {
		case from == 0 && to == 0:
			return 0, false, nil
		case from != ^uint64(0):
			return base + from, true, nil
		}
		base = to
		off += 2 * addrSize
	}
	return 0, false, fmt.Errorf("range list at %#x in .debug_ranges begins with more than %d bases: %w", off, maxBases, ErrDamaged)
}

// firstRange5 reads .debug_rnglists (DWARF 5, 7.25).
func (f *File) firstRange5(r *root, off, base uint64) (uint64, bool, error) {
	data := f.sections.rangeLists
	bad := fmt.Errorf("range list at %#x is not in .debug_rnglists of %d bytes, or is none: %w", off, len(data), ErrDamaged)
	if off >= uint64(len(data)) {
		return 0, false, bad
	}
	pos := int(off)
	for range maxBases {
		if pos >= len(data) {
			break
		}
		var v uint64
		kind := data[pos]
		pos++
		switch kind {
		case 0: // DW_RLE_end_of_list
			return 0, false, nil
		case 1, 2, 3: // DW_RLE_base_addressx, _startx_endx, _startx_length
			if v, pos = uleb(data, pos); pos < 0 {
				return 0, false, bad
			}
			addr, err := f.address(r, v)
			if err != nil || kind != 1 {
				return addr, err == nil, err
			}
			base = addr
		case 4: // DW_RLE_offset_pair
			if v, pos = uleb(data, pos); pos < 0 {
				return 0, false, bad
			}
			return base + v, true, nil
		case 5, 6, 7: // DW_RLE_base_address, _start_end, _start_length
			addr, ok := fixed(data, pos, addrSize)
			if !ok || kind != 5 {
				if !ok {
					return 0, false, bad
				}
				return addr, true, nil
			}
			base, pos = addr, pos+addrSize
		default:
			return 0, false, bad
		}
	}
	return 0, false, bad
}
