// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"debug/elf"
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
)

// spacing separates the sections of a module in the running space: section n
// starts at n*spacing. No section of a module is larger.
const spacing = uint64(1) << 32

// module is a shipped .ko: sections without addresses, references that are
// relocations unless the assembler resolved them within a section.
type module struct {
	ko      *object.File
	byName  map[string][]*object.Symbol
	byPlace map[uint64][]*object.Symbol
	starts  map[*object.Section][]uint64 // offsets of symbols, ascending
	base    map[*object.Section]uint64
	section []*object.Section // by base / spacing
}

func newModule(ko *object.File) (*module, error) {
	m := &module{
		ko: ko, byName: map[string][]*object.Symbol{}, byPlace: map[uint64][]*object.Symbol{},
		starts: map[*object.Section][]uint64{}, base: map[*object.Section]uint64{}, section: []*object.Section{nil},
	}
	for _, s := range ko.Sections {
		if s.Size >= spacing {
			return nil, fmt.Errorf("read module: section %s has %d bytes: the file is damaged", s.Name, s.Size)
		}
		if len(s.Extra) > 0 && s.IsAlloc() {
			return nil, fmt.Errorf("read module: section %s has a second relocation section, %s: only modules as shipped can be compared", s.Name, s.Extra[0].Name)
		}
		m.base[s] = uint64(len(m.section)) * spacing
		m.section = append(m.section, s)
	}
	for _, s := range ko.Symbols {
		if s.IsSection() || s.Name == "" || s.IsUndefined() {
			continue
		}
		m.byName[s.Name] = append(m.byName[s.Name], s)
		if s.Section != nil && s.Value < spacing {
			m.byPlace[m.place(s)] = append(m.byPlace[m.place(s)], s)
			m.starts[s.Section] = append(m.starts[s.Section], s.Value)
		}
	}
	for _, v := range m.starts {
		sort.Slice(v, func(i, j int) bool { return v[i] < v[j] })
	}
	return m, nil
}

func (m *module) place(s *object.Symbol) uint64 { return m.base[s.Section] + s.Value }

// at splits a running address; sec is nil if it is not in a section.
func (m *module) split(addr uint64) (sec *object.Section, off uint64) {
	if n := addr / spacing; n < uint64(len(m.section)) {
		return m.section[n], addr % spacing
	}
	return nil, addr
}

func (m *module) symbol(s *object.Symbol) Symbol {
	pos, ok := moduleSympos(m.byName[s.Name], s)
	if !ok {
		pos = -1
	}
	out := Symbol{Name: s.Name, Addr: s.Value, Global: !s.IsLocal(), Sympos: pos}
	if s.Section != nil {
		out.Section, out.place = s.Section.Name, m.place(s)
	}
	return out
}

// ModuleSympos is the position a livepatch has to give to reach s in the
// module: 0 if the name is unique, else counted from 1 over the defined symbols
// of that name in symbol table order (kernel/module/kallsyms.c,
// module_kallsyms_on_each_symbol). Symbols in sections named .init* and symbols
// without an allocated section are counted only until the module's init part is
// dropped; ok is false if that changes the position of s, or if s is itself
// such a symbol.
func ModuleSympos(ko *object.File, s *object.Symbol) (pos int, ok bool) {
	var same []*object.Symbol
	for _, x := range ko.Symbols {
		if x.Name == s.Name && !x.IsSection() && !x.IsUndefined() {
			same = append(same, x)
		}
	}
	return moduleSympos(same, s)
}

func moduleSympos(same []*object.Symbol, s *object.Symbol) (pos int, ok bool) {
	before, after := 0, 0 // position with and without the init part
	for i, x := range same {
		if stays(x) {
			after++
		}
		if x == s {
			before = i + 1
			break
		}
	}
	if before == 0 || !stays(s) || before != after {
		return 0, false
	}
	if len(same) == 1 {
		return 0, true
	}
	return before, true
}

// stays reports whether a module keeps the symbol after its init function has
// run (kernel/module/kallsyms.c, is_core_symbol; kernel/module/main.c,
// module_init_section).
func stays(s *object.Symbol) bool {
	return s.Section != nil && s.Section.IsAlloc() && !strings.HasPrefix(s.Section.Name, ".init")
}

func (m *module) functions(name string, global bool) []Symbol {
	var out []Symbol
	for _, s := range m.byName[name] {
		if s.IsFunc() && s.Section != nil && s.Section.IsExec() && s.IsLocal() != global {
			out = append(out, m.symbol(s))
		}
	}
	return out
}

