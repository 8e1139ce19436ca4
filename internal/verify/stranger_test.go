// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// stripped is a module without its debug information.
func stripped(t testing.TB, data []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.ko")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("strip", "--strip-debug", path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// handMade builds a module of testdata/modules with kbuild.
func handMade(t testing.TB, k *kernel.Kernel, name string) []byte {
	t.Helper()
	if err := os.Setenv("KBUILD_MODPOST_WARN", "1"); err != nil { // unresolved symbols are no error
		t.Fatal(err)
	}
	defer os.Unsetenv("KBUILD_MODPOST_WARN")
	data, err := os.ReadFile(filepath.Join(vmtest.BuildModules(t, k, "testdata/modules"), name+".ko"))
	if err != nil {
		t.Fatal(err)
	}
	return stripped(t, data)
}

// converted makes klp relocations of a module's undefined symbols, as
// klp-convert and create-klp-module do. refs are "OBJECT.NAME,SYMPOS" by symbol.
func converted(t testing.TB, data []byte, refs map[string]string) []byte {
	t.Helper()
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := map[*object.Symbol]string{}
	for name, ref := range refs {
		y, err := f.Symbol(name)
		if err != nil || !y.IsUndefined() {
			t.Fatalf("symbol %s: %+v, %v", name, y, err)
		}
		obj, _, _ := strings.Cut(ref, ".")
		owner[y], y.Name, y.Shndx = obj, ".klp.sym."+ref, object.Livepatch
	}
	for _, s := range f.Sections {
		moved := map[string][]object.Reloc{}
		s.Relocs = slices.DeleteFunc(s.Relocs, func(r object.Reloc) bool {
			obj := owner[r.Sym]
			if obj != "" {
				moved[obj] = append(moved[obj], r)
			}
			return obj != ""
		})
		for obj, relocs := range moved {
			s.Extra = append(s.Extra, object.RelaSection{Name: ".klp.rela." + obj + "." + s.Name, Relocs: relocs, Flags: uint64(elf.SHF_ALLOC|elf.SHF_INFO_LINK) | object.FlagRelaLivepatch})
		}
	}
	out, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// strangers are livepatches of other tools, by short names: lp_hand, converted,
// lp_all and lp_cmdline.
func strangers(t testing.TB, k *kernel.Kernel) map[string][]byte {
	t.Helper()
	cmdline, err := os.ReadFile(filepath.Join(vmtest.BuildModules(t, k, "../vm/testdata/modules"), "lp_cmdline.ko"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"hand": converted(t, handMade(t, k, "lp_hand"), handRefs), "all": handMade(t, k, "lp_all"), "cmdline": cmdline}
}

var handRefs = map[string]string{"saved_command_line": "vmlinux.saved_command_line,0", "pg_net_id": "pktgen.pg_net_id,1"}

func codes(list []verify.Finding) string {
	var out []string
	for _, f := range list {
		out = append(out, f.Code)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " ")
}

// TestHandMadeLivepatch: all that is said of a livepatch that kbuild and a
// converter made.
func TestHandMadeLivepatch(t *testing.T) {
	k := kerneltest.Open(t)
	data := handMade(t, k, "lp_hand")
	if r := check(t, k, data); codes(r.Objections) != verify.CodeExport {
		t.Errorf("before the conversion: objections %v", r.Objections)
	}
	r := check(t, k, converted(t, data, handRefs))
	if got := [3]string{codes(r.Objections), codes(r.Warnings), codes(r.Notes)}; got != [3]string{"", "module-reload", "kernel-build-unknown unsigned"} {
		t.Errorf("findings %q: %v %v", got, r.Objections, r.Warnings)
	}
	im := kerneltest.Image(t, k)
	if len(r.Symbols) != 2 {
		t.Fatalf("symbols %+v", r.Symbols)
	}
	slices.SortFunc(r.Symbols, func(a, b verify.Resolved) int { return strings.Compare(b.Object, a.Object) })
	saved, id := r.Symbols[0], r.Symbols[1]
	want := fmt.Sprintf("%#x", im.Symbols().Lookup("saved_command_line")[0].Addr)
	if saved.Name != "saved_command_line" || saved.With != "vmlinux" || saved.Found == nil || saved.Found.Address != want || len(saved.At) != 1 {
		t.Errorf("saved_command_line: %+v at %+v, want %s", saved, saved.Found, want)
	}
	pktgen, err := object.Read(kerneltest.ModuleData(t, k, "pktgen"))
	if err != nil {
		t.Fatal(err)
	}
	y, err := pktgen.Symbol("pg_net_id")
	if err != nil {
		t.Fatal(err)
	}
	if p := id.Found; id.With != "pktgen" || p == nil || p.Object != "pktgen" || p.Section != y.Section.Name || p.Offset != y.Value || p.Size != 4 || p.Type != "d" {
		t.Errorf("pg_net_id: %+v at %+v", id, id.Found)
	}
	old := r.Module.Objects[0].Funcs[0].Old
	if want := fmt.Sprintf("%#x", im.Symbols().Lookup("cmdline_proc_show")[0].Addr); old == nil || old.Address != want || old.Type != "t" {
		t.Errorf("cmdline_proc_show: %+v, want %s", old, want)
	}
	if l, n := r.Load, im.Symbols().Len(); l.Walks != 2 || l.Symbols != n+im.Symbols().Lookup("cmdline_proc_show")[0].Index+1 || l.Later != 2 || l.Seconds <= 0 {
		t.Errorf("load %+v, kallsyms has %d", l, n)
	}
	var flags string
	for _, f := range r.Taint {
		flags += f.Flag
	}
	if flags != "OEK" {
		t.Errorf("taint %+v", r.Taint)
	}
	if s := r.Module.States; !slices.Equal(s, []verify.State{{ID: 7, Version: 2}}) {
		t.Errorf("states %+v", s)
	}
}

// togetherCase is a code that Together gives for some of the test's livepatches
// in an order. hand has lp_hand converted, all lp_all; both replace
// cmdline_proc_show, and only lp_hand a function of pktgen.
type togetherCase struct {
	code, where string
	order       []string
	change      map[string]func(*verify.Module) // before
}

func togetherCases() []togetherCase {
	known := func(m *verify.Module) { m.States[0].Version = 2 }
	return []togetherCase{
		{verify.CodeSameName, "lp_hand", []string{"hand", "hand"}, nil},
		{verify.CodeStates, "lp_all", []string{"hand", "all"}, nil},
		{verify.CodeStates, "lp_all", []string{"hand", "all"}, map[string]func(*verify.Module){"all": func(m *verify.Module) { m.States = nil }}},
		{verify.CodeDropped, "lp_hand, lp_all", []string{"hand", "all"}, map[string]func(*verify.Module){"all": known}},
		{verify.CodeFunctions, "lp_all, lp_hand", []string{"all", "hand"}, nil},
		{verify.CodeFunctions, "lp_all, lp_cmdline", []string{"hand", "all", "cmdline"}, map[string]func(*verify.Module){"all": known}},
	}
}

func TestTogether(t *testing.T) {
	k := kerneltest.Open(t)
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	files := strangers(t, k)
	for _, c := range togetherCases() {
		var reports []*verify.Report
		for _, name := range c.order {
			r, err := v.Check(files[name])
			if err != nil {
				t.Fatal(err)
			}
			if !r.OK() {
				t.Errorf("%s: objections %v", name, r.Objections)
			}
			if change := c.change[name]; change != nil {
				change(r.Module)
			}
			reports = append(reports, r)
		}
		found := verify.Together(reports)
		if !slices.ContainsFunc(found, func(f verify.Finding) bool { return f.Code == c.code && f.Where == c.where }) {
			t.Errorf("%q: %v, want %s at %s", c.order, found, c.code, c.where)
		}
		// What was replaced as a whole is of no concern to those that come after.
		if slices.ContainsFunc(found, func(f verify.Finding) bool { return f.Where == "lp_hand, lp_cmdline" }) && slices.Contains(c.order, "all") {
			t.Errorf("%q: %v", c.order, found)
		}
	}
	// One of a module that replaces all, and one that does not touch it.
	a, err := v.Check(files["all"])
	if err != nil {
		t.Fatal(err)
	}
	if found := verify.Together([]*verify.Report{a}); len(found) > 0 {
		t.Errorf("one alone: %v", found)
	}
}
