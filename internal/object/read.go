// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

const (
	ehdrSize = 64
	shdrSize = 64
	symSize  = 24
	relaSize = 24
)

var le = binary.LittleEndian

// header is one section header as stored (gABI chapter 4, Elf64_Shdr).
type header struct {
	name, kind             uint32
	flags, addr, off, size uint64
	link, info             uint32
	align, entsize         uint64
}

type reader struct {
	data     []byte
	headers  []header
	shstr    string
	sections []*Section // by section index; nil where not kept
	symbols  []*Symbol  // by symbol index; [0] is nil
}

// Read parses an x86-64 ET_REL file. The result does not alias data except for
// section contents, which must not be changed by the caller unless it owns data.
func Read(data []byte) (*File, error) {
	r := &reader{data: data}
	if err := r.readHeaders(); err != nil {
		return nil, fmt.Errorf("read ELF object: %w", err)
	}
	if err := r.readSections(); err != nil {
		return nil, fmt.Errorf("read ELF object: %w", err)
	}
	if err := r.readSymbols(); err != nil {
		return nil, fmt.Errorf("read ELF object: %w", err)
	}
	if err := r.readRelocs(); err != nil {
		return nil, fmt.Errorf("read ELF object: %w", err)
	}
	f := &File{}
	for _, s := range r.sections {
		if s != nil {
			f.Sections = append(f.Sections, s)
		}
	}
	for _, s := range r.symbols {
		if s != nil {
			f.Symbols = append(f.Symbols, s)
		}
	}
	return f, nil
}

func (r *reader) readHeaders() error {
	d := r.data
	if len(d) < ehdrSize || !bytes.Equal(d[:4], []byte(elf.ELFMAG)) {
		return fmt.Errorf("not an ELF file (%d bytes)", len(d))
	}
	if d[4] != byte(elf.ELFCLASS64) || d[5] != byte(elf.ELFDATA2LSB) || elf.Machine(le.Uint16(d[18:])) != elf.EM_X86_64 {
		return fmt.Errorf("not a 64-bit little-endian x86-64 file")
	}
	if t := elf.Type(le.Uint16(d[16:])); t != elf.ET_REL {
		return fmt.Errorf("type is %s, want ET_REL", t)
	}
	shoff, shnum, shstrndx := le.Uint64(d[40:]), uint64(le.Uint16(d[60:])), uint64(le.Uint16(d[62:]))
	if n := le.Uint16(d[58:]); n != shdrSize {
		return fmt.Errorf("section header size is %d, want %d", n, shdrSize)
	}
	if shoff > uint64(len(d)) || uint64(len(d))-shoff < shdrSize {
		return fmt.Errorf("section headers at %#x lie outside the file of %d bytes", shoff, len(d))
	}
	first := parseHeader(d[shoff:])
	if shnum == 0 { // gABI: the real count is in the first header
		shnum = first.size
	}
	if shstrndx == uint64(elf.SHN_XINDEX) {
		shstrndx = uint64(first.link)
	}
	if shnum > (uint64(len(d))-shoff)/shdrSize {
		return fmt.Errorf("%d section headers at %#x do not fit the file of %d bytes", shnum, shoff, len(d))
	}
	if shstrndx >= shnum {
		return fmt.Errorf("section name table has index %d of %d sections", shstrndx, shnum)
	}
	r.headers = make([]header, shnum)
	for i := range r.headers {
		r.headers[i] = parseHeader(d[shoff+uint64(i)*shdrSize:])
	}
	names, err := r.contents(int(shstrndx))
	r.shstr = string(names)
	return err
}

func parseHeader(b []byte) header {
	return header{
		name: le.Uint32(b), kind: le.Uint32(b[4:]),
		flags: le.Uint64(b[8:]), addr: le.Uint64(b[16:]), off: le.Uint64(b[24:]), size: le.Uint64(b[32:]),
		link: le.Uint32(b[40:]), info: le.Uint32(b[44:]),
		align: le.Uint64(b[48:]), entsize: le.Uint64(b[56:]),
	}
}

// contents returns the bytes of section i; nil for SHT_NOBITS.
func (r *reader) contents(i int) ([]byte, error) {
	h := r.headers[i]
	if elf.SectionType(h.kind) == elf.SHT_NOBITS {
		return nil, nil
	}
	if h.off > uint64(len(r.data)) || h.size > uint64(len(r.data))-h.off {
		return nil, fmt.Errorf("section %d: %d bytes at %#x lie outside the file", i, h.size, h.off)
	}
	return r.data[h.off : h.off+h.size : h.off+h.size], nil
}

// maxName is more than any compiler makes of a name. Without a bound, names
// that overlap in the table would take time by the square of the file's size.
const maxName = 4096

// cstring returns the name at off, which shares the table's memory.
func cstring(table string, off uint32) (string, error) {
	if uint64(off) >= uint64(len(table)) {
		if off == 0 {
			return "", nil
		}
		return "", fmt.Errorf("name offset %#x lies outside the string table of %d bytes", off, len(table))
	}
	rest := table[off:]
	n := strings.IndexByte(rest[:min(len(rest), maxName+1)], 0)
	if n < 0 {
		return "", fmt.Errorf("name at %#x is not terminated, or longer than %d bytes", off, maxName)
	}
	return rest[:n], nil
}

