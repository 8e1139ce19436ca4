// SPDX-License-Identifier: Apache-2.0

package klp_test

import (
	"debug/elf"
	"testing"

	"kmend/internal/klp"
	"kmend/internal/object"
)

// synthFacts are those of Debian's 6.1 kernels, with the CRCs made up: what
// depends on them depends on no installed kernel.
func synthFacts() *klp.Facts {
	return &klp.Facts{
		Release: "6.1.0-0-test", Vermagic: "6.1.0-0-test SMP preempt mod_unload modversions ", BuildID: "00112233445566778899aabbccddeeff00112233",
		Module: klp.ModuleLayout{Size: 896, Name: 24, NameLen: 56, Init: 312, Exit: 848},
		Func:   klp.FuncLayout{Size: 152, OldName: 0, NewFunc: 8, OldSympos: 16},
		Object: klp.ObjectLayout{Size: 168, Name: 0, Funcs: 8, Callbacks: 16, CallbacksSize: 40},
		Patch:  klp.PatchLayout{Size: 200, Mod: 0, Objs: 8, States: 16, Replace: 24}, DynDebug: 56,
		Retpoline: true, Rethunk: true, Modversions: true,
		Glue:  map[string]uint32{"module_layout": 1, "klp_enable_patch": 2, "__x86_return_thunk": 3, "__module_get": 4},
		Taken: map[string]bool{"ext4": true},
	}
}

// unit is an object under construction.
type unit struct {
	f    *object.File
	refs map[*object.Symbol]klp.Ref
}

func newUnit() *unit {
	return &unit{f: &object.File{}, refs: map[*object.Symbol]klp.Ref{}}
}

const (
	ax  = uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR)
	a   = uint64(elf.SHF_ALLOC)
	aw  = uint64(elf.SHF_ALLOC | elf.SHF_WRITE)
	ams = uint64(elf.SHF_ALLOC | elf.SHF_MERGE | elf.SHF_STRINGS)
)

func (u *unit) section(name string, flags uint64, align uint64, data []byte) *object.Section {
	s := &object.Section{Name: name, Type: uint32(elf.SHT_PROGBITS), Flags: flags, Align: align, Data: data, Size: uint64(len(data))}
	if flags == ams {
		s.Entsize = 1
	}
	u.f.Sections = append(u.f.Sections, s)
	u.f.Symbols = append(u.f.Symbols, &object.Symbol{Name: name, Kind: byte(elf.STT_SECTION), Section: s})
	return s
}

func (u *unit) symbol(name string, kind elf.SymType, s *object.Section, size uint64) *object.Symbol {
	y := &object.Symbol{Name: name, Bind: byte(elf.STB_GLOBAL), Kind: byte(kind), Section: s, Size: size}
	u.f.Symbols = append(u.f.Symbols, y)
	return y
}

// code adds a function of n bytes of nop with its ORC data.
func (u *unit) code(section, name string, n int) *object.Symbol {
	data := make([]byte, n)
	for i := range data {
		data[i] = 0x90
	}
	s := u.section(section, ax, 16, data)
	y := u.symbol(name, elf.STT_FUNC, s, uint64(n))
	for _, e := range []struct {
		at  int64
		orc []byte
	}{{0, []byte{8, 0, 0, 0, 5, 0}}, {int64(n), make([]byte, 6)}} {
		u.entry(".orc_unwind", a, e.orc)
		ip, at := u.entry(".orc_unwind_ip", a, make([]byte, 4))
		u.reloc(ip, at, elf.R_X86_64_PC32, u.anchor(s), e.at)
	}
	return y
}

// entry appends to a table, which it makes if need be.
func (u *unit) entry(table string, flags uint64, data []byte) (*object.Section, uint64) {
	s := u.f.Section(table)
	if s == nil {
		s = u.section(table, flags, 1, nil)
	}
	at := s.Size
	s.Data = append(s.Data, data...)
	s.Size = uint64(len(s.Data))
	return s, at
}

func (u *unit) anchor(s *object.Section) *object.Symbol {
	for _, y := range u.f.Symbols {
		if y.IsSection() && y.Section == s {
			return y
		}
	}
	return nil
}

// reloc adds a relocation and clears its place, as compilers leave it.
func (u *unit) reloc(s *object.Section, at uint64, kind elf.R_X86_64, y *object.Symbol, addend int64) {
	s.Relocs = append(s.Relocs, object.Reloc{Offset: at, Type: uint32(kind), Sym: y, Addend: addend})
	if width, ok := object.RelocWidth(uint32(kind)); ok && at+uint64(width) <= uint64(len(s.Data)) {
		clear(s.Data[at : at+uint64(width)])
	}
}

