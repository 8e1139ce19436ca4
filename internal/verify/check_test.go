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
func good(t *testing.T, k *kernel.Kernel) []byte {
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
	if !r.OK() || len(r.Warnings) > 0 {
		t.Errorf("objections %v, warnings %v", r.Objections, r.Warnings)
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
}

// mod gives mutations their tools.
type mod struct {
	t     *testing.T
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
		{"klp-rela-flags/livepatch", verify.CodeKlpFlags, func(m *mod) { m.rela(".text", vmText).Flags &^= object.FlagRelaLivepatch }},
		{"klp-rela-flags/alloc", verify.CodeKlpFlags, func(m *mod) { m.rela(".text", modText).Flags &^= alloc }},
		{"klp-rela-object", verify.CodeKlpObject, func(m *mod) { m.rela(".text", modText).Name = ".klp.rela.pktgem..text" }},
		{"object-vmlinux", verify.CodeObjectNull, func(m *mod) {
			y := m.symbol("kmend_objects")
			y.Section.Relocs = append(y.Section.Relocs, object.Reloc{Offset: y.Value, Type: uint32(elf.R_X86_64_64), Sym: anchor(m.f, ".rodata.str1.1"), Addend: m.str("vmlinux")})
		}},
		{"klp-symbol-plain", verify.CodeKlpPlain, func(m *mod) {
			s, x := m.section(".text"), m.rela(".text", vmText)
			s.Relocs, x.Relocs = append(s.Relocs, x.Relocs[0]), x.Relocs[1:]
		}},
		// Those the kernel refuses.
		{"modinfo/livepatch", verify.CodeModinfo, func(m *mod) { m.tag("livepatch", "") }},
		{"modinfo/license", verify.CodeModinfo, func(m *mod) { m.tag("license", "license=Proprietary") }},
		{"modinfo/retpoline", verify.CodeModinfo, func(m *mod) { m.tag("retpoline", "") }},
		{"vermagic", verify.CodeVermagic, func(m *mod) { m.tag("vermagic", "vermagic=6.1.0-49-amd64 SMP preempt mod_unload modversions ") }},
		{"kernel-build-id", verify.CodeKernelID, func(m *mod) { m.tag("kmend.build_id", "kmend.build_id=00") }},
		{"module-name", verify.CodeName, func(m *mod) {
			m.tag("name", "name=ext4")
			copy(m.section(".gnu.linkonce.this_module").Data[m.facts.Module.Name:], "ext4\x00")
		}},
		{"this-module/name", verify.CodeThisModule, func(m *mod) { m.section(".gnu.linkonce.this_module").Data[m.facts.Module.Name] = 'x' }},
		{"this-module/size", verify.CodeThisModule, func(m *mod) {
			s := m.section(".gnu.linkonce.this_module")
			s.Data = append(s.Data, make([]byte, 64)...)
		}},
		{"this-module/offset", verify.CodeThisModule, func(m *mod) { m.section(".gnu.linkonce.this_module").Relocs[0].Offset += 8 }},
		{"never-enabled", verify.CodeEnable, func(m *mod) {
			s := m.section(".init.text")
			s.Relocs = slices.DeleteFunc(s.Relocs, func(r object.Reloc) bool { return r.Sym.Name == "klp_enable_patch" })
		}},
		{"duplicate-section", verify.CodeDuplicate, func(m *mod) {
			m.f.Sections = append(m.f.Sections, &object.Section{Name: ".text", Type: uint32(elf.SHT_PROGBITS), Flags: alloc, Data: []byte{0}, Size: 1})
		}},
		{"livepatch-structs", verify.CodeLivepatch, func(m *mod) { m.pointer("kmend_patch", m.facts.Patch.Objs).Offset += 16 }},
		{"object-unknown", verify.CodeObject, func(m *mod) {
			m.pointer("kmend_objects", m.facts.Object.Size+m.facts.Object.Name).Addend = m.str("pktgem")
		}},
		{"function-missing", verify.CodeOldMissing, func(m *mod) { m.oldName("cmdline_proc_shew") }},
		{"function-ambiguous", verify.CodeOldAmbig, func(m *mod) { m.oldName("user_read") }},
		{"function-position", verify.CodeOldPosition, func(m *mod) { m.sympos("kmend_funcs_vmlinux", 2) }},
		{"function-position/module", verify.CodeOldPosition, func(m *mod) { m.sympos("kmend_funcs_pktgen", 2) }},
		{"function-kind", verify.CodeOldKind, func(m *mod) { m.oldName("saved_command_line") }},
		{"function-init", verify.CodeOldInit, func(m *mod) { m.oldName("proc_cmdline_init") }},
		{"no-fentry", verify.CodeNoFentry, func(m *mod) { m.oldName("copy_user_generic_string") }},
		{"new-function/data", verify.CodeNewFunction, func(m *mod) {
			r := m.pointer("kmend_funcs_vmlinux", m.facts.Func.NewFunc)
			r.Sym, r.Addend = anchor(m.f, ".rodata"), 0
		}},
		{"new-function/unnamed", verify.CodeNewFunction, func(m *mod) { m.symbol("cmdline_proc_show").Name = ".Lcmdline_proc_show" }},
		{"klp-name-form/symbol", verify.CodeKlpForm, func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.saved_command_line" }},
		{"klp-name-form/section", verify.CodeKlpForm, func(m *mod) { m.rela(".text", vmText).Name = ".klp.rela." }},
		{"klp-vmlinux-symbol", verify.CodeKlpVmlinux, func(m *mod) {
			x, y := m.rela(".text", vmText), m.rela(".text", modText)
			y.Relocs, x.Relocs = append(y.Relocs, x.Relocs[0]), x.Relocs[1:]
		}},
		{"klp-symbol-object", verify.CodeKlpOwner, func(m *mod) { m.symbol(".klp.sym.pktgen.pg_net_id,0").Name = ".klp.sym.ext4.ext4_free_blocks,0" }},
		{"klp-symbol-missing", verify.CodeKlpMissing, func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.saved_command_lane,0" }},
		{"klp-symbol-missing/module", verify.CodeKlpMissing, func(m *mod) { m.symbol(".klp.sym.pktgen.pg_net_id,0").Name = ".klp.sym.pktgen.pg_net_ie,0" }},
		{"klp-symbol-missing/init", verify.CodeKlpMissing, func(m *mod) { m.symbol(".klp.sym.pktgen.pg_net_id,0").Name = ".klp.sym.pktgen.init_module,0" }},
		{"klp-symbol-ambiguous", verify.CodeKlpAmbig, func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.user_read,0" }},
		{"klp-symbol-position", verify.CodeKlpPosition, func(m *mod) { m.symbol(savedSym).Name = ".klp.sym.vmlinux.user_read,3" }},
		{"klp-rela-ordinary", verify.CodeKlpOrdinary, func(m *mod) { m.rela(".text", vmText).Relocs[0].Sym = m.symbol("cmdline_proc_show") }},
		{"export-unknown", verify.CodeExport, func(m *mod) { m.symbol("seq_printf").Name = "seq_printg" }},
		{"export-crc", verify.CodeCRC, func(m *mod) { version(m, "seq_printf")[0] ^= 1 }},
		{"export-crc/none", verify.CodeCRC, func(m *mod) { version(m, "seq_printf")[8] = 'x' }},
		{"export-crc/layout", verify.CodeCRC, func(m *mod) { version(m, "module_layout")[8] = 'x' }},
		{"relocation/type", verify.CodeReloc, func(m *mod) { m.section(".text").Relocs[0].Type = uint32(elf.R_X86_64_GOTPCREL) }},
		{"relocation/bytes", verify.CodeReloc, func(m *mod) { s := m.section(".text"); s.Data[s.Relocs[0].Offset] = 1 }},
		{"relocation-overlap", verify.CodeOverlap, func(m *mod) { s := m.section(".text"); s.Relocs[1].Offset = s.Relocs[0].Offset + 2 }},
		{"special-section/size", verify.CodeSpecial, func(m *mod) { s := m.section("__jump_table"); s.Data = append(s.Data, 0) }},
		{"special-section/owner", verify.CodeSpecial, func(m *mod) { s := m.section("__ex_table"); s.Relocs = s.Relocs[1:] }},
		{"module-special-reference/section", verify.CodeLate, func(m *mod) {
			m.rela("__jump_table", ".klp.rela.vmlinux.__jump_table").Name = ".klp.rela.pktgen.__jump_table"
		}},
		{"module-special-reference/code", verify.CodeLate, func(m *mod) {
			s := m.section(".retpoline_sites")
			s.Relocs[0].Sym, s.Relocs[0].Addend = anchor(m.f, ".text"), int64(m.rela(".text", modText).Relocs[0].Offset)-1
		}},
		{"orc/none", verify.CodeOrc, func(m *mod) {
			m.f.Sections = slices.DeleteFunc(m.f.Sections, func(s *object.Section) bool { return strings.HasPrefix(s.Name, ".orc") })
			m.f.Symbols = slices.DeleteFunc(m.f.Symbols, func(s *object.Symbol) bool { return s.Section != nil && strings.HasPrefix(s.Section.Name, ".orc") })
		}},
		{"orc/parallel", verify.CodeSpecial, func(m *mod) { s := m.section(".orc_unwind"); s.Data = s.Data[6:] }},
		{"symbol/common", verify.CodeSymbol, func(m *mod) {
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
func (x *mutant) apply(t *testing.T, data []byte, facts *klp.Facts) []byte {
	t.Helper()
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	m := &mod{t, f, facts}
	x.change(m)
	for _, s := range f.Sections {
		if s.Data != nil {
			s.Size = uint64(len(s.Data))
		}
	}
	out, err := f.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestObjections(t *testing.T) {
	k := kerneltest.Open(t)
	data := good(t, k)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range mutants() {
		t.Run(x.name, func(t *testing.T) {
			r := check(t, k, x.apply(t, data, facts))
			if !slices.ContainsFunc(r.Objections, func(o verify.Objection) bool { return o.Code == x.code }) {
				t.Errorf("objections %v, want one with code %s", r.Objections, x.code)
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
	r := check(t, k, x.apply(t, good(t, k), facts))
	if !r.OK() || len(r.Warnings) != 1 || r.Warnings[0].Code != verify.CodeUncovered || r.Warnings[0].Where != "tail" {
		t.Errorf("objections %v, warnings %v", r.Objections, r.Warnings)
	}
}