func (r *reader) readSections() error {
	r.sections = make([]*Section, len(r.headers))
	for i, h := range r.headers {
		switch elf.SectionType(h.kind) {
		case elf.SHT_NULL, elf.SHT_SYMTAB, elf.SHT_STRTAB, elf.SHT_RELA, elf.SHT_SYMTAB_SHNDX:
			continue
		case elf.SHT_REL:
			return fmt.Errorf("section %d is SHT_REL, which x86-64 does not use", i)
		}
		name, err := cstring(r.shstr, h.name)
		if err != nil {
			return fmt.Errorf("section %d: %w", i, err)
		}
		data, err := r.contents(i)
		if err != nil {
			return err
		}
		r.sections[i] = &Section{
			Name: name, Type: h.kind, Flags: h.flags, Align: h.align, Entsize: h.entsize,
			Data: data, Size: h.size, Index: i,
		}
	}
	for i, h := range r.headers {
		if s := r.sections[i]; s != nil && h.flags&uint64(elf.SHF_LINK_ORDER) != 0 && uint64(h.link) < uint64(len(r.sections)) {
			s.Link = r.sections[h.link]
		}
	}
	return nil
}

func (r *reader) readSymbols() error {
	symtab := -1
	var xindex []byte
	for i, h := range r.headers {
		switch elf.SectionType(h.kind) {
		case elf.SHT_SYMTAB:
			if symtab >= 0 {
				return fmt.Errorf("sections %d and %d are both symbol tables", symtab, i)
			}
			symtab = i
		case elf.SHT_SYMTAB_SHNDX:
			var err error
			if xindex, err = r.contents(i); err != nil {
				return err
			}
		}
	}
	if symtab < 0 {
		return nil
	}
	table, err := r.contents(symtab)
	if err != nil {
		return err
	}
	if len(table)%symSize != 0 {
		return fmt.Errorf("symbol table has %d bytes, no multiple of %d", len(table), symSize)
	}
	link := r.headers[symtab].link
	if uint64(link) >= uint64(len(r.headers)) {
		return fmt.Errorf("symbol table links to section %d of %d", link, len(r.headers))
	}
	names, err := r.contents(int(link))
	if err != nil {
		return err
	}
	strtab := string(names)
	r.symbols = make([]*Symbol, len(table)/symSize)
	for i := 1; i < len(r.symbols); i++ {
		s, err := r.symbol(table[i*symSize:], strtab, xindex, i)
		if err != nil {
			return fmt.Errorf("symbol %d: %w", i, err)
		}
		r.symbols[i] = s
	}
	return nil
}

func (r *reader) symbol(b []byte, strtab string, xindex []byte, i int) (*Symbol, error) {
	name, err := cstring(strtab, le.Uint32(b))
	if err != nil {
		return nil, err
	}
	s := &Symbol{
		Name: name, Bind: b[4] >> 4, Kind: b[4] & 15, Other: b[5],
		Value: le.Uint64(b[8:]), Size: le.Uint64(b[16:]), Index: i,
	}
	shndx := uint32(le.Uint16(b[6:]))
	switch {
	case shndx == uint32(elf.SHN_XINDEX):
		if (i+1)*4 > len(xindex) {
			return nil, fmt.Errorf("%q has no entry in the extended index table", name)
		}
		shndx = le.Uint32(xindex[i*4:])
	case shndx == 0 || shndx >= uint32(elf.SHN_LORESERVE):
		s.Shndx = uint16(shndx)
		return s, nil
	}
	if uint64(shndx) >= uint64(len(r.sections)) {
		return nil, fmt.Errorf("%q is in section %d of %d", name, shndx, len(r.sections))
	}
	s.Section = r.sections[shndx]
	if s.Section == nil {
		return nil, fmt.Errorf("%q is in section %d, which is a table", name, shndx)
	}
	if s.IsSection() && s.Name == "" {
		s.Name = s.Section.Name
	}
	return s, nil
}

func (r *reader) readRelocs() error {
	for i, h := range r.headers {
		if elf.SectionType(h.kind) != elf.SHT_RELA {
			continue
		}
		if uint64(h.info) >= uint64(len(r.sections)) || r.sections[h.info] == nil {
			return fmt.Errorf("relocation section %d modifies section %d, which is not there", i, h.info)
		}
		relocs, err := r.relocs(i)
		if err != nil {
			return fmt.Errorf("relocation section %d: %w", i, err)
		}
		name, err := cstring(r.shstr, h.name)
		if err != nil {
			return fmt.Errorf("section %d: %w", i, err)
		}
		target := r.sections[h.info]
		if name == ".rela"+target.Name && target.Relocs == nil {
			target.Relocs = relocs
		} else {
			target.Extra = append(target.Extra, RelaSection{Name: name, Flags: h.flags, Relocs: relocs})
		}
	}
	return nil
}

func (r *reader) relocs(i int) ([]Reloc, error) {
	b, err := r.contents(i)
	if err != nil {
		return nil, err
	}
	if len(b)%relaSize != 0 {
		return nil, fmt.Errorf("%d bytes, no multiple of %d", len(b), relaSize)
	}
	target := r.sections[r.headers[i].info]
	out := make([]Reloc, 0, len(b)/relaSize)
	for ; len(b) > 0; b = b[relaSize:] {
		info := le.Uint64(b[8:])
		rel := Reloc{Offset: le.Uint64(b), Type: uint32(info), Addend: int64(le.Uint64(b[16:]))}
		if n := info >> 32; n >= uint64(max(len(r.symbols), 1)) {
			return nil, fmt.Errorf("entry at %#x names symbol %d of %d", rel.Offset, n, len(r.symbols))
		} else if n > 0 {
			rel.Sym = r.symbols[n]
		}
		width, _ := RelocWidth(rel.Type)
		if rel.Offset > target.Size || uint64(width) > target.Size-rel.Offset {
			return nil, fmt.Errorf("entry at %#x lies outside section %q of %d bytes", rel.Offset, target.Name, target.Size)
		}
		out = append(out, rel)
	}
	sort.SliceStable(out, func(a, b int) bool { return out[a].Offset < out[b].Offset })
	return out, nil
}
