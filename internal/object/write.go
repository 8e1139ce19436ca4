// SPDX-License-Identifier: Apache-2.0

package object

import (
	"debug/elf"
	"fmt"
)

// maxAlign bounds the padding before a section; kernel code asks for at most
// two pages (.data..page_aligned of the IRQ stacks).
const maxAlign = 1 << 16

// writer lays a File out. Order: header, kept sections with their RELA
// sections behind them, .symtab, .strtab, .shstrtab, section headers.
type writer struct {
	f        *File
	out      []byte
	headers  []header
	shstr    stringTable
	secIndex map[*Section]uint32
	symIndex map[*Symbol]uint32
	symbols  []*Symbol
	locals   uint32 // index of the first non-local symbol
}

// stringTable collects names; equal names share an offset.
type stringTable struct {
	data []byte
	at   map[string]uint32
}

func newStringTable() stringTable {
	return stringTable{data: []byte{0}, at: map[string]uint32{"": 0}}
}

func (t *stringTable) add(s string) uint32 {
	if off, ok := t.at[s]; ok {
		return off
	}
	off := uint32(len(t.data))
	t.data = append(append(t.data, s...), 0)
	t.at[s] = off
	return off
}

// Bytes serialises the file. Equal files give equal bytes: nothing but the
// order of Sections, Symbols and Relocs decides the layout. Local symbols come
// first, as the gABI asks; otherwise symbol order is kept.
func (f *File) Bytes() ([]byte, error) {
	w := &writer{
		f: f, shstr: newStringTable(),
		out:      make([]byte, ehdrSize),
		headers:  []header{{}},
		secIndex: map[*Section]uint32{}, symIndex: map[*Symbol]uint32{},
	}
	if err := w.number(); err != nil {
		return nil, fmt.Errorf("write ELF object: %w", err)
	}
	strtab := newStringTable()
	symtab, err := w.symtab(&strtab)
	if err != nil {
		return nil, fmt.Errorf("write ELF object: %w", err)
	}
	if err := w.sections(); err != nil {
		return nil, fmt.Errorf("write ELF object: %w", err)
	}
	symtabIndex := uint32(len(w.headers))
	w.add(header{
		name: w.shstr.add(".symtab"), kind: uint32(elf.SHT_SYMTAB), size: uint64(len(symtab)),
		link: symtabIndex + 1, info: w.locals, align: 8, entsize: symSize,
	}, symtab)
	w.add(header{name: w.shstr.add(".strtab"), kind: uint32(elf.SHT_STRTAB), size: uint64(len(strtab.data)), align: 1}, strtab.data)
	name := w.shstr.add(".shstrtab")
	w.add(header{name: name, kind: uint32(elf.SHT_STRTAB), size: uint64(len(w.shstr.data)), align: 1}, w.shstr.data)
	w.finish()
	return w.out, nil
}

// number hands out section and symbol indices.
func (w *writer) number() error {
	n := uint32(1)
	for _, s := range w.f.Sections {
		if _, dup := w.secIndex[s]; dup {
			return fmt.Errorf("section %q is listed twice", s.Name)
		}
		if s.Align > maxAlign || s.Align&(s.Align-1) != 0 {
			return fmt.Errorf("section %q has alignment %d, want a power of two up to %d", s.Name, s.Align, maxAlign)
		}
		w.secIndex[s] = n
		n++
		if len(s.Relocs) > 0 {
			n++
		}
		n += uint32(len(s.Extra))
	}
	if n+3 >= uint32(elf.SHN_LORESERVE) {
		return fmt.Errorf("%d sections are more than an object without extended indices can hold", n)
	}
	for pass := range 2 {
		for _, s := range w.f.Symbols {
			if s.IsLocal() != (pass == 0) {
				continue
			}
			if _, dup := w.symIndex[s]; dup {
				return fmt.Errorf("symbol %q is listed twice", s.Name)
			}
			w.symbols = append(w.symbols, s)
			w.symIndex[s] = uint32(len(w.symbols))
		}
		if pass == 0 {
			w.locals = uint32(len(w.symbols)) + 1
		}
	}
	return nil
}

