// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"bytes"
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"sort"
)

// symtab is the symbol table of a file, still as bytes.
type symtab struct {
	data, names []byte
	wide        []byte // SHT_SYMTAB_SHNDX, for section indices that do not fit
}

func (f *elfFile) symtab(i int) (*symtab, error) {
	var t symtab
	var err error
	if t.data, err = f.raw(i); err != nil {
		return nil, err
	}
	if link := int(f.sections[i].link); link < len(f.sections) {
		if t.names, err = f.raw(link); err != nil {
			return nil, err
		}
	}
	for j, s := range f.sections {
		if s.kind == elf.SHT_SYMTAB_SHNDX && int(s.link) == i {
			if t.wide, err = f.raw(j); err != nil {
				return nil, err
			}
		}
	}
	return &t, nil
}

func (t *symtab) len() int { return len(t.data) / symSize }

func (t *symtab) entry(i int) []byte { return t.data[i*symSize : (i+1)*symSize] }

// section is the section index of symbol i; false for those without one.
func (t *symtab) section(i int) (int, bool) {
	shndx := elf.SectionIndex(le.Uint16(t.entry(i)[6:]))
	if shndx == elf.SHN_XINDEX && len(t.wide)/4 > i {
		return int(le.Uint32(t.wide[4*i:])), true
	}
	return int(shndx), shndx != elf.SHN_UNDEF && shndx < elf.SHN_LORESERVE
}

// address is the value of symbol i; for ET_REL, by our own layout. Symbols
// that are defined elsewhere have 0: no attribute that we read refers to them.
func (f *elfFile) address(t *symtab, i int) (uint64, error) {
	value := le.Uint64(t.entry(i)[8:])
	if f.kind != elf.ET_REL {
		return value, nil
	}
	sec, ok := t.section(i)
	if !ok {
		return 0, nil
	}
	if sec >= len(f.sections) {
		return 0, fmt.Errorf("symbol %d is in section %d of %d: %w", i, sec, len(f.sections), ErrDamaged)
	}
	return f.base[sec] + value, nil
}

// relocate applies the relocations of section rela to data.
func (f *elfFile) relocate(data []byte, rela int) error {
	sec := &f.sections[rela]
	if sec.kind != elf.SHT_RELA || f.machine != elf.EM_X86_64 {
		return fmt.Errorf("section %d %s: %s for %s: link the file first: %w", rela, sec.name, sec.kind, f.machine, ErrUnsupported)
	}
	relas, err := f.raw(rela)
	if err != nil {
		return err
	}
	if int(sec.link) >= len(f.sections) {
		return fmt.Errorf("section %d %s: its symbols are in section %d of %d: %w", rela, sec.name, sec.link, len(f.sections), ErrDamaged)
	}
	t, err := f.symtab(int(sec.link))
	if err != nil {
		return err
	}
	values := make([]uint64, t.len())
	for i := range values {
		if values[i], err = f.address(t, i); err != nil {
			return err
		}
	}
	for ; len(relas) >= relaSize; relas = relas[relaSize:] {
		off, info, addend := le.Uint64(relas), le.Uint64(relas[8:]), le.Uint64(relas[16:])
		kind, sym := elf.R_X86_64(uint32(info)), info>>32
		if sym >= uint64(len(values)) {
			return fmt.Errorf("relocation at %#x: symbol %d of %d: %w", off, sym, len(values), ErrDamaged)
		}
		size := uint64(4)
		switch kind {
		case elf.R_X86_64_64:
			size = 8
		case elf.R_X86_64_32, elf.R_X86_64_32S:
		case elf.R_X86_64_NONE, elf.R_X86_64_DTPOFF32, elf.R_X86_64_DTPOFF64: // places of thread-local variables
			continue
		default:
			return fmt.Errorf("relocation at %#x: type %s is not known in debug information: %w", off, kind, ErrUnsupported)
		}
		if off > uint64(len(data)) || size > uint64(len(data))-off {
			return fmt.Errorf("relocation at %#x: the section has %d bytes: %w", off, len(data), ErrDamaged)
		}
		if size == 8 {
			le.PutUint64(data[off:], values[sym]+addend)
		} else {
			le.PutUint32(data[off:], uint32(values[sym]+addend))
		}
	}
	return nil
}

// symbol is a function symbol: its address and where its name is.
type symbol struct {
	addr   uint64
	name   uint32
	global bool
}

// symbols are the function symbols, by address.
type symbols struct {
	list  []symbol
	names []byte
}

// maxAliases bounds the symbols at one address: all are looked at for each
// function there.
const maxAliases = 4096

// functionSymbols reads the symbol table; a stripped file has an empty one.
func (f *elfFile) functionSymbols() (symbols, error) {
	for i, s := range f.sections {
		if s.kind != elf.SHT_SYMTAB {
			continue
		}
		t, err := f.symtab(i)
		if err != nil {
			return symbols{}, err
		}
		out := symbols{names: t.names}
		for j := range t.len() {
			e := t.entry(j)
			if kind := elf.ST_TYPE(e[4]); kind != elf.STT_FUNC && kind != elf.STT_GNU_IFUNC {
				continue
			}
			if _, ok := t.section(j); !ok {
				continue
			}
			addr, err := f.address(t, j)
			if err != nil {
				return symbols{}, err
			}
			out.list = append(out.list, symbol{addr: addr, name: le.Uint32(e), global: elf.ST_BIND(e[4]) != elf.STB_LOCAL})
		}
		slices.SortFunc(out.list, func(a, b symbol) int { return cmp.Compare(a.addr, b.addr) })
		for j := maxAliases; j < len(out.list); j++ {
			if addr := out.list[j].addr; out.list[j-maxAliases].addr == addr {
				return symbols{}, fmt.Errorf("more than %d function symbols at address %#x: %w", maxAliases, addr, ErrDamaged)
			}
		}
		return out, nil
	}
	return symbols{}, nil
}

// at is the symbol at addr that fits host best, see Inline.Symbol.
func (s *symbols) at(addr uint64, host string) string {
	var best []byte
	rank := 5
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].addr >= addr })
	for ; i < len(s.list) && s.list[i].addr == addr; i++ {
		name, ok := cstring(s.names, uint64(s.list[i].name))
		if !ok {
			continue
		}
		r := 4
		switch {
		case string(name) == host:
			r = 1
		case len(name) > len(host) && name[len(host)] == '.' && string(name[:len(host)]) == host:
			r = 2
		case s.list[i].global:
			r = 3
		}
		if r < rank || r == rank && bytes.Compare(name, best) < 0 {
			best, rank = name, r
		}
	}
	return string(best)
}