// undef adds an undefined symbol with its explanation.
func (u *unit) undef(name string, ref klp.Ref) *object.Symbol {
	y := &object.Symbol{Name: name, Bind: byte(elf.STB_GLOBAL)}
	u.f.Symbols = append(u.f.Symbols, y)
	if ref.Kind != 0 {
		u.refs[y] = ref
	}
	return y
}

// synthSpec replaces two functions of vmlinux and one of module ext4, with
// everything that has its own way into a module.
func synthSpec() (klp.Spec, *unit, *unit) {
	v := newUnit()
	helper := v.code(".text.helper", "helper", 20)
	cold := v.code(".text.unlikely.one", "one.cold", 7)
	one := v.code(".text.one", "one", 33)
	two := v.code(".text.two", "two", 18)
	str := v.section(".rodata.one.str1.1", ams, 1, []byte("hello\x00"))
	tbl := v.section(".rodata.table", a, 16, make([]byte, 16))
	v.symbol("table", elf.STT_OBJECT, tbl, 16)
	dat := v.section(".data.counter", aw, 4, []byte{7, 0, 0, 0})
	counter := v.symbol("counter", elf.STT_OBJECT, dat, 4)
	bss := v.section(".bss.once", aw, 8, nil)
	bss.Type, bss.Size = uint32(elf.SHT_NOBITS), 24
	v.symbol("once", elf.STT_OBJECT, bss, 24)
	printk := v.undef("_printk", klp.Ref{Kind: klp.RefExport, Object: "vmlinux", Name: "_printk", CRC: 0x99})
	spaced := v.undef("spaced", klp.Ref{Kind: klp.RefExport, Object: "vmlinux", Name: "spaced", CRC: 0x98, Namespace: "CRYPTO_INTERNAL"})
	hidden := v.undef("hidden", klp.Ref{Kind: klp.RefKlp, Object: "vmlinux", Name: "hidden", Sympos: 2})
	v.reloc(one.Section, 1, elf.R_X86_64_PLT32, printk, -4)
	v.reloc(one.Section, 6, elf.R_X86_64_32S, v.anchor(str), 2)
	v.reloc(one.Section, 11, elf.R_X86_64_PC32, hidden, -4)
	v.reloc(one.Section, 16, elf.R_X86_64_PC32, v.anchor(bss), 4)
	v.reloc(one.Section, 21, elf.R_X86_64_PLT32, helper, -4)
	v.reloc(one.Section, 26, elf.R_X86_64_PC32, cold, -4)
	v.reloc(helper.Section, 1, elf.R_X86_64_PC32, counter, -4)
	v.reloc(two.Section, 1, elf.R_X86_64_PLT32, spaced, -4)
	v.reloc(tbl, 8, elf.R_X86_64_64, two, 0)
	para, at := v.entry(".parainstructions", a, append(make([]byte, 8), 1, 2))
	v.reloc(para, at, elf.R_X86_64_64, v.anchor(one.Section), 31)

	m := newUnit()
	three := m.code(".text.three", "three", 25)
	early := m.undef("early", klp.Ref{Kind: klp.RefKlp, Object: "vmlinux", Name: "early"})
	late := m.undef("late", klp.Ref{Kind: klp.RefKlp, Object: "ext4", Name: "late.isra.0", Sympos: 1})
	dep := m.undef("dep", klp.Ref{Kind: klp.RefKlp, Object: "jbd2", Name: "dep"})
	other := m.undef("helper", klp.Ref{Kind: klp.RefPayload, Target: helper})
	m.reloc(three.Section, 1, elf.R_X86_64_PLT32, late, -4)
	m.reloc(three.Section, 6, elf.R_X86_64_PLT32, early, -4)
	m.reloc(three.Section, 11, elf.R_X86_64_PLT32, dep, -4)
	m.reloc(three.Section, 16, elf.R_X86_64_PLT32, other, -4)

	return klp.Spec{
		Name: "livepatch_test", Description: "a test", Replace: true, Pin: true,
		Objects: []klp.Object{
			{Name: "vmlinux", Funcs: []klp.Func{{OldName: "one", New: one}, {OldName: "two", Sympos: 3, New: two}}},
			{Name: "ext4", Funcs: []klp.Func{{OldName: "three", New: three}}},
		},
		Payloads: []klp.Payload{{Object: "vmlinux", File: v.f, Refs: v.refs}, {Object: "ext4", File: m.f, Refs: m.refs}},
	}, v, m
}

func mustWrite(t *testing.T, spec klp.Spec) ([]byte, klp.Stats, *object.File) {
	t.Helper()
	data, stats, err := klp.Write(spec, synthFacts())
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return data, stats, f
}
