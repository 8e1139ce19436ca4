// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import "fmt"

// form is a DW_FORM: how an attribute is stored (DWARF 5, 7.5.6; the last ones
// are GNU's, binutils include/dwarf2.def).
type form uint16

const (
	formAddr          form = 0x01
	formBlock2        form = 0x03
	formBlock4        form = 0x04
	formData2         form = 0x05
	formData4         form = 0x06
	formData8         form = 0x07
	formString        form = 0x08
	formBlock         form = 0x09
	formBlock1        form = 0x0a
	formData1         form = 0x0b
	formFlag          form = 0x0c
	formSdata         form = 0x0d
	formStrp          form = 0x0e
	formUdata         form = 0x0f
	formRefAddr       form = 0x10
	formRef1          form = 0x11
	formRef2          form = 0x12
	formRef4          form = 0x13
	formRef8          form = 0x14
	formRefUdata      form = 0x15
	formIndirect      form = 0x16
	formSecOffset     form = 0x17
	formExprloc       form = 0x18
	formFlagPresent   form = 0x19
	formStrx          form = 0x1a
	formAddrx         form = 0x1b
	formRefSup4       form = 0x1c
	formStrpSup       form = 0x1d
	formData16        form = 0x1e
	formLineStrp      form = 0x1f
	formRefSig8       form = 0x20
	formImplicitConst form = 0x21
	formLoclistx      form = 0x22
	formRnglistx      form = 0x23
	formRefSup8       form = 0x24
	formStrx1         form = 0x25
	formStrx2         form = 0x26
	formStrx3         form = 0x27
	formStrx4         form = 0x28
	formAddrx1        form = 0x29
	formAddrx2        form = 0x2a
	formAddrx3        form = 0x2b
	formAddrx4        form = 0x2c
	formGNUAddrIndex  form = 0x1f01
	formGNUStrIndex   form = 0x1f02
	formGNURefAlt     form = 0x1f20
	formGNUStrpAlt    form = 0x1f21
)

// addrSize is the size of an address in a 64-bit file; other sizes are refused.
const addrSize = 8

// layout is what the size of some forms depends on.
type layout struct {
	wide bool // 64-bit DWARF: offsets have 8 bytes
	old  bool // DWARF 2: DW_FORM_ref_addr is as large as an address
}

// size of a form in bytes; -1 if it depends on the value, -2 if the form is not
// known.
func (l layout) size(f form) int {
	switch f {
	case formFlagPresent, formImplicitConst:
		return 0
	case formData1, formFlag, formRef1, formStrx1, formAddrx1:
		return 1
	case formData2, formRef2, formStrx2, formAddrx2:
		return 2
	case formStrx3, formAddrx3:
		return 3
	case formData4, formRef4, formRefSup4, formStrx4, formAddrx4:
		return 4
	case formData8, formRef8, formRefSig8, formRefSup8:
		return 8
	case formAddr:
		return addrSize
	case formData16:
		return 16
	case formRefAddr:
		if l.old {
			return addrSize
		}
		return l.offset()
	case formStrp, formLineStrp, formSecOffset, formStrpSup, formGNURefAlt, formGNUStrpAlt:
		return l.offset()
	case formBlock, formBlock1, formBlock2, formBlock4, formExprloc, formString, formIndirect,
		formSdata, formUdata, formRefUdata, formStrx, formAddrx, formLoclistx, formRnglistx, formGNUAddrIndex, formGNUStrIndex:
		return -1
	}
	return -2
}

func (l layout) offset() int {
	if l.wide {
		return 8
	}
	return 4
}

// uleb reads an unsigned LEB128 number; next is -1 if it is not terminated in d
// or has more than 64 bits.
func uleb(d []byte, pos int) (v uint64, next int) {
	for shift := uint(0); uint(pos) < uint(len(d)); shift += 7 {
		b := d[pos]
		pos++
		if shift >= 64 || shift == 63 && b&0x7f > 1 {
			if b&0x7f != 0 { // padding zeros are allowed
				return 0, -1
			}
		} else {
			v |= uint64(b&0x7f) << shift
		}
		if b < 0x80 {
			return v, pos
		}
	}
	return 0, -1
}

