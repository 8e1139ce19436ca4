// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	ehdrSize = 64
	shdrSize = 64
	chdrSize = 24
	symSize  = 24
	relaSize = 24

	// maxSection bounds a section after decompression. Debian's vmlinux has 174
	// MB of .debug_info.
	maxSection = 2 << 30
)

var le = binary.LittleEndian

// sections are the sections that hold what is looked for, uncompressed and
// relocated. All but info and abbrev may be missing.
type sections struct {
	info, abbrev, str, lineStr, line     []byte
	strOffsets, addr, ranges, rangeLists []byte
}

type section struct {
	name            string
	kind            elf.SectionType
	flags           elf.SectionFlag
	addr, off, size uint64
	link, info      uint32
	align           uint64
}

// elfFile is what is needed of an ELF file.
type elfFile struct {
	data     []byte
	kind     elf.Type
	machine  elf.Machine
	sections []section
	// base is, for ET_REL, an address that we give to each section with code,
	// so that an address names a section too; 0 for others.
	base []uint64
}

func readELF(data []byte) (*elfFile, error) {
	if len(data) < ehdrSize || string(data[:4]) != elf.ELFMAG {
		return nil, fmt.Errorf("not an ELF file (%d bytes): name a vmlinux, a module or an object file: %w", len(data), ErrDamaged)
	}
	if elf.Class(data[4]) != elf.ELFCLASS64 || elf.Data(data[5]) != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("not a 64-bit little-endian ELF file (%s, %s): %w", elf.Class(data[4]), elf.Data(data[5]), ErrUnsupported)
	}
	f := &elfFile{data: data, kind: elf.Type(le.Uint16(data[16:])), machine: elf.Machine(le.Uint16(data[18:]))}
	if f.kind != elf.ET_REL && f.kind != elf.ET_EXEC && f.kind != elf.ET_DYN {
		return nil, fmt.Errorf("ELF file of type %s: neither program nor object file: %w", f.kind, ErrUnsupported)
	}
	if err := f.readSections(); err != nil {
		return nil, err
	}
	if f.kind == elf.ET_REL {
		f.layOut()
	}
	return f, nil
}

func (f *elfFile) readSections() error {
	d := f.data
	shoff, shnum, shstrndx := le.Uint64(d[40:]), uint64(le.Uint16(d[60:])), uint64(le.Uint16(d[62:]))
	if shoff == 0 {
		return fmt.Errorf("the file has no sections: %w", ErrNoDebugInfo)
	}
	if n := le.Uint16(d[58:]); n != shdrSize || shoff > uint64(len(d)) || uint64(len(d))-shoff < shdrSize {
		return fmt.Errorf("section headers of %d bytes at %#x do not fit the file of %d bytes: is it truncated? %w", n, shoff, len(d), ErrDamaged)
	}
	if shnum == 0 { // gABI: the real count is in the first header
		shnum = le.Uint64(d[shoff+32:])
	}
	if shstrndx == uint64(elf.SHN_XINDEX) {
		shstrndx = uint64(le.Uint32(d[shoff+40:]))
	}
	if shnum > (uint64(len(d))-shoff)/shdrSize || shstrndx >= shnum {
		return fmt.Errorf("%d section headers at %#x, names in section %d, do not fit the file of %d bytes: is it truncated? %w", shnum, shoff, shstrndx, len(d), ErrDamaged)
	}
	f.sections = make([]section, shnum)
	for i := range f.sections {
		h := d[shoff+uint64(i)*shdrSize:]
		f.sections[i] = section{
			kind: elf.SectionType(le.Uint32(h[4:])), flags: elf.SectionFlag(le.Uint64(h[8:])),
			addr: le.Uint64(h[16:]), off: le.Uint64(h[24:]), size: le.Uint64(h[32:]),
			link: le.Uint32(h[40:]), info: le.Uint32(h[44:]), align: le.Uint64(h[48:]),
		}
	}
	names, err := f.raw(int(shstrndx))
	if err != nil {
		return err
	}
	for i := range f.sections {
		off := le.Uint32(d[shoff+uint64(i)*shdrSize:])
		name, ok := cstring(names, uint64(off))
		if !ok && off != 0 {
			return fmt.Errorf("section %d: its name at %#x is not in the table of %d bytes, or longer than %d: %w", i, off, len(names), maxText, ErrDamaged)
		}
		f.sections[i].name = string(name)
	}
	return nil
}

// layOut gives sections with code addresses of their own.
func (f *elfFile) layOut() {
	f.base = make([]uint64, len(f.sections))
	next := uint64(1 << 12)
	for i, s := range f.sections {
		if s.flags&elf.SHF_EXECINSTR != 0 && s.size < 1<<40 {
			f.base[i] = next
			next += (s.size + 1<<12) &^ 0xff // a symbol at the end is not one of the next section
		}
	}
}

// maxText bounds names and paths, so that many that end in one long string do
// not take up more memory than the file deserves. The kernel's symbols have 512
// bytes at most (KSYM_NAME_LEN).
const maxText = 1024

// cstring is the string at off in a table, without its final zero.
func cstring(table []byte, off uint64) ([]byte, bool) {
	if off >= uint64(len(table)) {
		return nil, false
	}
	table = table[off:]
	n := bytes.IndexByte(table[:min(len(table), maxText+1)], 0)
	if n < 0 {
		return nil, false
	}
	return table[:n], true
}

