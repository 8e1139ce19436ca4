// SPDX-License-Identifier: Apache-2.0

package klp_test

import (
	"debug/elf"
	"errors"
	"strings"
	"testing"

	"kmend/internal/klp"
	"kmend/internal/object"
)

func TestRefusals(t *testing.T) {
	type change func(s *klp.Spec, v, m *unit)
	on := func(u *unit, name string) *object.Symbol {
		for _, y := range u.f.Symbols {
			if y.Name == name && !y.IsSection() {
				return y
			}
		}
		t.Fatalf("no symbol %s", name)
		return nil
	}
	table := func(u *unit, name string, flags uint64, n int, kind elf.R_X86_64, owner *object.Symbol, at int64) {
		s, off := u.entry(name, flags, make([]byte, n))
		u.reloc(s, off, kind, owner, at)
	}
	cases := []struct {
		name, code, text string
		change           change
	}{
		{"no name", klp.CodeName, "empty", func(s *klp.Spec, v, m *unit) { s.Name = "" }},
		{"capital", klp.CodeName, "a-z", func(s *klp.Spec, v, m *unit) { s.Name = "Livepatch" }},
		{"dash", klp.CodeName, "a-z", func(s *klp.Spec, v, m *unit) { s.Name = "live-patch" }},
		{"long name", klp.CodeName, "longer than 55", func(s *klp.Spec, v, m *unit) { s.Name = strings.Repeat("a", 56) }},
		{"taken name", klp.CodeName, "module of that name", func(s *klp.Spec, v, m *unit) { s.Name = "ext4" }},
		{"object with dot", klp.CodeName, "cannot parse", func(s *klp.Spec, v, m *unit) { s.Objects[1].Name = "ext4.ko" }},
		{"long object", klp.CodeName, "cannot parse", func(s *klp.Spec, v, m *unit) { s.Objects[1].Name = strings.Repeat("a", 56) }},
		{"symbol with comma", klp.CodeName, "cannot parse", func(s *klp.Spec, v, m *unit) { s.Objects[0].Funcs[0].OldName = "a,b" }},
		{"long symbol", klp.CodeName, "cannot parse", func(s *klp.Spec, v, m *unit) {
			v.refs[on(v, "hidden")] = klp.Ref{Kind: klp.RefKlp, Object: "vmlinux", Name: strings.Repeat("s", 512)}
		}},
		{"long export", klp.CodeName, "1 to 55", func(s *klp.Spec, v, m *unit) {
			v.refs[on(v, "spaced")] = klp.Ref{Kind: klp.RefExport, Object: "vmlinux", Name: strings.Repeat("s", 56)}
		}},
		{"no objects", klp.CodeSpec, "no object", func(s *klp.Spec, v, m *unit) { s.Objects = nil }},
		{"object twice", klp.CodeSpec, "twice", func(s *klp.Spec, v, m *unit) { s.Objects = append(s.Objects, s.Objects[1]) }},
		{"no functions", klp.CodeSpec, "no function", func(s *klp.Spec, v, m *unit) { s.Objects[1].Funcs = nil }},
		{"function twice", klp.CodeSpec, "twice", func(s *klp.Spec, v, m *unit) {
			s.Objects[0].Funcs[1].OldName, s.Objects[0].Funcs[1].Sympos = "one", 1
		}},
		{"replacement nowhere", klp.CodeSpec, "in no payload", func(s *klp.Spec, v, m *unit) { s.Objects[0].Funcs[0].New = nil }},
		{"replacement elsewhere", klp.CodeSpec, "payload of ext4", func(s *klp.Spec, v, m *unit) { s.Objects[0].Funcs[0].New = on(m, "three") }},
		{"replacement is data", klp.CodeSpec, "no function", func(s *klp.Spec, v, m *unit) { s.Objects[0].Funcs[0].New = on(v, "counter") }},
		{"payload of a stranger", klp.CodeSpec, "no function is replaced", func(s *klp.Spec, v, m *unit) {
			s.Payloads = append(s.Payloads, klp.Payload{Object: "xfs", File: &object.File{}})
		}},
		{"shared section", klp.CodeSharedSection, "shares", func(s *klp.Spec, v, m *unit) { on(v, "one").Value = 8 }},
		{"init code", klp.CodeSection, "stay apart", func(s *klp.Spec, v, m *unit) { v.code(".init.text", "i", 3) }},
		{"noinstr code", klp.CodeSection, "stay apart", func(s *klp.Spec, v, m *unit) { v.code(".noinstr.text", "i", 3) }},
		{"per-CPU data", klp.CodeSection, "per-CPU", func(s *klp.Spec, v, m *unit) { v.section(".data..percpu", aw, 8, make([]byte, 8)) }},
		{"per-CPU data of a kind", klp.CodeSection, "per-CPU", func(s *klp.Spec, v, m *unit) { v.section(".data..percpu..shared_aligned", aw, 8, make([]byte, 8)) }},
		{"unknown data", klp.CodeSection, "does not know", func(s *klp.Spec, v, m *unit) { v.section("__tracepoints", aw, 8, make([]byte, 8)) }},
		{"unknown constants", klp.CodeSection, "does not know", func(s *klp.Spec, v, m *unit) { v.section("__param", a, 8, make([]byte, 8)) }},
		{"debug data", klp.CodeSection, "never loaded", func(s *klp.Spec, v, m *unit) { v.section(".debug_info", 0, 1, make([]byte, 8)) }},
		{"open string", klp.CodeSection, "not terminated", func(s *klp.Spec, v, m *unit) { v.section(".rodata.str1.1", ams, 1, []byte("x")) }},
		{"half a bug entry", klp.CodeEntry, "12-byte", func(s *klp.Spec, v, m *unit) { v.section("__bug_table", aw, 1, make([]byte, 13)) }},
		{"ORC not parallel", klp.CodeEntry, "8 addresses", func(s *klp.Spec, v, m *unit) { v.entry(".orc_unwind", a, make([]byte, 6)) }},
		{"relocation type", klp.CodeRelocation, "GOTPCREL", func(s *klp.Spec, v, m *unit) {
			v.reloc(on(v, "two").Section, 8, elf.R_X86_64_GOTPCREL, on(v, "_printk"), 0)
		}},
		{"relocation overlap", klp.CodeRelocation, "same bytes", func(s *klp.Spec, v, m *unit) {
			v.reloc(on(v, "two").Section, 3, elf.R_X86_64_PC32, on(v, "_printk"), 0)
		}},
		{"relocation outside", klp.CodeRelocation, "outside", func(s *klp.Spec, v, m *unit) {
			v.reloc(on(v, "two").Section, 16, elf.R_X86_64_PC32, on(v, "_printk"), 0)
		}},
		{"nothing known of a symbol", klp.CodeUnresolved, "nothing says", func(s *klp.Spec, v, m *unit) { delete(v.refs, on(v, "hidden")) }},
		{"section left out", klp.CodeUnresolved, "no payload includes", func(s *klp.Spec, v, m *unit) { v.f.Sections = v.f.Sections[1:] }},
		{"two CRCs", klp.CodeCRC, "both", func(s *klp.Spec, v, m *unit) {
			v.refs[on(v, "spaced")] = klp.Ref{Kind: klp.RefExport, Object: "vmlinux", Name: "_printk", CRC: 0x1}
		}},
		{"CRC against the glue", klp.CodeCRC, "both", func(s *klp.Spec, v, m *unit) {
			v.refs[on(v, "spaced")] = klp.Ref{Kind: klp.RefExport, Object: "vmlinux", Name: "klp_enable_patch", CRC: 0x1}
		}},
		{"vmlinux to module", klp.CodeModuleSpecialReference, "may not be there", func(s *klp.Spec, v, m *unit) {
			v.refs[on(v, "hidden")] = klp.Ref{Kind: klp.RefKlp, Object: "ext4", Name: "x"}
		}},
		{"vmlinux to new code of a module", klp.CodeModuleSpecialReference, "may not be there", func(s *klp.Spec, v, m *unit) {
			v.refs[on(v, "hidden")] = klp.Ref{Kind: klp.RefPayload, Target: on(m, "three")}
		}},
		{"late jump label key", klp.CodeModuleSpecialReference, "reads __jump_table", func(s *klp.Spec, v, m *unit) {
			three := m.anchor(on(m, "three").Section)
			table(m, "__jump_table", aw, 16, elf.R_X86_64_PC32, three, 20)
			m.reloc(m.f.Section("__jump_table"), 4, elf.R_X86_64_PC32, three, 24)
			m.reloc(m.f.Section("__jump_table"), 8, elf.R_X86_64_PC64, on(m, "late"), 0)
		}},
		{"late under an alternative", klp.CodeModuleSpecialReference, "rewrites the instruction (.altinstructions)", func(s *klp.Spec, v, m *unit) {
			three := m.anchor(on(m, "three").Section)
			table(m, ".altinstructions", a, 12, elf.R_X86_64_PC32, three, 0)
			s1 := m.f.Section(".altinstructions")
			s1.Data[10] = 5
			m.section(".altinstr_replacement", ax, 1, []byte{0x90})
			m.reloc(s1, 4, elf.R_X86_64_PC32, m.anchor(m.f.Section(".altinstr_replacement")), 0)
		}},
		{"late under a static call", klp.CodeModuleSpecialReference, "(.static_call_sites)", func(s *klp.Spec, v, m *unit) {
			three := m.anchor(on(m, "three").Section)
			table(m, ".static_call_sites", aw, 8, elf.R_X86_64_PC32, three, 0)
			m.reloc(m.f.Section(".static_call_sites"), 4, elf.R_X86_64_PC32, three, 0)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			spec, v, m := synthSpec()
			c.change(&spec, v, m)
			_, _, err := klp.Write(spec, synthFacts())
			var e *klp.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want one with code %s", err, c.code)
			}
			if e.Code != c.code || !strings.Contains(e.Error(), c.text) {
				t.Errorf("code %s, error %q; want code %s and %q", e.Code, e, c.code, c.text)
			}
		})
	}
}