// fixed reads n bytes, at most 8, as a number.
func fixed(d []byte, pos, n int) (uint64, bool) {
	if pos < 0 || n > len(d)-pos {
		return 0, false
	}
	switch n {
	case 1:
		return uint64(d[pos]), true
	case 2:
		return uint64(le.Uint16(d[pos:])), true
	case 4:
		return uint64(le.Uint32(d[pos:])), true
	case 8:
		return le.Uint64(d[pos:]), true
	}
	var v uint64
	for i := range n {
		v |= uint64(d[pos+i]) << (8 * i)
	}
	return v, true
}

// skip returns the position behind a value whose size depends on it; -1 if the
// value does not end in d.
func (l layout) skip(d []byte, pos int, f form) int {
	var n uint64
	switch f {
	case formString:
		for ; uint(pos) < uint(len(d)); pos++ {
			if d[pos] == 0 {
				return pos + 1
			}
		}
		return -1
	case formSdata, formUdata, formRefUdata, formStrx, formAddrx, formLoclistx, formRnglistx, formGNUAddrIndex, formGNUStrIndex:
		for ; uint(pos) < uint(len(d)); pos++ {
			if d[pos] < 0x80 {
				return pos + 1
			}
		}
		return -1
	case formBlock, formExprloc:
		if n, pos = uleb(d, pos); pos < 0 {
			return -1
		}
	case formBlock1, formBlock2, formBlock4:
		size := map[form]int{formBlock1: 1, formBlock2: 2, formBlock4: 4}[f]
		var ok bool
		if n, ok = fixed(d, pos, size); !ok {
			return -1
		}
		pos += size
	case formIndirect:
		real, next, err := indirect(d, pos)
		if err != nil {
			return -1
		}
		if size := l.size(real); size < 0 {
			return l.skip(d, next, real)
		} else {
			n, pos = uint64(size), next
		}
	default:
		return -1
	}
	if n > uint64(len(d)-pos) {
		return -1
	}
	return pos + int(n)
}

// indirect reads the form of a value with DW_FORM_indirect.
func indirect(d []byte, pos int) (form, int, error) {
	v, next := uleb(d, pos)
	f := form(v)
	if next < 0 || v > 0xffff || f == formIndirect || f == formImplicitConst || (layout{}).size(f) == -2 {
		return 0, 0, fmt.Errorf("DW_FORM_indirect names form %#x: %w", v, ErrDamaged)
	}
	return f, next, nil
}

// slot is an attribute that is decoded.
type slot uint8

const (
	slotNone slot = iota
	slotName
	slotLinkage
	slotOrigin
	slotSpec
	slotFile
	slotLine
	slotLowPC
	slotRanges
	slotCompDir
	slotLineTable
	slotStrOffsetsBase
	slotAddrBase
	slotRangesBase
	slotSplit
	slots
)

// String is the attribute as the standard names it.
func (s slot) String() string {
	return [slots]string{"", "DW_AT_name", "DW_AT_linkage_name", "DW_AT_abstract_origin", "DW_AT_specification",
		"DW_AT_decl_file", "DW_AT_decl_line", "DW_AT_low_pc", "DW_AT_ranges", "DW_AT_comp_dir", "DW_AT_stmt_list",
		"DW_AT_str_offsets_base", "DW_AT_addr_base", "DW_AT_rnglists_base", "DW_AT_dwo_name"}[s]
}

// values are the attributes of one entry. Strings are textRefs, references are
// offsets in .debug_info, the rest is as stored.
type values struct {
	have    uint32 // bit per slot
	indexed uint32 // likewise: the value is an index into a table
	v       [slots]uint64
}

func (v *values) has(s slot) bool { return v.have>>s&1 != 0 }

