// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"debug/elf"
	"fmt"
	"strings"

	"kmend/internal/object"
	"kmend/internal/special"
)

// place is where a payload's section lies in the module.
type place struct {
	out *object.Section
	off uint64
}

// builder turns a Spec into an object file.
type builder struct {
	spec  *Spec
	facts *Facts

	rows     []outRow
	sections map[string]*object.Section         // by name, all rows; the empty ones are dropped in the end
	anchor   map[*object.Section]*object.Symbol // the symbol that stands for a section in relocations
	places   map[*object.Section]place
	owner    map[*object.Section]string        // payload section → patched object
	symbols  map[*object.Symbol]*object.Symbol // payload symbol → module symbol
	visible  map[*object.Symbol]bool           // the replacements
	locals   []*object.Symbol

	undef    map[string]*object.Symbol
	klp      map[string]*object.Symbol
	klpRela  map[klpKey]int // → index in the section's Extra
	versions map[string]uint32
	spaces   map[string]bool
	depends  map[string]bool
	stats    Stats
}

type klpKey struct {
	section *object.Section
	object  string
}

func newBuilder(spec *Spec, facts *Facts) *builder {
	b := &builder{
		spec: spec, facts: facts, rows: outRows(facts), owner: spec.sectionOwners(),
		sections: map[string]*object.Section{}, anchor: map[*object.Section]*object.Symbol{},
		places: map[*object.Section]place{}, symbols: map[*object.Symbol]*object.Symbol{}, visible: map[*object.Symbol]bool{},
		undef: map[string]*object.Symbol{}, klp: map[string]*object.Symbol{}, klpRela: map[klpKey]int{},
		versions: map[string]uint32{}, spaces: map[string]bool{}, depends: map[string]bool{},
		stats: Stats{KlpByObject: map[string]int{}},
	}
	for _, r := range b.rows {
		s := &object.Section{Name: r.name, Type: uint32(r.kind), Flags: r.flags, Align: r.align}
		if r.flags&uint64(elf.SHF_STRINGS) != 0 {
			s.Entsize = 1
		}
		b.sections[r.name] = s
		b.anchor[s] = &object.Symbol{Name: r.name, Bind: byte(elf.STB_LOCAL), Kind: byte(elf.STT_SECTION), Section: s}
	}
	return b
}

func (b *builder) row(name string) outRow {
	for _, r := range b.rows {
		if r.name == name {
			return r
		}
	}
	return outRow{}
}

// grow appends n bytes at the given alignment and returns their offset. Code
// is padded with int3, everything else with zeros.
func grow(s *object.Section, data []byte, n, align uint64) uint64 {
	align = max(align, 1)
	s.Align = max(s.Align, align)
	off := (s.Size + align - 1) &^ (align - 1)
	s.Size = off + n
	if elf.SectionType(s.Type) == elf.SHT_NOBITS {
		return off
	}
	for uint64(len(s.Data)) < off {
		pad := byte(0)
		if s.IsExec() {
			pad = 0xcc
		}
		s.Data = append(s.Data, pad)
	}
	s.Data = append(s.Data, data...)
	return off
}

// layOut gives every payload section its place.
func (b *builder) layOut() error {
	if err := b.layOutText(); err != nil {
		return err
	}
	for _, p := range b.spec.Payloads {
		for _, s := range p.File.Sections {
			if _, done := b.places[s]; done {
				continue
			}
			if err := b.put(p.Object, s); err != nil {
				return err
			}
		}
		if err := checkOrc(&p); err != nil {
			return err
		}
	}
	return nil
}

