// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const source = `
extern int ext(int); static int state; int data = 3; static const char *names[] = {"a", "bc"};
static __attribute__((noinline)) int local(int x) { return ext(x) + state++; }
int global(int x) { return local(x) + data + *names[x]; }
__attribute__((weak)) int weak(void) { return 1; }
`

func compile(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc-12", "-O2", "-fno-PIE", "-mcmodel=kernel", "-ffunction-sections", "-fdata-sections", "-c", "a.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tool runs a binutils program on the object and returns its output without
// the line that names the file.
func tool(t *testing.T, data []byte, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.o")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(args[0], append(args[1:], path)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.ReplaceAll(string(out), path, "x.o")
}

// What binutils read from the rewritten object must be what they read from the
// original.
func TestRewriteKeepsMeaning(t *testing.T) {
	data := compile(t)
	f, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"objdump", "-dr"}, {"objdump", "-s", "-j", ".data.names", "-j", ".data.data"}, {"nm", "-n"}} {
		if d := cmp.Diff(tool(t, data, args...), tool(t, out, args...)); d != "" {
			t.Errorf("%v differs:\n%s", args, d)
		}
	}
	again, err := Read(out)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := again.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, twice) {
		t.Error("rewriting what was rewritten gives other bytes")
	}
}

func TestReadFindsFunctions(t *testing.T) {
	f, err := Read(compile(t))
	if err != nil {
		t.Fatal(err)
	}
	local, err := f.Symbol("local")
	if err != nil {
		t.Fatal(err)
	}
	if !local.IsLocal() || !local.IsFunc() || local.Section.Name != ".text.local" || local.Size == 0 {
		t.Errorf("local is %+v in %s", local, local.Section.Name)
	}
	calls := false
	for _, r := range local.Section.Relocs {
		calls = calls || r.Sym.Name == "ext" && r.Sym.IsUndefined() && elf.R_X86_64(r.Type) == elf.R_X86_64_PLT32
	}
	if !calls {
		t.Errorf("no call of ext in %+v", local.Section.Relocs)
	}
	if _, err := f.Symbol("absent"); err == nil {
		t.Error("found a symbol that is not there")
	}
}

// Livepatch modules need a second RELA section for a target and a symbol index
// that no compiler makes.
func TestLivepatchParts(t *testing.T) {
	text := &Section{Name: ".text", Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR), Align: 16, Data: make([]byte, 16)}
	sym := &Symbol{Name: ".klp.sym.vmlinux.x,0", Bind: byte(elf.STB_GLOBAL), Shndx: Livepatch}
	text.Extra = []RelaSection{{
		Name: ".klp.rela.vmlinux..text", Flags: uint64(elf.SHF_ALLOC|elf.SHF_INFO_LINK) | FlagRelaLivepatch,
		Relocs: []Reloc{{Offset: 4, Type: uint32(elf.R_X86_64_PC32), Sym: sym, Addend: -4}},
	}}
	out, err := (&File{Sections: []*Section{text}, Symbols: []*Symbol{sym}}).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(out)
	if err != nil {
		t.Fatal(err)
	}
	got := f.Sections[0].Extra
	if len(got) != 1 || got[0].Name != text.Extra[0].Name || got[0].Flags != text.Extra[0].Flags || len(got[0].Relocs) != 1 || got[0].Relocs[0].Sym.Shndx != Livepatch {
		t.Errorf("read back %+v", got)
	}
	if !strings.Contains(tool(t, out, "readelf", "-sW"), "OS [0xff20]") {
		t.Error("readelf does not show the livepatch symbol index")
	}
}

func TestReadRefuses(t *testing.T) {
	good := compile(t)
	for name, mutate := range map[string]func([]byte) []byte{
		"empty":          func([]byte) []byte { return nil },
		"truncated":      func(b []byte) []byte { return b[:len(b)/2] },
		"other machine":  func(b []byte) []byte { b[18] = 0xb7; return b },
		"executable":     func(b []byte) []byte { b[16] = 2; return b },
		"headers beyond": func(b []byte) []byte { le.PutUint64(b[40:], 1<<60); return b },
	} {
		if f, err := Read(mutate(bytes.Clone(good))); err == nil || f != nil {
			t.Errorf("%s: read as %v, error %v", name, f, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(compile(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Read(b)
		if (err == nil) != (file != nil) {
			t.Fatalf("result %v with error %v", file, err)
		}
		if err != nil {
			return
		}
		out, err := file.Bytes()
		if err != nil {
			return
		}
		if _, err := Read(out); err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
	})
}
