// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/klp/klptest"
	"kmend/internal/object"
	"kmend/internal/verify"
)

// good makes a livepatch of vmlinux and of a module, with an entry in every
// special section, for the test kernel.
func good(t testing.TB, k *kernel.Kernel) []byte {
	t.Helper()
	goodOnce.Do(func() { goodModule = makeGood(t, k) })
	if goodModule == nil {
		t.Fatal("the livepatch of the tests could not be made: see the first test that failed")
	}
	return bytes.Clone(goodModule)
}

var (
	goodOnce   sync.Once
	goodModule []byte
)

func makeGood(t testing.TB, k *kernel.Kernel) []byte {
	t.Helper()
	text, err := os.ReadFile("../klp/testdata/special.c")
	if err != nil {
		t.Fatal(err)
	}
	spec := klptest.Spec(t, k, "livepatch_good",
		klptest.Patch{Object: "vmlinux", Funcs: []string{"cmdline_proc_show"}, Source: klptest.Source{Path: "fs/proc/cmdline.c", Text: string(text)}},
		klptest.Patch{Object: "pktgen", Funcs: []string{"pgctrl_show"}, Source: klptest.Source{Path: "net/core/pktgen.c", Module: true,
			Text: klptest.Text(t, k, "net/core/pktgen.c", "seq_puts(seq, version);", `seq_printf(seq, "live patched %d %s", pg_net_id > 0, version);`)}})
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := klp.Write(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func factsOf(t testing.TB, k *kernel.Kernel) *klp.Facts {
	t.Helper()
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

func check(t *testing.T, k *kernel.Kernel, data []byte) *verify.Report {
	t.Helper()
	r, err := verify.Check(k, data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGoodModule(t *testing.T) {
	k := kerneltest.Open(t)
	r := check(t, k, good(t, k))
	if got := [3]string{codes(r.Objections), codes(r.Warnings), codes(r.Notes)}; got != [3]string{"", verify.CodeReload, verify.CodeUnsigned} {
		t.Errorf("findings %q: objections %v, warnings %v", got, r.Objections, r.Warnings)
	}
	if c := r.Checked; c.Functions != 2 || c.KlpSymbols != len(r.Module.Symbols) || c.Exports != len(r.Module.Exports) || c.Relocs < 100 || c.OrcEntries < 20 {
		t.Errorf("counts %+v for %d klp symbols, %d exports", c, len(r.Module.Symbols), len(r.Module.Exports))
	}
	var funcs []string
	for _, o := range r.Module.Objects {
		for _, f := range o.Funcs {
			funcs = append(funcs, fmt.Sprintf("%s:%s,%d=%s", o.Name, f.OldName, f.Sympos, f.New))
		}
	}
	if want := []string{"vmlinux:cmdline_proc_show,0=cmdline_proc_show", "pktgen:pgctrl_show,0=pgctrl_show"}; !slices.Equal(funcs, want) {
		t.Errorf("functions %q, want %q", funcs, want)
	}
}

// mutant is a good module with one mistake.
type mutant struct {
	name, code string
	change     func(m *mod)
	raw        func(data []byte) []byte // of the file; may be nil
	more       bool                     // there are objections, too
}

// mod gives mutations their tools.
type mod struct {
	t     testing.TB
	k     *kernel.Kernel
	f     *object.File
	facts *klp.Facts
}

func (m *mod) section(name string) *object.Section {
	m.t.Helper()
	s := m.f.Section(name)
	if s == nil {
		m.t.Fatalf("no section %s", name)
	}
	s.Data = bytes.Clone(s.Data)
	return s
}

func (m *mod) symbol(name string) *object.Symbol {
	m.t.Helper()
	s, err := m.f.Symbol(name)
	if err != nil {
		m.t.Fatal(err)
	}
	return s
}

func (m *mod) rela(section, name string) *object.RelaSection {
	m.t.Helper()
	s := m.section(section)
	for i := range s.Extra {
		if s.Extra[i].Name == name {
			return &s.Extra[i]
		}
	}
	m.t.Fatalf("no relocation section %s", name)
	return nil
}

// tag replaces a modinfo entry; "" takes it away.
func (m *mod) tag(tag, entry string) {
	s := m.section(".modinfo")
	var out []string
	for _, e := range strings.Split(strings.TrimRight(string(s.Data), "\x00"), "\x00") {
		if !strings.HasPrefix(e, tag+"=") {
			out = append(out, e)
		} else if entry != "" {
			out = append(out, entry)
		}
	}
	s.Data = []byte(strings.Join(out, "\x00") + "\x00")
}

// str adds a string to the pool and returns its offset.
func (m *mod) str(text string) int64 {
	s := m.section(".rodata.str1.1")
	off := len(s.Data)
	s.Data = append(append(s.Data, text...), 0)
	s.Size = uint64(len(s.Data))
	return int64(off)
}

// pointer returns the relocation of a pointer inside a glue structure.
func (m *mod) pointer(symbol string, off uint64) *object.Reloc {
	m.t.Helper()
	y := m.symbol(symbol)
	for i, r := range y.Section.Relocs {
		if r.Offset == y.Value+off {
			return &y.Section.Relocs[i]
		}
	}
	m.t.Fatalf("no pointer at %s+%d", symbol, off)
	return nil
}

func (m *mod) sympos(symbol string, pos uint64) {
	y := m.symbol(symbol)
	binary.LittleEndian.PutUint64(m.section(".data").Data[y.Value+m.facts.Func.OldSympos:], pos)
}

func (m *mod) oldName(name string) {
	m.pointer("kmend_funcs_vmlinux", m.facts.Func.OldName).Addend = m.str(name)
}

func version(m *mod, name string) []byte {
	for v := m.section("__versions").Data; len(v) >= 64; v = v[64:] {
		if n, _, _ := strings.Cut(string(v[8:64]), "\x00"); n == name {
			return v
		}
	}
	m.t.Fatalf("no version of %s", name)
	return nil
}

const (
	vmText   = ".klp.rela.vmlinux..text"
	modText  = ".klp.rela.pktgen..text"
	savedSym = ".klp.sym.vmlinux.saved_command_line,0"
)

func mutants() []mutant {
	alloc := uint64(elf.SHF_ALLOC)
	return []mutant{
		// The five that get past the kernel.
		{name: "klp-rela-flags/livepatch", code: verify.CodeKlpFlags, change: func(m *mod) { m.rela(".text", vmText).Flags &^= object.FlagRelaLivepatch }},
		{name: "klp-rela-flags/alloc", code: verify.CodeKlpFlags, change: func(m *mod) { m.rela(".text", modText).Flags &^= alloc }},
		{name: "klp-rela-object", code: verify.CodeKlpObject, change: func(m *mod) { m.rela(".text", modText).Name = ".klp.rela.pktgem..text" }},
		{name: "object-vmlinux", code: verify.CodeObjectNull, change: func(m *mod) {
			y := m.symbol("kmend_objects")
			y.Section.Relocs = append(y.Section.Relocs, object.Reloc{Offset: y.Value, Type: uint32(elf.R_X86_64_64), Sym: anchor(m.f, ".rodata.str1.1"), Addend: m.str("vmlinux")})
		}},
		{name: "klp-symbol-plain", code: verify.CodeKlpPlain, change: func(m *mod) {
			s, x := m.section(".text"), m.rela(".text", vmText)
			s.Relocs, x.Relocs = append(s.Relocs, x.Relocs[0]), x.Relocs[1:]
		}},
		// Those the kernel refuses.
		{name: "modinfo/livepatch", code: verify.CodeModinfo, change: func(m *mod) { m.tag("livepatch", "") }},
		{name: "modinfo/license", code: verify.CodeModinfo, change: func(m *mod) { m.tag("license", "license=Proprietary") }},
		{name: "modinfo/retpoline", code: verify.CodeModinfo, change: func(m *mod) { m.tag("retpoline", "") }},
		{name: "vermagic", code: verify.CodeVermagic, change: func(m *mod) { m.tag("vermagic", "vermagic=6.1.0-49-amd64 SMP preempt mod_unload modversions ") }},
		{name: "kernel-build-id", code: verify.CodeKernelID, change: func(m *mod) { m.tag("kmend.build_id", "kmend.build_id=00") }},
		{name: "module-name", code: verify.CodeName, change: func(m *mod) {
			m.tag("name", "name=ext4")
			copy(m.section(".gnu.linkonce.this_module").Data[m.facts.Module.Name:], "ext4\x00")
		}},
		{name: "this-module/name", code: verify.CodeThisModule, change: func(m *mod) { m.section(".gnu.linkonce.this_module").Data[m.facts.Module.Name] = 'x' }},
		{name: "this-module/size", code: verify.CodeThisModule, change: func(m *mod) {
			s := m.section(".gnu.linkonce.this_module")
			s.Data = append(s.Data, make([]byte, 64)...)
		}},
		{name: "this-module/offset", code: verify.CodeThisModule, change: func(m *mod) { m.section(".gnu.linkonce.this_module").Relocs[0].Offset += 8 }},
		{name: "never-enabled", code: verify.CodeEnable, change: func(m *mod) {
			s := m.section(".init.text")
			s.Relocs = slices.DeleteFunc(s.Relocs, func(r object.Reloc) bool { return r.Sym.Name == "klp_enable_patch" })
		}},
		{name: "duplicate-section", code: verify.CodeDuplicate, change: func(m *mod) {
			m.f.Sections = append(m.f.Sections, &object.Section{Name: ".text", Type: uint32(elf.SHT_PROGBITS), Flags: alloc, Data: []byte{0}, Size: 1})
		}},
		{name: "livepatch-structs", code: verify.CodeLivepatch, change: func(m *mod) { m.pointer("kmend_patch", m.facts.Patch.Objs).Offset += 16 }},
		{name: "object-unknown", code: verify.CodeObject, change: func(m *mod) {
			m.pointer("kmend_objects", m.facts.Object.Size+m.facts.Object.Name).Addend = m.str("pktgem")
		}},
		{name: "function-missing", code: verify.CodeOldMissing, change: func(m *mod) { m.oldName("cmdline_proc_shew") }},
		{name: "function-ambiguous", code: verify.CodeOldAmbig, change: func(m *mod) { m.oldName("user_read") }},
		{name: "function-position", code: verify.CodeOldPosition, change: func(m *mod) { m.sympos("kmend_funcs_vmlinux", 2) }},
		{name: "function-position/module", code: verify.CodeOldPosition, change: func(m *mod) { m.sympos("kmend_funcs_pktgen", 2) }},
		{name: "function-kind", code: verify.CodeOldKind, change: func(m *mod) { m.oldName("saved_command_line") }},
		{name: "function-init", code: verify.CodeOldInit, change: func(m *mod) { m.oldName("proc_cmdline_init") }},
		{name: "no-fentry", code: verify.CodeNoFentry, change: func(m *mod) { m.oldName("copy_user_generic_string") }},
		{name: "new-function/data", code: verify.CodeNewFunction, change: func(m *mod) {
			r := m.pointer("kmend_funcs_vmlinux", m.facts.Func.NewFunc)
			r.Sym, r.Addend = anchor(m.f, ".rodata"), 0
		}},
		{name: "new-function/unnamed", code: verify.CodeNewFunction, change: func(m *mod) { m.symbol("cmdline_proc_show").Name = ".Lcmdline_proc_show" }},
		{name: "klp-name-form/symbol", code: verify.CodeKlpForm, change: func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.saved_command_line" }},
		{name: "klp-name-form/section", code: verify.CodeKlpForm, change: func(m *mod) { m.rela(".text", vmText).Name = ".klp.rela." }},
		{name: "klp-vmlinux-symbol", code: verify.CodeKlpVmlinux, change: func(m *mod) {
			x, y := m.rela(".text", vmText), m.rela(".text", modText)
			y.Relocs, x.Relocs = append(y.Relocs, x.Relocs[0]), x.Relocs[1:]
		}},
		{name: "klp-symbol-object", code: verify.CodeKlpOwner, change: func(m *mod) { m.symbol(".klp.sym.pktgen.pg_net_id,0").Name = ".klp.sym.ext4.ext4_free_blocks,0" }},
		{name: "klp-symbol-missing", code: verify.CodeKlpMissing, change: func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.saved_command_lane,0" }},
		{name: "klp-symbol-missing/module", code: verify.CodeKlpMissing, change: func(m *mod) { m.symbol(".klp.sym.pktgen.pg_net_id,0").Name = ".klp.sym.pktgen.pg_net_ie,0" }},
		{name: "klp-symbol-missing/init", code: verify.CodeKlpMissing, change: func(m *mod) { m.symbol(".klp.sym.pktgen.pg_net_id,0").Name = ".klp.sym.pktgen.init_module,0" }},
		{name: "klp-symbol-ambiguous", code: verify.CodeKlpAmbig, change: func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.user_read,0" }},
		{name: "klp-symbol-position", code: verify.CodeKlpPosition, change: func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.user_read,3" }},
		{name: "klp-rela-ordinary", code: verify.CodeKlpOrdinary, change: func(m *mod) { m.rela(".text", vmText).Relocs[0].Sym = m.symbol("cmdline_proc_show") }},
		{name: "export-unknown", code: verify.CodeExport, change: func(m *mod) { m.symbol("seq_printf").Name = "seq_printg" }},
		{name: "export-crc", code: verify.CodeCRC, change: func(m *mod) { version(m, "seq_printf")[0] ^= 1 }},
		{name: "export-crc/none", code: verify.CodeCRC, change: func(m *mod) { version(m, "seq_printf")[8] = 'x' }},
		{name: "export-crc/layout", code: verify.CodeCRC, change: func(m *mod) { version(m, "module_layout")[8] = 'x' }},
		{name: "relocation/type", code: verify.CodeReloc, change: func(m *mod) { m.section(".text").Relocs[0].Type = uint32(elf.R_X86_64_GOTPCREL) }},
		{name: "relocation/bytes", code: verify.CodeReloc, change: func(m *mod) { s := m.section(".text"); s.Data[s.Relocs[0].Offset] = 1 }},
		{name: "relocation-overlap", code: verify.CodeOverlap, change: func(m *mod) { s := m.section(".text"); s.Relocs[1].Offset = s.Relocs[0].Offset + 2 }},
		{name: "special-section/size", code: verify.CodeSpecial, change: func(m *mod) { s := m.section("__jump_table"); s.Data = append(s.Data, 0) }},
		{name: "special-section/owner", code: verify.CodeSpecial, change: func(m *mod) { s := m.section("__ex_table"); s.Relocs = s.Relocs[1:] }},
		{name: "module-special-reference/section", code: verify.CodeLate, change: func(m *mod) {
			m.rela("__jump_table", ".klp.rela.vmlinux.__jump_table").Name = ".klp.rela.pktgen.__jump_table"
		}},
		{name: "module-special-reference/code", code: verify.CodeLate, change: func(m *mod) {
			s := m.section(".retpoline_sites")
			s.Relocs[0].Sym, s.Relocs[0].Addend = anchor(m.f, ".text"), int64(m.rela(".text", modText).Relocs[0].Offset)-1
		}},
		{name: "orc/none", code: verify.CodeOrc, change: func(m *mod) {
			m.f.Sections = slices.DeleteFunc(m.f.Sections, func(s *object.Section) bool { return strings.HasPrefix(s.Name, ".orc") })
			m.f.Symbols = slices.DeleteFunc(m.f.Symbols, func(s *object.Symbol) bool { return s.Section != nil && strings.HasPrefix(s.Section.Name, ".orc") })
		}},
		{name: "orc/parallel", code: verify.CodeSpecial, change: func(m *mod) { s := m.section(".orc_unwind"); s.Data = s.Data[6:] }},
		{name: "symbol/common", code: verify.CodeSymbol, change: func(m *mod) {
			m.f.Symbols = append(m.f.Symbols, &object.Symbol{Name: "common", Bind: 1, Shndx: object.Common})
		}},
	}
}

func anchor(f *object.File, name string) *object.Symbol {
	for _, s := range f.Symbols {
		if s.IsSection() && s.Section.Name == name {
			return s
		}
	}
	return nil
}

// apply makes a mutant of a module.
func (x *mutant) apply(t testing.TB, k *kernel.Kernel, data []byte, facts *klp.Facts) []byte {
	t.Helper()
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	m := &mod{t, k, f, facts}
	if x.change != nil {
		x.change(m)
	}
	for _, s := range f.Sections {
		if s.Data != nil {
			s.Size = uint64(len(s.Data))
		}
	}
	out, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if x.raw != nil {
		out = x.raw(out)
	}
	return out
}

func TestFindings(t *testing.T) {
	k := kerneltest.Open(t)
	data := good(t, k)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range slices.Concat(mutants(), oddities()) {
		t.Run(x.name, func(t *testing.T) {
			r, err := v.Check(x.apply(t, k, data, facts))
			if err != nil {
				t.Fatal(err)
			}
			all := slices.Concat(r.Objections, r.Warnings, r.Notes)
			if !slices.ContainsFunc(all, func(f verify.Finding) bool {
				return f.Code == x.code && f.Severity == verify.SeverityOf(x.code) && f.What != ""
			}) {
				t.Errorf("findings %v, want one with code %s", all, x.code)
			}
			if verify.SeverityOf(x.code) != verify.Objection && !r.OK() && !x.more {
				t.Errorf("objections %v", r.Objections)
			}
		})
	}
}

// TestUncoveredCodeIsNoticed: a helper with a name of its own is not in any
// replaced function's span.
func TestUncoveredCodeIsNoticed(t *testing.T) {
	k := kerneltest.Open(t)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	x := mutant{change: func(m *mod) { m.symbol(".Ltail").Name = "tail" }}
	r := check(t, k, x.apply(t, k, good(t, k), facts))
	i := slices.IndexFunc(r.Warnings, func(f verify.Finding) bool { return f.Code == verify.CodeUncovered })
	if !r.OK() || len(r.Warnings) != 2 || i < 0 || r.Warnings[i].Where != "tail" {
		t.Errorf("objections %v, warnings %v", r.Objections, r.Warnings)
	}
}