func (w *writer) symtab(strtab *stringTable) ([]byte, error) {
	b := make([]byte, symSize, symSize*(len(w.symbols)+1))
	for _, s := range w.symbols {
		shndx := uint32(s.Shndx)
		if s.Section != nil {
			n, ok := w.secIndex[s.Section]
			if !ok {
				return nil, fmt.Errorf("symbol %q is in section %q, which is not part of the file", s.Name, s.Section.Name)
			}
			shndx = n
		}
		name := uint32(0)
		if !s.IsSection() {
			name = strtab.add(s.Name)
		}
		b = le.AppendUint32(b, name)
		b = append(b, s.Bind<<4|s.Kind&15, s.Other)
		b = le.AppendUint16(b, uint16(shndx))
		b = le.AppendUint64(b, s.Value)
		b = le.AppendUint64(b, s.Size)
	}
	return b, nil
}

func (w *writer) sections() error {
	symtab := uint32(1)
	for _, s := range w.f.Sections {
		symtab++
		if len(s.Relocs) > 0 {
			symtab++
		}
		symtab += uint32(len(s.Extra))
	}
	for _, s := range w.f.Sections {
		h := header{
			name: w.shstr.add(s.Name), kind: s.Type, flags: s.Flags, size: s.Size,
			align: s.Align, entsize: s.Entsize,
		}
		if elf.SectionType(s.Type) != elf.SHT_NOBITS {
			h.size = uint64(len(s.Data))
		}
		if s.Link != nil {
			h.link = w.secIndex[s.Link]
		}
		w.add(h, s.Data)
		if len(s.Relocs) > 0 {
			if err := w.rela(s, ".rela"+s.Name, uint64(elf.SHF_INFO_LINK), s.Relocs, symtab); err != nil {
				return err
			}
		}
		for _, x := range s.Extra {
			if err := w.rela(s, x.Name, x.Flags, x.Relocs, symtab); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) rela(target *Section, name string, flags uint64, relocs []Reloc, symtab uint32) error {
	b := make([]byte, 0, relaSize*len(relocs))
	for _, r := range relocs {
		sym := uint32(0)
		if r.Sym != nil {
			n, ok := w.symIndex[r.Sym]
			if !ok {
				return fmt.Errorf("%s: relocation at %#x names symbol %q, which is not part of the file", name, r.Offset, r.Sym.Name)
			}
			sym = n
		}
		b = le.AppendUint64(b, r.Offset)
		b = le.AppendUint64(b, uint64(sym)<<32|uint64(r.Type))
		b = le.AppendUint64(b, uint64(r.Addend))
	}
	w.add(header{
		name: w.shstr.add(name), kind: uint32(elf.SHT_RELA), flags: flags, size: uint64(len(b)),
		link: symtab, info: w.secIndex[target], align: 8, entsize: relaSize,
	}, b)
	return nil
}

// add appends a section's bytes at its alignment and its header.
func (w *writer) add(h header, data []byte) {
	if h.align > 1 {
		for uint64(len(w.out))%h.align != 0 {
			w.out = append(w.out, 0)
		}
	}
	h.off = uint64(len(w.out))
	w.out = append(w.out, data...)
	w.headers = append(w.headers, h)
}

// finish appends the section headers and fills the ELF header.
func (w *writer) finish() {
	for len(w.out)%8 != 0 {
		w.out = append(w.out, 0)
	}
	shoff := uint64(len(w.out))
	for _, h := range w.headers {
		w.out = le.AppendUint32(w.out, h.name)
		w.out = le.AppendUint32(w.out, h.kind)
		for _, v := range []uint64{h.flags, h.addr, h.off, h.size} {
			w.out = le.AppendUint64(w.out, v)
		}
		w.out = le.AppendUint32(w.out, h.link)
		w.out = le.AppendUint32(w.out, h.info)
		w.out = le.AppendUint64(w.out, h.align)
		w.out = le.AppendUint64(w.out, h.entsize)
	}
	e := w.out[:ehdrSize]
	copy(e, elf.ELFMAG)
	e[4], e[5], e[6] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	le.PutUint16(e[16:], uint16(elf.ET_REL))
	le.PutUint16(e[18:], uint16(elf.EM_X86_64))
	le.PutUint32(e[20:], uint32(elf.EV_CURRENT))
	le.PutUint64(e[40:], shoff)
	le.PutUint16(e[52:], ehdrSize)
	le.PutUint16(e[58:], shdrSize)
	le.PutUint16(e[60:], uint16(len(w.headers)))
	le.PutUint16(e[62:], uint16(len(w.headers)-1))
}
