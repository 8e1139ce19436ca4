// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// kernelFlags are what matters of the kernel's own flags, and one that keeps
// functions in source order, so that the tests know who is whose neighbour.
var kernelFlags = []string{
	"-O2", "-std=gnu11", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", "-fcf-protection=none",
	"-mno-sse", "-mno-red-zone", "-pg", "-mfentry", "-fno-strict-aliasing", "-fno-common", "-falign-jumps=1", "-falign-loops=1",
	"-fno-toplevel-reorder",
}

var split = []string{"-ffunction-sections", "-fdata-sections"}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// compile returns the path of an object made of testdata/src.
func compile(t testing.TB, src string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.o")
	run(t, "gcc-12", append(append(slices.Clone(kernelFlags), flags...), "-c", "testdata/"+src, "-o", out)...)
	return out
}

// compileText is compile for source in the test.
func compileText(t testing.TB, text string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.c"), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "x.o")
	run(t, "gcc-12", append(append(slices.Clone(kernelFlags), flags...), "-c", filepath.Join(dir, "x.c"), "-o", out)...)
	return out
}

func load(t testing.TB, path string) *object.File {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fakeImage is a linked program in the part of kernel.Image.
type fakeImage struct {
	segments []segment
	symbols  []kernel.Symbol // in address order, as kallsyms has them
}

type segment struct {
	addr uint64
	data []byte
}

// link links objects as the kernel is linked.
func link(t testing.TB, objects ...string) *fakeImage {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image")
	run(t, "ld", append([]string{"-static", "-no-pie", "-Ttext=0xffffffff81000000", "-o", out, compile(t, "start.s")}, objects...)...)
	f, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	im := &fakeImage{}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Filesz == 0 {
			continue
		}
		data := make([]byte, p.Filesz)
		if _, err := p.ReadAt(data, 0); err != nil {
			t.Fatal(err)
		}
		im.segments = append(im.segments, segment{p.Vaddr, data})
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if typ := elf.ST_TYPE(s.Info); typ == elf.STT_SECTION || typ == elf.STT_FILE || s.Section == elf.SHN_UNDEF {
			continue
		}
		letter := byte('d')
		if int(s.Section) < len(f.Sections) && f.Sections[s.Section].Flags&elf.SHF_EXECINSTR != 0 {
			letter = 't'
		}
		switch elf.ST_BIND(s.Info) {
		case elf.STB_GLOBAL:
			letter -= 'a' - 'A'
		case elf.STB_WEAK:
			letter = 'W'
		}
		im.symbols = append(im.symbols, kernel.Symbol{Name: s.Name, Addr: s.Value, Type: letter})
	}
	sort.SliceStable(im.symbols, func(i, j int) bool { return im.symbols[i].Addr < im.symbols[j].Addr })
	for i := range im.symbols {
		im.symbols[i].Index = i
	}
	return im
}

func (im *fakeImage) Bytes(addr uint64, n int) ([]byte, error) {
	for _, s := range im.segments {
		if addr >= s.addr && addr-s.addr <= uint64(len(s.data)) && uint64(n) <= uint64(len(s.data))-(addr-s.addr) {
			return s.data[addr-s.addr:][:n], nil
		}
	}
	return nil, errors.New("no contents")
}

func (im *fakeImage) filter(keep func(kernel.Symbol) bool) []kernel.Symbol {
	var out []kernel.Symbol
	for _, s := range im.symbols {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

func (im *fakeImage) Lookup(name string) []kernel.Symbol {
	return im.filter(func(s kernel.Symbol) bool { return s.Name == name })
}

func (im *fakeImage) At(addr uint64) []kernel.Symbol {
	return im.filter(func(s kernel.Symbol) bool { return s.Addr == addr })
}

func (im *fakeImage) Size(of kernel.Symbol) uint64 {
	end := uint64(0)
	for _, s := range im.segments {
		if of.Addr >= s.addr && of.Addr-s.addr < uint64(len(s.data)) {
			end = s.addr + uint64(len(s.data))
		}
	}
	for _, s := range im.symbols {
		if s.Addr > of.Addr {
			end = min(end, s.Addr)
		}
	}
	return end - of.Addr
}

func (im *fakeImage) Sympos(of kernel.Symbol) int {
	same := im.Lookup(of.Name)
	for i, s := range same {
		if s.Addr == of.Addr && len(same) > 1 {
			return i + 1
		}
	}
	return 0
}

func (im *fakeImage) match(t testing.TB, f *object.File, funcs ...string) *UnitMatch {
	t.Helper()
	m, err := matchUnit(&vmlinux{mem: im, syms: im}, f, byName(t, f, funcs))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func byName(t testing.TB, f *object.File, names []string) []*object.Symbol {
	t.Helper()
	var out []*object.Symbol
	for _, n := range names {
		s, err := f.Symbol(n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// of returns the outcome for the function of that name.
func (m *UnitMatch) of(t testing.TB, name string) *FuncMatch {
	t.Helper()
	for s, r := range m.Funcs {
		if s.Name == name {
			return r
		}
	}
	t.Fatalf("no outcome for %s", name)
	return nil
}

// only requires that exactly the functions named are not equal.
func (m *UnitMatch) only(t testing.TB, differ ...string) {
	t.Helper()
	for s, r := range m.Funcs {
		if want := slices.Contains(differ, s.Name); want != (r.Verdict != Equal) {
			t.Errorf("%s is %s at %#x: %s", s.Name, r.Verdict, r.Offset, r.Why)
		}
	}
}

// patch overwrites bytes of the image.
func (im *fakeImage) patch(t testing.TB, addr uint64, b []byte) {
	t.Helper()
	dst, err := im.Bytes(addr, len(b))
	if err != nil {
		t.Fatal(err)
	}
	copy(dst, b)
}

func (im *fakeImage) addr(t testing.TB, name string) uint64 {
	t.Helper()
	s := im.Lookup(name)
	if len(s) != 1 {
		t.Fatalf("%d symbols named %s", len(s), name)
	}
	return s[0].Addr
}
