// SPDX-License-Identifier: Apache-2.0

package special

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"kmend/internal/object"
)

// Entry is one entry of a special section.
type Entry struct {
	Format  *Format
	Section *object.Section
	Offset  uint64          // in Section
	Data    []byte          // Format.Stride bytes, zero-filled where the last entry is short; not aliased
	Relocs  []object.Reloc  // offsets relative to the entry
	Code    *object.Section // section of the owning code
	At      uint64          // offset of the owning instruction in Code
	Orc     []byte          // for .orc_unwind_ip: the parallel struct orc_entry
}

// Split returns the entries of all special sections of f, by section in the
// order of Formats, then by offset. An entry whose owner cannot be told is an
// error: losing it would lose a fix-up in the patched code.
func Split(f *object.File) ([]Entry, error) {
	var out []Entry
	for i := range formats {
		for _, s := range f.Sections {
			if s.Name != formats[i].Name {
				continue
			}
			entries, err := splitSection(f, s, &formats[i])
			if err != nil {
				return nil, fmt.Errorf("split section %s: %w", s.Name, err)
			}
			out = append(out, entries...)
		}
	}
	return out, nil
}

func splitSection(f *object.File, s *object.Section, format *Format) ([]Entry, error) {
	size := uint64(len(s.Data))
	count := (size + format.Short) / format.Stride
	if rest := count*format.Stride - min(size, count*format.Stride); rest > format.Short || size > count*format.Stride {
		return nil, fmt.Errorf("%d bytes are no whole number of %d-byte entries", size, format.Stride)
	}
	var orc *object.Section
	if format.Name == OrcUnwindIP {
		orc = f.Section(OrcUnwind)
		if orc == nil || uint64(len(orc.Data)) != count*OrcStride {
			return nil, fmt.Errorf("%s does not hold %d entries of %d bytes", OrcUnwind, count, OrcStride)
		}
	}
	out := make([]Entry, 0, count)
	next := 0
	for n := range count {
		e := Entry{Format: format, Section: s, Offset: n * format.Stride, Data: make([]byte, format.Stride)}
		copy(e.Data, s.Data[e.Offset:min(size, e.Offset+format.Stride)])
		for ; next < len(s.Relocs) && s.Relocs[next].Offset < e.Offset+format.Stride; next++ {
			r := s.Relocs[next]
			r.Offset -= e.Offset
			e.Relocs = append(e.Relocs, r)
		}
		if err := e.findOwner(); err != nil {
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
		if orc != nil {
			e.Orc = bytes.Clone(orc.Data[n*OrcStride : (n+1)*OrcStride])
		}
		out = append(out, e)
	}
	return out, nil
}

func (e *Entry) findOwner() error {
	for _, r := range e.Relocs {
		if r.Offset != e.Format.Owner {
			continue
		}
		if r.Sym == nil || r.Sym.Section == nil {
			return fmt.Errorf("owner is not defined in this object")
		}
		e.Code = r.Sym.Section
		e.At = r.Sym.Value + uint64(r.Addend)
		if e.At > e.Code.Size {
			return fmt.Errorf("owner %s+%#x lies outside its section of %d bytes", e.Code.Name, e.At, e.Code.Size)
		}
		return nil
	}
	return fmt.Errorf("no relocation at offset %d tells which code it belongs to", e.Format.Owner)
}

// Reloc returns the relocation at the given offset of the entry, or nil.
func (e *Entry) Reloc(off uint64) *object.Reloc {
	for i := range e.Relocs {
		if e.Relocs[i].Offset == off {
			return &e.Relocs[i]
		}
	}
	return nil
}

// Masked returns the entry's bytes with relocated fields and the spans that
// carry no meaning set to zero.
func (e *Entry) Masked() []byte {
	b := bytes.Clone(e.Data)
	for _, r := range e.Relocs {
		width, _ := object.RelocWidth(r.Type)
		clear(b[r.Offset:min(uint64(len(b)), r.Offset+uint64(width))])
	}
	for _, m := range e.Format.Mask {
		clear(b[m.Off : m.Off+m.Len])
	}
	return b
}

// Replacement returns where an .altinstructions entry's replacement code lies.
// size is 0 when it replaces with NOPs only. It is an error to call it for
// another section's entry.
func (e *Entry) Replacement() (s *object.Section, off, size uint64, err error) {
	if e.Format.Name != AltInstructions {
		return nil, 0, 0, fmt.Errorf("entry of %s has no replacement code", e.Format.Name)
	}
	size = uint64(e.Data[11])
	r := e.Reloc(4)
	if r == nil || r.Sym == nil || r.Sym.Section == nil {
		return nil, 0, 0, fmt.Errorf("replacement of the alternative at %s+%#x is not defined in this object", e.Code.Name, e.At)
	}
	s, off = r.Sym.Section, r.Sym.Value+uint64(r.Addend)
	if off > s.Size || size > s.Size-off {
		return nil, 0, 0, fmt.Errorf("replacement of the alternative at %s+%#x lies outside %s", e.Code.Name, e.At, s.Name)
	}
	return s, off, size, nil
}

// RewrittenLen is the number of instruction bytes at At that the kernel may
// rewrite because of the entry; 0 if it rewrites none.
func (e *Entry) RewrittenLen() uint64 {
	switch e.Format.Name {
	case AltInstructions:
		return uint64(e.Data[10])
	case ParaInstr:
		return uint64(e.Data[9])
	case SmpLocks:
		return 1
	case JumpTable, StaticCallSites, ReturnSites, McountLoc:
		return 5
	case RetpolineSites:
		return 6 // jcc rel32 is the longest form objtool records
	}
	return 0
}

// staticCallFlags reads the bits that include/linux/static_call_types.h keeps
// in the low end of a site's key (1 tail call, 2 init code).
func (e *Entry) staticCallFlags() int64 {
	if r := e.Reloc(4); r != nil && e.Format.Name == StaticCallSites {
		return r.Addend & 3
	}
	return 0
}

// IsInitSite reports whether a static call site is marked as init code.
func (e *Entry) IsInitSite() bool { return e.staticCallFlags()&2 != 0 }

// Line returns the source line of a __bug_table entry.
func (e *Entry) Line() int {
	if e.Format.Name != BugTable {
		return 0
	}
	return int(binary.LittleEndian.Uint16(e.Data[8:]))
}