func (m *module) room(s Symbol) uint64 {
	sec, off := m.split(s.place)
	if sec == nil || off >= sec.Size {
		return 0
	}
	v := m.starts[sec]
	i := sort.Search(len(v), func(i int) bool { return v[i] > off })
	if i < len(v) && v[i] <= sec.Size {
		return v[i] - off
	}
	return sec.Size - off
}

func (m *module) code(addr uint64, n int) []byte {
	sec, off := m.split(addr)
	if sec == nil || off > uint64(len(sec.Data)) {
		return nil
	}
	return sec.Data[off:min(off+uint64(n), uint64(len(sec.Data)))]
}

func (m *module) data(addr uint64, n int) ([]byte, error) {
	sec, off := m.split(addr)
	if sec == nil || off > uint64(len(sec.Data)) || uint64(n) > uint64(len(sec.Data))-off {
		return nil, fmt.Errorf("the module has no %d bytes of contents at %s", n, m.describe(addr))
	}
	return sec.Data[off : off+uint64(n)], nil
}

func (m *module) describe(addr uint64) string {
	if sec, off := m.split(addr); sec != nil {
		return fmt.Sprintf("%s+%#x", sec.Name, off)
	}
	return fmt.Sprintf("%#x", addr)
}

// readsTo decodes a field by its relocation, or by its value if the assembler
// resolved a reference within the section.
func (m *module) readsTo(addr uint64, field []byte, t uint32) (target, error) {
	sec, off := m.split(addr)
	if sec == nil {
		return target{}, fmt.Errorf("no section at %#x", addr)
	}
	i := searchRelocs(sec.Relocs, off)
	for i < len(sec.Relocs) && sec.Relocs[i].Offset == off && sec.Relocs[i].Type == uint32(elf.R_X86_64_NONE) {
		i++
	}
	if i == len(sec.Relocs) || sec.Relocs[i].Offset >= off+uint64(len(field)) {
		return m.resolved(sec, addr, field, t)
	}
	r := sec.Relocs[i]
	width, _ := object.RelocWidth(r.Type)
	switch {
	case r.Offset != off || width != len(field):
		return target{}, fmt.Errorf("a relocation starts %d bytes into the field", r.Offset-off)
	case r.Type != t && !(object.PCRelative(r.Type) && object.PCRelative(t)):
		return target{}, fmt.Errorf("relocation is %s, ours is %s", object.RelocName(r.Type), object.RelocName(t))
	case !allZero(field): // the loader refuses it (arch/x86/kernel/module.c)
		return target{}, fmt.Errorf("relocated field holds % x instead of zeros", field)
	case r.Sym == nil:
		return target{}, fmt.Errorf("relocation %s names no symbol", object.RelocName(r.Type))
	case r.Sym.IsUndefined():
		return target{name: r.Sym.Name, addr: uint64(r.Addend)}, nil
	case r.Sym.Section == nil:
		return target{}, fmt.Errorf("relocation names %s with section index %#x", r.Sym.Name, r.Sym.Shndx)
	}
	return target{addr: m.place(r.Sym) + uint64(r.Addend)}, nil
}

func (m *module) resolved(sec *object.Section, addr uint64, field []byte, t uint32) (target, error) {
	if !object.PCRelative(t) {
		return target{}, fmt.Errorf("has no relocation, ours has %s", object.RelocName(t))
	}
	got, err := fieldValue(addr, field, t)
	if err != nil {
		return target{}, err
	}
	// The value may lie just before the section, by the addend.
	if off := got.addr + 16 - m.base[sec]; off > sec.Size+32 {
		return target{}, fmt.Errorf("has no relocation and leads out of section %s", sec.Name)
	}
	return got, nil
}

func (m *module) relocated(from, to uint64) int {
	sec, off := m.split(from)
	if sec == nil {
		return 0
	}
	n := 0
	for i := searchRelocs(sec.Relocs, off); i < len(sec.Relocs) && sec.Relocs[i].Offset < off+(to-from); i++ {
		if sec.Relocs[i].Type != uint32(elf.R_X86_64_NONE) {
			n++
		}
	}
	return n
}

func (m *module) linked() bool { return false }

func (m *module) has(name string, global bool, addr uint64) bool {
	for _, s := range m.byPlace[addr] {
		if s.Name == name && (!global || !s.IsLocal()) {
			return true
		}
	}
	return false
}

func (m *module) defines(name string) bool { return len(m.byName[name]) > 0 }

func (m *module) at(addr uint64) []Symbol {
	var out []Symbol
	for _, s := range m.byPlace[addr] {
		out = append(out, m.symbol(s))
	}
	return out
}

func (m *module) locate(addr uint64) (string, uint64) {
	if sec, off := m.split(addr); sec != nil {
		return sec.Name, off
	}
	return "", addr
}