// textRef says where a string is: the kind in the top 3 bits, below it an
// offset or index.
type textRef uint64

const (
	textInfo  textRef = (iota + 1) << 61 // at an offset in .debug_info
	textStr                              // in .debug_str
	textLine                             // in .debug_line_str
	textIndex                            // an index into .debug_str_offsets

	textKind textRef = 7 << 61
)

// decode reads one attribute into v and returns the position behind it. base is
// the offset of the unit, to which most references are relative.
func (v *values) decode(l layout, d []byte, pos int, s *step, base uint64) (int, error) {
	f := s.form
	if f == formIndirect {
		var err error
		if f, pos, err = indirect(d, pos); err != nil {
			return 0, err
		}
	}
	var n uint64
	next := pos
	switch size := l.size(f); {
	case f == formImplicitConst:
		n = uint64(s.value)
	case size >= 0 && size <= 8:
		var ok bool
		if n, ok = fixed(d, pos, size); !ok {
			return 0, fmt.Errorf("%s lies outside the unit: %w", s.slot, ErrDamaged)
		}
		next = pos + size
	case f == formString:
		n, next = uint64(pos), l.skip(d, pos, f)
	case f == formSdata:
		n, next = uleb(d, pos) // file and line: never negative
	case f == formUdata || f == formRefUdata || f == formStrx || f == formAddrx || f == formRnglistx || f == formGNUStrIndex || f == formGNUAddrIndex:
		n, next = uleb(d, pos)
	default:
		return 0, fmt.Errorf("%s has form %#x, which it cannot have: %w", s.slot, uint16(f), ErrDamaged)
	}
	if next < 0 {
		return 0, fmt.Errorf("%s does not end in the unit: %w", s.slot, ErrDamaged)
	}
	if err := v.set(s.slot, f, n, base); err != nil {
		return 0, err
	}
	return next, nil
}

// set stores a value, if its form is one that the attribute can have.
func (v *values) set(s slot, f form, n, base uint64) error {
	var ok, index bool
	switch s {
	case slotName, slotLinkage, slotCompDir, slotSplit:
		var kind textRef
		switch f {
		case formString:
			kind = textInfo
		case formStrp:
			kind = textStr
		case formLineStrp:
			kind = textLine
		case formStrx, formStrx1, formStrx2, formStrx3, formStrx4, formGNUStrIndex:
			kind = textIndex
		case formGNUStrpAlt, formStrpSup:
			return fmt.Errorf("%s is in another file that dwz made: take a file that dwz -m has not been run on: %w", s, ErrUnsupported)
		}
		ok = kind != 0 && n < 1<<61
		n |= uint64(kind)
	case slotOrigin, slotSpec:
		switch f {
		case formRefAddr:
			ok = true
		case formRef1, formRef2, formRef4, formRef8, formRefUdata:
			ok = n <= ^uint64(0)-base
			n += base
		case formGNURefAlt, formRefSup4, formRefSup8:
			return fmt.Errorf("%s is in another file that dwz made: take a file that dwz -m has not been run on: %w", s, ErrUnsupported)
		}
	case slotLowPC:
		index = f == formAddrx || f >= formAddrx1 && f <= formAddrx4 || f == formGNUAddrIndex
		ok = f == formAddr || index
	case slotFile, slotLine:
		ok = f == formData1 || f == formData2 || f == formData4 || f == formData8 || f == formUdata || f == formSdata || f == formImplicitConst
	case slotRanges:
		index = f == formRnglistx
		ok = index || f == formSecOffset || f == formData4 || f == formData8
	default:
		ok = f == formSecOffset || f == formData4 || f == formData8 // the latter in DWARF 2 and 3
	}
	if !ok {
		return fmt.Errorf("%s has form %#x, which it cannot have: %w", s, uint16(f), ErrDamaged)
	}
	v.have |= 1 << s
	if index {
		v.indexed |= 1 << s
	}
	v.v[s] = n
	return nil
}
