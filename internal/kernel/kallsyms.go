// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The kallsyms tables, as scripts/kallsyms.c (write_src) emits them into
// .rodata, each label aligned to 8 bytes on a 64-bit kernel:
//
//	5.10 to 6.3:  offsets  relative_base  num_syms  names  markers  [seqs_of_names]  token_table  token_index
//	6.4 to 6.12:  num_syms  names  markers  token_table  token_index  offsets  relative_base  seqs_of_names
//
// seqs_of_names came with 6.2 and was backported to the stable 6.1 series.
// No label survives in a stripped image, so the tables are found by their
// structure: token_index is 256 rising 16-bit offsets into the 256
// NUL-terminated strings right before it; from there num_syms is the only
// place from which names and markers tile the space up to the token table.
const (
	minKallsyms = 1000    // a real kernel has tens of thousands; smaller would let chance in
	maxKallsyms = 8 << 20 // seqs_of_names holds 24-bit numbers
	maxSymName  = 512     // KSYM_NAME_LEN since 6.1 (128 before)

	maxNameBytes = 128 << 20 // all names together; 3 MB in Debian's kernels

	// maxNameSteps bounds the walks over candidate tables, so that a hostile
	// image costs at most some tenths of a second.
	maxNameSteps = 64 << 20
)

// kallsymsTables are the raw tables within one segment.
type kallsymsTables struct {
	n            int
	names        []byte
	tokens       [256]string
	offsets      []byte // 4*n
	relativeBase uint64
	seqs         []byte // 3*n or nil
}

func align8(n int) int { return (n + 7) &^ 7 }

// findKallsyms looks for the tables in seg, the file contents of one segment
// that is mapped 8-byte aligned. ok is false when no token index is there.
func findKallsyms(seg []byte) (t *kallsymsTables, ok bool, err error) {
	steps := maxNameSteps
	for at := 0; at+512 <= len(seg); at += 8 {
		tokenTable, found := tokenTableBefore(seg, at, &steps)
		if !found {
			continue
		}
		ok = true
		t, err = tablesAround(seg, tokenTable, at, &steps)
		if err == nil {
			return t, true, nil
		}
	}
	return nil, ok, err
}

// tokenTableBefore tells whether a token_index lies at seg[at:], and where the
// token_table before it starts.
func tokenTableBefore(seg []byte, at int, steps *int) (start int, ok bool) {
	le := binary.LittleEndian
	x := seg[at : at+512]
	if x[0] != 0 || x[1] != 0 {
		return 0, false
	}
	prev := uint16(0)
	for i := 1; i < 256; i++ {
		v := le.Uint16(x[2*i:])
		if v <= prev {
			return 0, false
		}
		prev = v
	}
	last := int(prev)
	// The last string's length is not in the index: try each aligned start.
	for s := (at - last - 1) &^ 7; s >= 0 && s > at-last-2*maxSymName && *steps > 0; s -= 8 {
		if tokenTableFits(seg, s, at, steps) {
			return s, true
		}
	}
	return 0, false
}

// tokenTableFits checks that the 256 strings of the index at seg[at:] lie
// exactly between s and at, with nothing but padding after the last.
func tokenTableFits(seg []byte, s, at int, steps *int) bool {
	le := binary.LittleEndian
	off := 0
	for i := 0; i < 256; i++ {
		if int(le.Uint16(seg[at+2*i:])) != off {
			return false
		}
		for p := s + off; ; p++ {
			*steps--
			if p >= at {
				return false
			}
			if seg[p] == 0 {
				off = p - s + 1
				break
			}
			if seg[p] < 0x21 || seg[p] > 0x7e {
				return false
			}
		}
	}
	if align8(s+off) != at {
		return false
	}
	for _, c := range seg[s+off : at] {
		if c != 0 {
			return false
		}
	}
	return true
}