// layOutText places code object by object, the replaced functions of an object
// first and each followed by its cold parts (see the package invariants).
func (b *builder) layOutText() error {
	for _, o := range b.spec.Objects {
		for _, f := range o.Funcs {
			b.visible[f.New] = true
		}
		for _, f := range o.Funcs {
			if err := b.put(o.Name, f.New.Section); err != nil {
				return err
			}
			for _, s := range b.coldParts(f.New) {
				if err := b.put(o.Name, s); err != nil {
					return err
				}
			}
		}
		for _, p := range b.spec.Payloads {
			if p.Object != o.Name {
				continue
			}
			for _, s := range p.File.Sections {
				if _, done := b.places[s]; done || !s.IsExec() {
					continue
				}
				if err := b.put(o.Name, s); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// coldParts returns the sections of the parts GCC split off a function
// (NAME.cold), in file order, if they hold nothing else that is replaced.
func (b *builder) coldParts(fn *object.Symbol) []*object.Section {
	var out []*object.Section
	for _, p := range b.spec.Payloads {
		for _, s := range p.File.Symbols {
			if s.Section == nil || !s.Section.IsExec() || !s.IsFunc() || !strings.HasPrefix(s.Name, fn.Name+".cold") || !b.mine(p, fn) {
				continue
			}
			if _, done := b.places[s.Section]; !done && !b.holdsReplacement(s.Section) {
				out = append(out, s.Section)
			}
		}
	}
	return out
}

func (b *builder) mine(p Payload, fn *object.Symbol) bool {
	for _, s := range p.File.Sections {
		if s == fn.Section {
			return true
		}
	}
	return false
}

func (b *builder) holdsReplacement(s *object.Section) bool {
	for _, o := range b.spec.Objects {
		for _, f := range o.Funcs {
			if f.New.Section == s {
				return true
			}
		}
	}
	return false
}

// put appends one payload section to the module's section it belongs to.
func (b *builder) put(obj string, s *object.Section) error {
	if _, done := b.places[s]; done {
		return nil
	}
	name, err := placeName(b.facts, obj, s)
	if err != nil {
		return err
	}
	row := b.row(name)
	size, data, align := s.Size, s.Data, s.Align
	if elf.SectionType(s.Type) != elf.SHT_NOBITS && uint64(len(data)) != size {
		return &Error{Code: CodeSpec, Object: obj, Where: "section " + s.Name, Why: fmt.Sprintf("%d bytes of data, size says %d", len(data), size)}
	}
	if align > 4096 || align&(align-1) != 0 {
		return &Error{Code: CodeSection, Object: obj, Where: "section " + s.Name, Why: fmt.Sprintf("alignment %d: modules are aligned to a page at most", align)}
	}
	if row.stride > 0 {
		rest := (row.stride - size%row.stride) % row.stride
		if rest > row.short {
			return &Error{Code: CodeEntry, Object: obj, Where: "section " + s.Name,
				Why: fmt.Sprintf("%d bytes are no whole number of %d-byte entries", size, row.stride), Advice: "keep entries whole when cutting the object down"}
		}
		data = append(append([]byte{}, data...), make([]byte, rest)...)
		size, align = size+rest, 1 // entries follow each other at the stride, nothing else
	}
	if size == 0 {
		align = 1
	}
	if name == secStrings && size > 0 && data[size-1] != 0 {
		return &Error{Code: CodeSection, Object: obj, Where: "section " + s.Name, Why: "its last string is not terminated"}
	}
	out := b.sections[name]
	b.places[s] = place{out, grow(out, data, size, align)}
	return nil
}

// checkOrc makes sure that .orc_unwind and .orc_unwind_ip stay parallel: the
// unwinder pairs them by index (arch/x86/kernel/unwind_orc.c).
func checkOrc(p *Payload) error {
	var ips, orcs uint64
	for _, s := range p.File.Sections {
		switch s.Name {
		case special.OrcUnwindIP:
			ips += s.Size / 4
		case special.OrcUnwind:
			orcs += s.Size / special.OrcStride
		}
	}
	if ips != orcs {
		return &Error{Code: CodeEntry, Object: p.Object, Where: "section " + special.OrcUnwind,
			Why: fmt.Sprintf("%d entries for %d addresses", orcs, ips), Advice: "cut both ORC sections down together"}
	}
	return nil
}

// carrySymbols makes a module symbol of every symbol defined in a placed
// section. All become local: a livepatch exports nothing. Code symbols other
// than the replacements get a name that the kernel's lookup passes over.
func (b *builder) carrySymbols() error {
	for _, p := range b.spec.Payloads {
		for _, s := range p.File.Symbols {
			if s.Section == nil || s.IsSection() || elf.SymType(s.Kind) == elf.STT_FILE {
				continue
			}
			at, ok := b.places[s.Section]
			if !ok {
				continue // matters only if a relocation names it
			}
			if s.Value > s.Section.Size {
				return &Error{Code: CodeSpec, Object: p.Object, Where: s.Name, Why: "the symbol lies outside its section"}
			}
			if k := elf.SymType(s.Kind); k != elf.STT_NOTYPE && k != elf.STT_OBJECT && k != elf.STT_FUNC {
				return &Error{Code: CodeSpec, Object: p.Object, Where: s.Name, Why: fmt.Sprintf("symbols of type %s do not exist in modules", k)}
			}
			n := &object.Symbol{Name: s.Name, Bind: byte(elf.STB_LOCAL), Kind: s.Kind, Section: at.out, Value: at.off + s.Value, Size: s.Size}
			if at.out.IsExec() && !b.visible[s] && !strings.HasPrefix(n.Name, ".L") {
				n.Name = ".L" + n.Name
				b.stats.HiddenLocals++
			}
			b.symbols[s] = n
			b.locals = append(b.locals, n)
		}
	}
	return nil
}