// TestEarlyReferenceUnderAnAlternative: what is refused for a module's symbol
// is right for one of vmlinux, which is there from the start.
func TestEarlyReferenceUnderAnAlternative(t *testing.T) {
	spec, v, _ := synthSpec()
	var one, hidden *object.Symbol
	for _, y := range v.f.Symbols {
		switch y.Name {
		case "one":
			one = y
		case "hidden":
			hidden = y
		}
	}
	s, off := v.entry("__jump_table", aw, make([]byte, 16))
	v.reloc(s, off, elf.R_X86_64_PC32, v.anchor(one.Section), 10)
	v.reloc(s, off+4, elf.R_X86_64_PC32, v.anchor(one.Section), 20)
	v.reloc(s, off+8, elf.R_X86_64_PC64, hidden, 0)
	_, _, f := mustWrite(t, spec)
	x := f.Section("__jump_table").Extra
	if len(x) != 1 || x[0].Name != ".klp.rela.vmlinux.__jump_table" || len(x[0].Relocs) != 1 {
		t.Errorf("jump table relocations of the livepatch core: %+v", x)
	}
}

// TestEmptyData: a structure without members, as lock classes are without
// lockdep, takes no room and can be referred to.
func TestEmptyData(t *testing.T) {
	u := newUnit()
	f := u.code(".text.f", "f", 9)
	key := u.section(".bss.__key.1", aw, 1, nil)
	key.Type = uint32(elf.SHT_NOBITS)
	u.symbol("__key.1", elf.STT_OBJECT, key, 0)
	u.reloc(f.Section, 3, elf.R_X86_64_32S, u.anchor(key), 0)
	_, _, m := mustWrite(t, klp.Spec{Name: "livepatch_empty", Objects: []klp.Object{{Name: "vmlinux", Funcs: []klp.Func{{OldName: "f", New: f}}}},
		Payloads: []klp.Payload{{Object: "vmlinux", File: u.f, Refs: u.refs}}})
	if s := m.Section(".bss"); s == nil || s.Size != 0 {
		t.Errorf(".bss: %+v", s)
	}
	if r := m.Section(".text").Relocs; len(r) != 1 || r[0].Sym.Section == nil || r[0].Sym.Section.Name != ".bss" {
		t.Errorf("relocations: %+v", r)
	}
}

func TestFactsMustFit(t *testing.T) {
	for name, change := range map[string]func(f *klp.Facts){
		"empty":       func(f *klp.Facts) { *f = klp.Facts{} },
		"init beyond": func(f *klp.Facts) { f.Module.Init = f.Module.Size - 4 },
		"no vermagic": func(f *klp.Facts) { f.Vermagic = "" },
		"no CRC":      func(f *klp.Facts) { delete(f.Glue, "klp_enable_patch") },
	} {
		facts := synthFacts()
		change(facts)
		spec, _, _ := synthSpec()
		if _, _, err := klp.Write(spec, facts); err == nil {
			t.Errorf("%s: facts were accepted", name)
		}
	}
}