// tablesAround finds the other tables, given the two token tables.
func tablesAround(seg []byte, tokenTable, tokenIndex int, steps *int) (*kallsymsTables, error) {
	le := binary.LittleEndian
	t := &kallsymsTables{}
	for i := range t.tokens {
		p := tokenTable + int(le.Uint16(seg[tokenIndex+2*i:]))
		q := p
		for seg[q] != 0 {
			q++
		}
		t.tokens[i] = string(seg[p:q])
	}
	for p := (tokenTable - 8) &^ 7; p >= 0; p -= 8 {
		n := int(le.Uint32(seg[p:]))
		if n < minKallsyms || n > maxKallsyms || le.Uint32(seg[p+4:]) != 0 || p+8+2*n > tokenTable {
			continue
		}
		names, seqs, ok := t.tile(seg, p, n, tokenTable, steps)
		if *steps <= 0 {
			return nil, errors.New("too many places look like a name table: the image is damaged")
		}
		if !ok {
			continue
		}
		t.n, t.names, t.seqs = n, names, seqs
		return t, t.findOffsets(seg, p, tokenIndex)
	}
	return nil, errors.New("the token tables are there, but no name table ends at them: this layout is not known (5.10 to 6.12 are)")
}

// tile checks that names, markers and perhaps seqs_of_names fill the space
// from p+8 to the token table, and returns names and seqs.
func (t *kallsymsTables) tile(seg []byte, p, n, tokenTable int, steps *int) (names, seqs []byte, ok bool) {
	le := binary.LittleEndian
	start := p + 8
	pos := start
	markers := make([]uint32, 0, 16)
	for i := 0; i < n; i++ {
		if i&0xff == 0 {
			markers = append(markers, uint32(pos-start))
		}
		*steps--
		if pos+2 > tokenTable || *steps <= 0 {
			return nil, nil, false
		}
		size := int(seg[pos])
		pos++
		if size&0x80 != 0 {
			size = size&0x7f | int(seg[pos])<<7
			pos++
		}
		if size == 0 || pos+size > tokenTable {
			return nil, nil, false
		}
		pos += size
	}
	names = seg[start:pos]
	pos = align8(pos)
	if pos+4*len(markers) > tokenTable {
		return nil, nil, false
	}
	for i, m := range markers {
		if le.Uint32(seg[pos+4*i:]) != m {
			return nil, nil, false
		}
	}
	pos = align8(pos + 4*len(markers))
	if pos == tokenTable {
		return names, nil, true
	}
	if align8(pos+3*n) == tokenTable {
		return names, seg[pos : pos+3*n], true
	}
	return nil, nil, false
}

// findOffsets finds kallsyms_offsets and kallsyms_relative_base: before
// num_syms (at p) up to 6.3, after the token index from 6.4 on. Whichever of
// the two gives rising addresses is right; both or none is an error.
func (t *kallsymsTables) findOffsets(seg []byte, p, tokenIndex int) error {
	le := binary.LittleEndian
	size := align8(4 * t.n)
	var old, young bool
	oldAt := p - 8 - size
	if oldAt >= 0 {
		old = offsetsRise(seg[oldAt:oldAt+4*t.n], le.Uint64(seg[p-8:]))
	}
	youngAt := tokenIndex + 512
	youngSeqs := youngAt + size + 8 // always there in this layout
	if t.seqs == nil && youngSeqs+3*t.n <= len(seg) {
		young = offsetsRise(seg[youngAt:youngAt+4*t.n], le.Uint64(seg[youngAt+size:]))
	}
	switch {
	case old && !young:
		t.offsets, t.relativeBase = seg[oldAt:oldAt+4*t.n], le.Uint64(seg[p-8:])
	case young && !old:
		t.offsets, t.relativeBase = seg[youngAt:youngAt+4*t.n], le.Uint64(seg[youngAt+size:])
		t.seqs = seg[youngSeqs : youngSeqs+3*t.n]
	default:
		return fmt.Errorf("%d symbol names found, but no table of offsets relative to a base that fits them: only CONFIG_KALLSYMS_BASE_RELATIVE with CONFIG_KALLSYMS_ABSOLUTE_PERCPU (x86-64) is known", t.n)
	}
	return nil
}

