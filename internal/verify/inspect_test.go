// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/object"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// fixedFacts are those of Debian's 6.1 kernels, for tests without a kernel.
func fixedFacts() *klp.Facts {
	return &klp.Facts{
		Vermagic: "6.1.0-0-test SMP", Module: klp.ModuleLayout{Size: 896, Name: 24, NameLen: 56, Init: 312, Exit: 848},
		Func: klp.FuncLayout{Size: 152, OldName: 0, NewFunc: 8, OldSympos: 16}, Object: klp.ObjectLayout{Size: 168, Name: 0, Funcs: 8, Callbacks: 16, CallbacksSize: 40},
		Patch: klp.PatchLayout{Size: 200, Mod: 0, Objs: 8, States: 16, Replace: 24},
	}
}

// tiny is a livepatch module made without a compiler.
func tiny(t testing.TB) []byte {
	t.Helper()
	code := &object.Section{Name: ".text.f", Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR), Align: 16, Data: []byte{0xe8, 0, 0, 0, 0, 0x90}, Size: 6}
	f := &object.Symbol{Name: "f", Kind: byte(elf.STT_FUNC), Section: code, Size: 6}
	hidden, late := &object.Symbol{Name: "hidden", Bind: 1}, &object.Symbol{Name: "late", Bind: 1}
	code.Relocs = []object.Reloc{{Offset: 1, Type: uint32(elf.R_X86_64_PLT32), Sym: hidden, Addend: -4}}
	text := &object.Section{Name: ".text.g", Type: code.Type, Flags: code.Flags, Align: 16, Data: []byte{0xe8, 0, 0, 0, 0, 0x90}, Size: 6}
	g := &object.Symbol{Name: "g", Kind: byte(elf.STT_FUNC), Section: text, Size: 6}
	text.Relocs = []object.Reloc{{Offset: 1, Type: uint32(elf.R_X86_64_PLT32), Sym: late, Addend: -4}}
	data, _, err := klp.Write(klp.Spec{
		Name: "livepatch_tiny", Replace: true,
		Objects: []klp.Object{{Name: "vmlinux", Funcs: []klp.Func{{OldName: "old_f", Sympos: 2, New: f}}}, {Name: "ext4", Funcs: []klp.Func{{OldName: "old_g", New: g}}}},
		Payloads: []klp.Payload{
			{Object: "vmlinux", File: &object.File{Sections: []*object.Section{code}, Symbols: []*object.Symbol{f, hidden}}, Refs: map[*object.Symbol]klp.Ref{hidden: {Kind: klp.RefKlp, Object: "vmlinux", Name: "hidden", Sympos: 1}}},
			{Object: "ext4", File: &object.File{Sections: []*object.Section{text}, Symbols: []*object.Symbol{g, late}}, Refs: map[*object.Symbol]klp.Ref{late: {Kind: klp.RefKlp, Object: "ext4", Name: "late"}}},
		},
	}, fixedFacts())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestInspect(t *testing.T) {
	m, err := verify.Inspect(tiny(t), fixedFacts())
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "livepatch_tiny" || len(m.BuildID) != 40 || !m.Replace || len(m.Objects) != 2 {
		t.Fatalf("name %s, build id %s, replace %t, objects %+v", m.Name, m.BuildID, m.Replace, m.Objects)
	}
	want := []verify.Object{
		{Name: "vmlinux", Funcs: []verify.Func{{OldName: "old_f", Sympos: 2, New: "f", Section: ".text", Size: 16}}},
		{Name: "ext4", Named: true, Funcs: []verify.Func{{OldName: "old_g", New: "g", Section: ".text", Offset: 16, Size: 6}}},
	}
	for i, o := range want {
		if got := m.Objects[i]; got.Name != o.Name || got.Named != o.Named || got.Callbacks || document(t, got.Funcs) != document(t, o.Funcs) {
			t.Errorf("object %+v, want %+v", got, o)
		}
	}
	if s := []verify.KlpSymbol{{"ext4", "late", 0, 1}, {"vmlinux", "hidden", 1, 1}}; !slices.Equal(m.Symbols, s) {
		t.Errorf("klp symbols %+v, want %+v", m.Symbols, s)
	}
	if r := []verify.KlpRelocs{{".klp.rela.ext4..text", "ext4", ".text", 1}, {".klp.rela.vmlinux..text", "vmlinux", ".text", 1}}; !slices.Equal(m.Relocs, r) {
		t.Errorf("klp relocations %+v, want %+v", m.Relocs, r)
	}
	if bare, err := verify.Inspect(tiny(t), nil); err != nil || bare.Objects != nil || len(bare.Symbols) != 2 {
		t.Errorf("without facts: %+v, %v", bare, err)
	}
}

// document is a value as --json shows it.
func document(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestInspectRefusesWhatIsNoLivepatch(t *testing.T) {
	good := tiny(t)
	for name, data := range map[string][]byte{"nothing": nil, "text": []byte(strings.Repeat("no ELF file ", 20)), "half": good[:len(good)/2]} {
		if m, err := verify.Inspect(data, fixedFacts()); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
	k := kerneltest.Open(t)
	if m, err := verify.Inspect(kerneltest.ModuleData(t, k, "pktgen"), fixedFacts()); err == nil {
		t.Errorf("pktgen is taken for a livepatch: %+v", m.Objects)
	}
}

// TestStrangersModule checks a livepatch that kbuild made.
func TestStrangersModule(t *testing.T) {
	k := kerneltest.Open(t)
	dir := vmtest.BuildModules(t, k, "../vm/testdata/modules")
	for name, object := range map[string]string{"lp_cmdline.ko": "vmlinux", "lp_modules.ko": "pktgen"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		r := check(t, k, data)
		if !r.OK() {
			t.Errorf("%s: objections %v", name, r.Objections)
		}
		if len(r.Module.Objects) == 0 || r.Module.Objects[0].Name != object {
			t.Errorf("%s: objects %+v", name, r.Module.Objects)
		}
	}
}

// FuzzInspect: no input panics, and what is read can be relied on.
func FuzzInspect(f *testing.F) {
	good := tiny(f)
	f.Add(good)
	f.Add(good[:len(good)/3])
	for _, off := range []int{0x28, 0x3c, 0x3e, len(good) - 64*4 + 24} {
		bad := slices.Clone(good)
		bad[off] ^= 0xff
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := verify.Inspect(data, fixedFacts())
		if err != nil {
			return
		}
		for _, o := range m.Objects {
			for _, fn := range o.Funcs {
				if fn.OldName == "" || fn.Section == "" {
					t.Errorf("a function without name or place: %+v", fn)
				}
			}
		}
	})
}
