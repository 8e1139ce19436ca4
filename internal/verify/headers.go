// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
)

// rawSection is a section header as stored. Package object keeps no flags of
// plain relocation sections and no tables; the kernel looks at all of them.
type rawSection struct {
	name        string
	kind        elf.SectionType
	flags, size uint64
	align       uint64
	link, info  uint32
}

// readHeaders reads all section headers with the checks of the kernel's
// elf_validity_check (kernel/module/main.c) that package object does not make.
func readHeaders(d []byte) ([]rawSection, error) {
	if len(d) < 64 {
		return nil, fmt.Errorf("not an ELF file (%d bytes)", len(d))
	}
	off, num, strndx := le.Uint64(d[40:]), uint64(le.Uint16(d[60:])), uint64(le.Uint16(d[62:]))
	if num == 0 || strndx == 0 || strndx >= num {
		return nil, fmt.Errorf("%d sections with names in section %d: the module loader does not know extended section numbers", num, strndx)
	}
	if off >= uint64(len(d)) || num*64 > uint64(len(d))-off {
		return nil, fmt.Errorf("%d section headers at %#x lie outside the file", num, off)
	}
	at := func(i uint64) []byte { return d[off+64*i : off+64*i+64] }
	names, err := contents(d, at(strndx))
	if err != nil {
		return nil, fmt.Errorf("section names: %w", err)
	}
	if len(names) == 0 || names[len(names)-1] != 0 {
		return nil, fmt.Errorf("the section names do not end with NUL")
	}
	if h := at(0); le.Uint32(h[4:]) != 0 || le.Uint64(h[16:]) != 0 || le.Uint64(h[32:]) != 0 {
		return nil, fmt.Errorf("section 0 is not empty")
	}
	var out []rawSection
	symtabs, total := 0, uint64(0)
	for i := uint64(1); i < num; i++ {
		h := at(i)
		s := rawSection{
			kind: elf.SectionType(le.Uint32(h[4:])), flags: le.Uint64(h[8:]), size: le.Uint64(h[32:]),
			link: le.Uint32(h[40:]), info: le.Uint32(h[44:]), align: le.Uint64(h[48:]),
		}
		n := uint64(le.Uint32(h))
		if n >= uint64(len(names)) {
			return nil, fmt.Errorf("section %d has its name outside the table", i)
		}
		s.name = string(names[n : n+uint64(bytes.IndexByte(names[n:], 0))])
		if s.kind != elf.SHT_NULL && s.kind != elf.SHT_NOBITS {
			if _, err := contents(d, h); err != nil {
				return nil, fmt.Errorf("section %s: %w", s.name, err)
			}
			// Sections that share their bytes would make the work more than the
			// file's size bounds. No linker does that.
			if total += s.size; total > uint64(len(d)) {
				return nil, fmt.Errorf("section %s: the sections overlap, or the file has not all of them", s.name)
			}
		}
		if s.align > 4096 || s.align&(s.align-1) != 0 {
			return nil, fmt.Errorf("section %s: alignment %d, modules are aligned to a page at most", s.name, s.align)
		}
		if s.kind == elf.SHT_SYMTAB {
			symtabs++
		}
		out = append(out, s)
	}
	if symtabs != 1 {
		return nil, fmt.Errorf("%d symbol tables, a module has one", symtabs)
	}
	return out, nil
}

func contents(d, h []byte) ([]byte, error) {
	off, size := le.Uint64(h[24:]), le.Uint64(h[32:])
	if off > uint64(len(d)) || size > uint64(len(d))-off {
		return nil, fmt.Errorf("%d bytes at %#x lie outside the file", size, off)
	}
	return d[off : off+size], nil
}
