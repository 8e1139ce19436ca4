// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/object"
)

// makeModule links objects as kbuild links a module: with relocations kept.
func makeModule(t testing.TB, objects ...string) *object.File {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.ko")
	run(t, "ld", append([]string{"-r", "-o", out}, objects...)...)
	return load(t, out)
}

func matchModule(t testing.TB, ko, f *object.File, funcs ...string) *UnitMatch {
	t.Helper()
	m, err := ModuleUnit(ko, f, byName(t, f, funcs))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModule(t *testing.T) {
	ko := makeModule(t, compile(t, "other.c"), compile(t, "unit.c"))
	f := load(t, compile(t, "unit.c", split...))
	m := matchModule(t, ko, f)
	m.only(t)
	tail := m.of(t, "tail")
	if tail.Normalised[RuleBranchWidth] == 0 || !tail.Fentry || tail.Symbol.Section != ".text" {
		t.Errorf("tail: %+v", tail)
	}
	if n := m.of(t, "loops").Normalised[RuleResolved]; n != 1 {
		t.Errorf("loops: %d resolved branches, 1 expected", n)
	}
	if r := m.of(t, "unlikely_path.cold"); r.Symbol.Section != ".text.unlikely" {
		t.Errorf("unlikely_path.cold: %+v", r)
	}
	if r := m.of(t, "twin"); r.Symbol.Sympos != 2 {
		t.Errorf("twin: %+v", r)
	}
	found := 0
	for s, v := range m.Values {
		switch {
		case s.Name == "__fentry__":
			if v.External != "__fentry__" || len(v.Symbols) > 0 {
				t.Errorf("__fentry__: %+v", v)
			}
		case s.Name == "hits" || strings.HasPrefix(s.Name, "calls."):
			if v.Named < 0 || v.Symbols[v.Named].Name != s.Name || s.Name == "hits" && v.Symbols[v.Named].Sympos != 2 {
				t.Errorf("%s: %+v", s.Name, v)
			}
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d statics were located, 2 expected", found)
	}
}

func TestModuleDifferences(t *testing.T) {
	f := load(t, compile(t, "unit.c", split...))
	other := compile(t, "other.c")
	for flag, c := range map[string]struct {
		differ []string
		why    string
	}{
		"-DLIMIT=1001":      {[]string{"neighbour"}, "05 e9 03 00 00"},
		"-DHELPER=other":    {[]string{"neighbour"}, "refers to other, ours to helper"},
		`-DTEXT="value %u"`: {[]string{"count"}, `refers to "value %u", ours to "value %d"`},
		"-DENTRY=31":        {[]string{"table"}, "differ at 0x8"},
		"-DCOLD=8":          {[]string{"unlikely_path.cold", "unlikely_path"}, "instructions differ"},
		"-DHELPER=outside":  {[]string{"neighbour"}, "refers to outside+0, ours to helper"},
	} {
		ko := makeModule(t, other, compileText(t, "extern int outside(int);\n#include \""+abs(t, "testdata/unit.c")+"\"\n", flag))
		m := matchModule(t, ko, f)
		m.only(t, c.differ...)
		if r := m.of(t, c.differ[0]); r.Verdict != Mismatch || !strings.Contains(r.Why, c.why) {
			t.Errorf("%s: %s is %s at %#x: %s; want %q", flag, c.differ[0], r.Verdict, r.Offset, r.Why, c.why)
		}
	}
}

func abs(t testing.TB, path string) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(wd, path)
}

// An object is equal to itself, whichever way it was compiled.
func TestObjectAgainstItself(t *testing.T) {
	for _, flags := range [][]string{nil, split, {"-O1", "-fcf-protection=branch"}} {
		f := load(t, compile(t, "unit.c", flags...))
		matchModule(t, f, f).only(t)
	}
}

// endbr64 may come before the call to __fentry__.
func TestFentryAfterEndbr(t *testing.T) {
	f := load(t, compile(t, "unit.c", "-fcf-protection=branch"))
	if r := matchModule(t, f, f).of(t, "tail"); !r.Fentry {
		t.Errorf("tail: %+v", r)
	}
}

// A module whose relocations were damaged: no other symbol, addend or type goes
// unnoticed.
func TestEveryRelocationCounts(t *testing.T) {
	ko := makeModule(t, compile(t, "other.c"), compile(t, "unit.c"))
	f := load(t, compile(t, "unit.c", split...))
	m := matchModule(t, ko, f)
	m.only(t)
	text := ko.Section(".text")
	lo, hi := uint64(len(text.Data)), uint64(0)
	for _, r := range m.Funcs {
		if r.Symbol.Section == ".text" {
			lo, hi = min(lo, r.Symbol.Addr), max(hi, r.Symbol.Addr+r.Size)
		}
	}
	different := func(what string, at uint64) {
		for _, r := range matchModule(t, ko, f).Funcs {
			if r.Verdict != Equal {
				return
			}
		}
		t.Errorf("%s at %#x: still equal", what, at)
	}
	checked := 0
	for i := range text.Relocs {
		r := &text.Relocs[i]
		if r.Offset < lo || r.Offset >= hi {
			continue
		}
		checked++
		old := *r
		r.Addend += 8
		different("addend", r.Offset)
		*r = old
		r.Sym = &object.Symbol{Name: "else", Bind: byte(elf.STB_GLOBAL)}
		different("symbol", r.Offset)
		*r = old
		r.Type = uint32(elf.R_X86_64_32)
		different("type", r.Offset)
		*r = old
		r.Type = uint32(elf.R_X86_64_NONE)
		different("no relocation", r.Offset)
		*r = old
	}
	if checked < 20 {
		t.Errorf("only %d relocations were tried", checked)
	}
	matchModule(t, ko, f).only(t)
}

func TestModuleSympos(t *testing.T) {
	text, init := &object.Section{Name: ".text", Flags: uint64(elf.SHF_ALLOC)}, &object.Section{Name: ".init.text", Flags: uint64(elf.SHF_ALLOC)}
	in := func(sec ...*object.Section) *object.File {
		f := &object.File{}
		for _, s := range sec {
			f.Symbols = append(f.Symbols, &object.Symbol{Name: "f", Section: s})
		}
		return f
	}
	for _, c := range []struct {
		f   *object.File
		i   int
		pos int
		ok  bool
	}{
		{in(text), 0, 0, true},
		{in(text, text), 0, 1, true},
		{in(text, text), 1, 2, true},
		{in(text, init), 0, 1, true}, // 0 would be ambiguous before, 1 is right before and after
		{in(init, text), 1, 0, false},
		{in(init), 0, 0, false},
		{in(nil, text), 1, 0, true}, // undefined symbols do not count
		{in(text, nil, init, text), 3, 0, false},
	} {
		if pos, ok := ModuleSympos(c.f, c.f.Symbols[c.i]); pos != c.pos || ok != c.ok {
			t.Errorf("%+v: position of %d is %d, %v; want %d, %v", c.f.Symbols, c.i, pos, ok, c.pos, c.ok)
		}
	}
	if _, ok := ModuleSympos(in(text), &object.Symbol{Name: "f", Section: text}); ok {
		t.Error("a stranger has a position")
	}
}

// A function that shares its name with one of the init part cannot be
// addressed if that one comes first.
func TestModuleInitTwin(t *testing.T) {
	first := compileText(t, `static __attribute__((section(".init.text"), noinline)) int f(int x) { return x - 77; }
		__attribute__((section(".init.text"))) int g(int x) { return f(x) * 2; }`)
	second := `static __attribute__((noinline)) int f(int x) { return x - 7; } int h(int x) { return f(x) * 2; }`
	obj := load(t, compileText(t, second, split...))
	r := matchModule(t, makeModule(t, first, compileText(t, second)), obj).of(t, "f")
	if r.Verdict != Ambiguous || r.Symbol.Sympos != -1 || !strings.Contains(r.Why, "init part") {
		t.Errorf("init first: %+v", r)
	}
	r = matchModule(t, makeModule(t, compileText(t, second), first), obj).of(t, "f")
	if r.Verdict != Equal || r.Symbol.Sympos != 1 {
		t.Errorf("init second: %+v", r)
	}
}

// A livepatch module is no module as shipped.
func TestModuleWithExtraRelocations(t *testing.T) {
	ko := makeModule(t, compile(t, "other.c"))
	text := ko.Section(".text")
	text.Extra = append(text.Extra, object.RelaSection{Name: ".klp.rela.vmlinux..text"})
	if _, err := ModuleUnit(ko, ko, nil); err == nil || !strings.Contains(err.Error(), ".klp.rela.vmlinux..text") {
		t.Errorf("error is %v", err)
	}
}

// Damaged objects give errors or verdicts.
func TestHostileObjects(t *testing.T) {
	good, err := os.ReadFile(compile(t, "unit.c", split...))
	if err != nil {
		t.Fatal(err)
	}
	im := link(t, compile(t, "other.c"), compile(t, "unit.c"))
	ko := makeModule(t, compile(t, "other.c"), compile(t, "unit.c"))
	rnd := rand.New(rand.NewPCG(1, 2))
	read, matched := 0, 0
	for range 3000 {
		b := bytes.Clone(good)
		for range 1 + rnd.IntN(8) {
			b[rnd.IntN(len(b))] = byte(rnd.IntN(256))
		}
		obj, err := object.Read(b)
		if err != nil {
			continue
		}
		read++
		for _, r := range []func() (*UnitMatch, error){
			func() (*UnitMatch, error) { return matchUnit(&vmlinux{mem: im, syms: im}, obj, nil) },
			func() (*UnitMatch, error) { return ModuleUnit(ko, obj, nil) },
			func() (*UnitMatch, error) { return ModuleUnit(obj, obj, nil) },
		} {
			if m, err := r(); err == nil {
				matched++
				complete(t, m, Functions(obj))
			}
		}
	}
	if read < 100 || matched < 100 {
		t.Errorf("only %d objects could be read, %d matched", read, matched)
	}
}

func FuzzUnit(f *testing.F) {
	for _, flags := range [][]string{nil, split} {
		b, err := os.ReadFile(compile(f, "unit.c", flags...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	im := link(f, compile(f, "other.c"), compile(f, "unit.c"))
	ko := makeModule(f, compile(f, "other.c"), compile(f, "unit.c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		obj, err := object.Read(b)
		if err != nil {
			return
		}
		for _, funcs := range [][]*object.Symbol{nil, Functions(obj)} {
			if m, err := matchUnit(&vmlinux{mem: im, syms: im}, obj, funcs); err == nil {
				complete(t, m, Functions(obj))
			}
			if m, err := ModuleUnit(ko, obj, funcs); err == nil {
				complete(t, m, Functions(obj))
			}
			if m, err := ModuleUnit(obj, obj, funcs); err == nil {
				complete(t, m, Functions(obj))
			}
		}
	})
}

// complete requires an outcome with reason for every function.
func complete(t *testing.T, m *UnitMatch, funcs []*object.Symbol) {
	for _, fn := range funcs {
		r := m.Funcs[fn]
		if r == nil || r.Verdict == "" || (r.Verdict == Equal) != (r.Why == "") {
			t.Fatalf("%s: %+v", fn.Name, r)
		}
	}
}