// raw returns the bytes of section i as they are in the file.
func (f *elfFile) raw(i int) ([]byte, error) {
	s := &f.sections[i]
	if s.kind == elf.SHT_NOBITS {
		return nil, nil
	}
	if s.off > uint64(len(f.data)) || s.size > uint64(len(f.data))-s.off {
		return nil, fmt.Errorf("section %d %s: %d bytes at %#x do not fit the file of %d bytes: is it truncated? %w", i, s.name, s.size, s.off, len(f.data), ErrDamaged)
	}
	return f.data[s.off : s.off+s.size : s.off+s.size], nil
}

// contents returns the bytes of section i uncompressed; fresh says that they
// are not those of the file.
func (f *elfFile) contents(i int) (data []byte, fresh bool, err error) {
	data, err = f.raw(i)
	if err != nil || f.sections[i].flags&elf.SHF_COMPRESSED == 0 {
		return data, false, err
	}
	data, err = decompress(data)
	if err != nil {
		return nil, false, fmt.Errorf("section %d %s: %w", i, f.sections[i].name, err)
	}
	return data, true, nil
}

// decompress undoes SHF_COMPRESSED (gABI, Elf64_Chdr). What it allocates is
// bounded by what really comes out, not by what the header promises.
func decompress(data []byte) ([]byte, error) {
	if len(data) < chdrSize {
		return nil, fmt.Errorf("compressed section of %d bytes has no header: %w", len(data), ErrDamaged)
	}
	kind, size := elf.CompressionType(le.Uint32(data)), le.Uint64(data[8:])
	if size > maxSection {
		return nil, fmt.Errorf("compressed section promises %d bytes, more than %d: decompress it first (objcopy --decompress-debug-sections): %w", size, maxSection, ErrUnsupported)
	}
	var r io.Reader
	switch kind {
	case elf.COMPRESS_ZLIB:
		z, err := zlib.NewReader(bytes.NewReader(data[chdrSize:]))
		if err != nil {
			return nil, fmt.Errorf("decompress (zlib): %w: %w", err, ErrDamaged)
		}
		r = z
	case elf.COMPRESS_ZSTD:
		z, err := zstd.NewReader(bytes.NewReader(data[chdrSize:]), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderMaxMemory(maxSection))
		if err != nil {
			return nil, fmt.Errorf("decompress (zstd): %w: %w", err, ErrDamaged)
		}
		defer z.Close()
		r = z
	default:
		return nil, fmt.Errorf("section compressed by %s: decompress it first (objcopy --decompress-debug-sections): %w", kind, ErrUnsupported)
	}
	out := bytes.NewBuffer(make([]byte, 0, min(size, 64*uint64(len(data)))+bytes.MinRead))
	n, err := io.Copy(out, io.LimitReader(r, int64(size)+1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w: %w", err, ErrDamaged)
	}
	if uint64(n) != size {
		return nil, fmt.Errorf("decompress: header promises %d bytes, got %d or more: %w", size, n, ErrDamaged)
	}
	return out.Bytes(), nil
}

// relocSections finds the section with the relocations of each section, and
// refuses files that other sections show not to be for us.
func (f *elfFile) relocSections() (map[int]int, error) {
	relocs := map[int]int{}
	for i, sec := range f.sections {
		if sec.kind == elf.SHT_RELA || sec.kind == elf.SHT_REL {
			relocs[int(sec.info)] = i
		}
		switch sec.name {
		case ".gnu_debugaltlink":
			return nil, fmt.Errorf("dwz moved parts of the debug information to another file (.gnu_debugaltlink): take a file that dwz -m has not been run on: %w", ErrUnsupported)
		case ".zdebug_info":
			return nil, fmt.Errorf("debug information compressed in GNU's old form (.zdebug_info): decompress it first (objcopy --decompress-debug-sections): %w", ErrUnsupported)
		}
	}
	return relocs, nil
}

// debugSections finds the sections with debug information.
func (f *elfFile) debugSections() (sections, error) {
	var s sections
	wanted := map[string]*[]byte{
		".debug_info": &s.info, ".debug_abbrev": &s.abbrev, ".debug_str": &s.str,
		".debug_line_str": &s.lineStr, ".debug_line": &s.line, ".debug_str_offsets": &s.strOffsets,
		".debug_addr": &s.addr, ".debug_ranges": &s.ranges, ".debug_rnglists": &s.rangeLists,
	}
	relocs, err := f.relocSections()
	if err != nil {
		return s, err
	}
	found := map[string]bool{}
	for i, sec := range f.sections {
		to := wanted[sec.name]
		if to == nil || sec.kind == elf.SHT_NOBITS {
			continue
		}
		if found[sec.name] {
			return s, fmt.Errorf("section %d: a second %s (types in COMDAT groups?): link the file with ld -r first: %w", i, sec.name, ErrUnsupported)
		}
		found[sec.name] = true
		data, fresh, err := f.contents(i)
		if err != nil {
			return s, err
		}
		// An image linked with --emit-relocs has relocations, but they are done.
		if r, ok := relocs[i]; ok && f.kind == elf.ET_REL {
			if !fresh {
				data = bytes.Clone(data)
			}
			if err := f.relocate(data, r); err != nil {
				return s, fmt.Errorf("relocate %s: %w", sec.name, err)
			}
		}
		*to = data
	}
	if !found[".debug_info"] {
		return s, fmt.Errorf("no section .debug_info: compile with -g, or name the file that the debug package has: %w", ErrNoDebugInfo)
	}
	if !found[".debug_abbrev"] {
		return s, fmt.Errorf("there is .debug_info, but no .debug_abbrev: %w", ErrDamaged)
	}
	return s, nil
}