// symbolAddress is kallsyms_sym_address of kernel/kallsyms.c for x86-64 SMP
// (BASE_RELATIVE and ABSOLUTE_PERCPU): offsets that are not negative are
// absolute (per-CPU) values, negative ones count down from base-1.
func symbolAddress(off int32, base uint64) uint64 {
	if off >= 0 {
		return uint64(off)
	}
	return base - 1 - uint64(int64(off))
}

// offsetsRise tells whether b is a kallsyms_offsets table: the addresses it
// gives never fall (scripts/kallsyms.c sorts), the base is a kernel address
// and is the lowest address that is not absolute, as relative_base is.
func offsetsRise(b []byte, base uint64) bool {
	if base>>47 != 1<<17-1 {
		return false
	}
	prev := uint64(0)
	lowest := uint64(0)
	for i := 0; i+4 <= len(b); i += 4 {
		off := int32(binary.LittleEndian.Uint32(b[i:]))
		a := symbolAddress(off, base)
		if a < prev {
			return false
		}
		if off < 0 && lowest == 0 {
			lowest = a
		}
		prev = a
	}
	return lowest == base
}

// decode expands all names (kallsyms_expand_symbol) into a table.
func (t *kallsymsTables) decode() (*SymbolTable, error) {
	blob := make([]byte, 0, 4*len(t.names))
	ends := make([]uint32, t.n)
	kinds := make([]byte, t.n)
	pos := 0
	for i := 0; i < t.n; i++ {
		size := int(t.names[pos])
		pos++
		if size&0x80 != 0 {
			size = size&0x7f | int(t.names[pos])<<7
			pos++
		}
		start := len(blob)
		for _, c := range t.names[pos : pos+size] {
			blob = append(blob, t.tokens[c]...)
			if len(blob)-start > maxSymName {
				return nil, fmt.Errorf("symbol %d of %d: its name is longer than %d bytes", i, t.n, maxSymName)
			}
		}
		pos += size
		if len(blob) > maxNameBytes {
			return nil, fmt.Errorf("the names up to symbol %d of %d are longer than %d bytes", i, t.n, maxNameBytes)
		}
		if len(blob)-start < 2 {
			return nil, fmt.Errorf("symbol %d of %d has no name", i, t.n)
		}
		kinds[i] = blob[start]
		if !validSymbolType(kinds[i]) {
			return nil, fmt.Errorf("symbol %d of %d (%s): type %q is none that nm prints", i, t.n, blob[start+1:], kinds[i])
		}
		copy(blob[start:], blob[start+1:])
		blob = blob[:len(blob)-1]
		ends[i] = uint32(len(blob))
	}
	all := string(blob)
	syms := make([]Symbol, t.n)
	from := uint32(0)
	for i := range syms {
		off := int32(binary.LittleEndian.Uint32(t.offsets[4*i:]))
		syms[i] = Symbol{Name: all[from:ends[i]], Addr: symbolAddress(off, t.relativeBase), Type: kinds[i], Index: i}
		from = ends[i]
	}
	return newSymbolTable(syms), t.checkSeqs(syms)
}

func validSymbolType(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '?' || c == '-'
}

// checkSeqs verifies that seqs_of_names, where there is one, is a permutation
// that lists the names in rising order, equal names by address: the table's
// own witness that names and order were decoded as the kernel's build meant.
func (t *kallsymsTables) checkSeqs(syms []Symbol) error {
	if t.seqs == nil {
		return nil
	}
	seen := make([]bool, t.n)
	prev := -1
	for i := 0; i < t.n; i++ {
		s := int(t.seqs[3*i])<<16 | int(t.seqs[3*i+1])<<8 | int(t.seqs[3*i+2])
		if s >= t.n || seen[s] {
			return fmt.Errorf("kallsyms_seqs_of_names[%d] is %d: not a permutation of %d symbols", i, s, t.n)
		}
		seen[s] = true
		if prev >= 0 {
			a, b := &syms[prev], &syms[s]
			if a.Name > b.Name || a.Name == b.Name && a.Addr > b.Addr {
				return fmt.Errorf("kallsyms_seqs_of_names lists %s before %s: the names were not decoded right", a.Name, b.Name)
			}
		}
		prev = s
	}
	return nil
}
