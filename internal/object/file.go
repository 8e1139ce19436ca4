// SPDX-License-Identifier: Apache-2.0

package object

import (
	"debug/elf"
	"fmt"
	"strings"
)

// Symbol section indices that are no section (gABI chapter 4; SHN_LIVEPATCH is
// include/uapi/linux/elf.h of Linux).
const (
	Undef     = uint16(elf.SHN_UNDEF)
	Abs       = uint16(elf.SHN_ABS)
	Common    = uint16(elf.SHN_COMMON)
	Livepatch = uint16(0xff20)
)

// Section flags that debug/elf does not name (include/uapi/linux/elf.h).
const (
	FlagRelaLivepatch = uint64(0x00100000) // SHF_RELA_LIVEPATCH
)

// File is one relocatable object.
type File struct {
	Sections []*Section // in file order, without NULL, symbol, string and RELA tables
	Symbols  []*Symbol  // in table order, without the null symbol
}

// Section is one section with the relocations that modify it.
type Section struct {
	Name    string
	Type    uint32 // SHT_*
	Flags   uint64 // SHF_*
	Align   uint64
	Entsize uint64
	Data    []byte // nil for SHT_NOBITS
	Size    uint64 // bytes in memory; equals len(Data) unless SHT_NOBITS
	Relocs  []Reloc
	Extra   []RelaSection // further RELA sections with this one as target
	Index   int           // section index as read; 0 if made in memory
	Link    *Section      // sh_link where it names a kept section (SHF_LINK_ORDER), else nil
}

// RelaSection is a RELA section whose name and flags are not the default ones,
// such as .klp.rela.vmlinux..text.foo.
type RelaSection struct {
	Name   string
	Flags  uint64
	Relocs []Reloc
}

// Symbol is one symbol table entry.
type Symbol struct {
	Name    string
	Bind    byte // STB_*
	Kind    byte // STT_*
	Other   byte // visibility
	Section *Section
	Shndx   uint16 // meaningful only when Section is nil
	Value   uint64 // offset in Section
	Size    uint64
	Index   int // table index as read; 0 if made in memory
}

// Reloc is one relocation with explicit addend. Sym is nil for symbol index 0.
type Reloc struct {
	Offset uint64
	Type   uint32 // R_X86_64_*
	Sym    *Symbol
	Addend int64
}

// IsUndefined reports whether the symbol must be found elsewhere.
func (s *Symbol) IsUndefined() bool { return s.Section == nil && s.Shndx == Undef }

// IsLocal reports whether the symbol is bound locally.
func (s *Symbol) IsLocal() bool { return s.Bind == byte(elf.STB_LOCAL) }

// IsFunc reports whether the symbol is a function.
func (s *Symbol) IsFunc() bool { return s.Kind == byte(elf.STT_FUNC) }

// IsSection reports whether the symbol stands for its section.
func (s *Symbol) IsSection() bool { return s.Kind == byte(elf.STT_SECTION) }

// IsExec reports whether the section holds code.
func (s *Section) IsExec() bool { return s.Flags&uint64(elf.SHF_EXECINSTR) != 0 }

// IsAlloc reports whether the section is loaded.
func (s *Section) IsAlloc() bool { return s.Flags&uint64(elf.SHF_ALLOC) != 0 }

// IsWritable reports whether the section is writable when loaded.
func (s *Section) IsWritable() bool { return s.Flags&uint64(elf.SHF_WRITE) != 0 }

// IsStrings reports whether the section is a pool of mergeable NUL-terminated
// strings of one-byte characters.
func (s *Section) IsStrings() bool {
	const f = uint64(elf.SHF_MERGE | elf.SHF_STRINGS)
	return s.Flags&f == f && s.Entsize <= 1
}

// Section returns the first section of that name, or nil.
func (f *File) Section(name string) *Section {
	for _, s := range f.Sections {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Symbol returns the only symbol of that name, section symbols apart. It is an
// error if there is none or more than one.
func (f *File) Symbol(name string) (*Symbol, error) {
	var found *Symbol
	for _, s := range f.Symbols {
		if s.Name != name || s.IsSection() {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("symbol %q is defined more than once", name)
		}
		found = s
	}
	if found == nil {
		return nil, fmt.Errorf("symbol %q is not in the symbol table", name)
	}
	return found, nil
}

// CString returns the NUL-terminated string at off in the section, without the
// NUL. ok is false when off is outside or no NUL follows.
func (s *Section) CString(off uint64) (str string, ok bool) {
	if off >= uint64(len(s.Data)) {
		return "", false
	}
	rest := s.Data[off:]
	for i, b := range rest {
		if b == 0 {
			return string(rest[:i]), true
		}
	}
	return "", false
}

// RelocName is the psABI name of an x86-64 relocation type without the
// R_X86_64_ prefix, such as PLT32.
func RelocName(t uint32) string {
	return strings.TrimPrefix(elf.R_X86_64(t).String(), "R_X86_64_")
}

// RelocWidth is the number of bytes a relocation type modifies: 8, 4, 2, 1 or
// 0 (NONE). ok is false for a type kmend does not know.
func RelocWidth(t uint32) (width int, ok bool) {
	switch elf.R_X86_64(t) {
	case elf.R_X86_64_NONE:
		return 0, true
	case elf.R_X86_64_64, elf.R_X86_64_PC64:
		return 8, true
	case elf.R_X86_64_32, elf.R_X86_64_32S, elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		return 4, true
	case elf.R_X86_64_16, elf.R_X86_64_PC16:
		return 2, true
	case elf.R_X86_64_8, elf.R_X86_64_PC8:
		return 1, true
	}
	return 0, false
}

// PCRelative reports whether the relocated value is relative to its place.
func PCRelative(t uint32) bool {
	switch elf.R_X86_64(t) {
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64, elf.R_X86_64_PC16, elf.R_X86_64_PC8:
		return true
	}
	return false
}
