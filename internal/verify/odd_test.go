// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// add gives the module a section.
func (m *mod) add(name string, kind elf.SectionType, flags elf.SectionFlag, size int) *object.Section {
	s := &object.Section{Name: name, Type: uint32(kind), Flags: uint64(flags), Align: 8, Data: make([]byte, size), Size: uint64(size)}
	m.f.Sections = append(m.f.Sections, s)
	return s
}

// objectName gives the second patched object another name.
func (m *mod) objectName(name string) {
	m.pointer("kmend_objects", m.facts.Object.Size+m.facts.Object.Name).Addend = m.str(name)
}

// export makes the module use another export in place of seq_printf.
func (m *mod) export(want func(kernel.Export) bool) {
	m.t.Helper()
	all, err := m.k.Exports()
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for name, e := range all {
		if want(e) && len(name) < 56 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		m.t.Fatal("the kernel has no such export")
	}
	name := slices.Min(names)
	v := version(m, "seq_printf")
	clear(v[8:64])
	copy(v[8:], name)
	binary.LittleEndian.PutUint32(v, all[name].CRC)
	m.symbol("seq_printf").Name = name
}

// insideText finds the place of a relocation of the code that follows an opcode
// and names a symbol.
func (m *mod) insideText(opcode byte, symbol string) (s *object.Section, i int) {
	m.t.Helper()
	s = m.section(".text")
	for i, r := range s.Relocs {
		if r.Offset > 0 && s.Data[r.Offset-1] == opcode && r.Sym.Name == symbol {
			return s, i
		}
	}
	m.t.Fatalf("no %#x %s in .text", opcode, symbol)
	return nil, 0
}

// aliased is a function of vmlinux that can be replaced and has two names.
func (m *mod) aliased() string {
	m.t.Helper()
	im := kerneltest.Image(m.t, m.k)
	fentry := im.Symbols().Lookup("__fentry__")[0].Addr
	for _, s := range im.Symbols().All() {
		if s.Type != 't' && s.Type != 'T' || len(im.Symbols().At(s.Addr)) < 2 || len(im.Symbols().Lookup(s.Name)) > 1 {
			continue
		}
		code, err := im.Bytes(s.Addr, 5)
		if err == nil && code[0] == 0xe8 && s.Addr+5+uint64(int64(int32(binary.LittleEndian.Uint32(code[1:])))) == fentry && !strings.HasPrefix(s.Name, "__init") {
			return s.Name
		}
	}
	m.t.Fatal("no function with two names")
	return ""
}

// unsignedTail is what sign-file appends, around n bytes that are no signature.
func unsignedTail(n int, kind byte) []byte {
	t := make([]byte, n+12)
	t[n+2] = kind
	binary.BigEndian.PutUint32(t[n+8:], uint32(n))
	return append(t, "~Module signature appended~\n"...)
}

// manyObjects makes a list of n objects, all with the functions of vmlinux.
func (m *mod) manyObjects(n int) {
	size := int(m.facts.Object.Size)
	s := m.add(".data.many", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, (n+1)*size)
	y := m.symbol("kmend_funcs_vmlinux")
	for i := range n {
		s.Relocs = append(s.Relocs, object.Reloc{Offset: uint64(i*size) + m.facts.Object.Funcs, Type: uint32(elf.R_X86_64_64), Sym: y})
	}
	list := &object.Symbol{Name: "many", Section: s, Bind: 1}
	m.f.Symbols = append(m.f.Symbols, list)
	r := m.pointer("kmend_patch", m.facts.Patch.Objs)
	r.Sym, r.Addend = list, 0
}

// twoFunctions makes vmlinux's functions two, with the same replacement.
func (m *mod) twoFunctions(a, b string) {
	size := m.facts.Func.Size
	s := m.add(".data.two", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, int(3*size))
	names := anchor(m.f, ".rodata.str1.1")
	for i, name := range []string{a, b} {
		at := uint64(i) * size
		s.Relocs = append(s.Relocs,
			object.Reloc{Offset: at + m.facts.Func.OldName, Type: uint32(elf.R_X86_64_64), Sym: names, Addend: m.str(name)},
			object.Reloc{Offset: at + m.facts.Func.NewFunc, Type: uint32(elf.R_X86_64_64), Sym: m.symbol("cmdline_proc_show")})
	}
	list := &object.Symbol{Name: "two", Section: s, Bind: 1}
	m.f.Symbols = append(m.f.Symbols, list)
	r := m.pointer("kmend_objects", m.facts.Object.Funcs)
	r.Sym, r.Addend = list, 0
}

// manyReferences adds klp relocations to the module's data.
func (m *mod) manyReferences(n int) {
	s := m.add(".data.many", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, 8*n)
	x := object.RelaSection{Name: ".klp.rela.vmlinux..data.many", Flags: uint64(elf.SHF_ALLOC) | object.FlagRelaLivepatch}
	for i := range n {
		x.Relocs = append(x.Relocs, object.Reloc{Offset: uint64(8 * i), Type: uint32(elf.R_X86_64_64), Sym: m.symbol(savedSym)})
	}
	s.Extra = append(s.Extra, x)
}

// oddities are modules whose findings came with kmend verify, and those that
// are no objections.
func oddities() []mutant {
	return []mutant{
		{name: "object-name/slash", code: verify.CodeObjectName, change: func(m *mod) { m.objectName("net/pktgen") }},
		{name: "object-name/dash", code: verify.CodeObjectName, change: func(m *mod) { m.objectName("ip-tables") }},
		{name: "object-name/empty", code: verify.CodeObjectName, change: func(m *mod) { m.objectName("") }},
		{name: "object-name/long", code: verify.CodeObjectName, change: func(m *mod) { m.objectName(strings.Repeat("m", 56)) }},
		{name: "object-unknown/built-in", code: verify.CodeObject, change: func(m *mod) { m.objectName("printk") }},
		{name: "too-many/objects", code: verify.CodeTooMany, change: func(m *mod) { m.manyObjects(501) }},
		{name: "function-twice/alias", code: verify.CodeDoubly, change: func(m *mod) {
			name := m.aliased()
			im := kerneltest.Image(m.t, m.k)
			other := ""
			for _, s := range im.Symbols().At(im.Symbols().Lookup(name)[0].Addr) {
				if s.Name != name && len(im.Symbols().Lookup(s.Name)) == 1 {
					other = s.Name
				}
			}
			m.twoFunctions(name, other)
		}},
		{name: "signature-form", code: verify.CodeSigForm, raw: func(d []byte) []byte {
			tail := unsignedTail(100, 2)
			binary.BigEndian.PutUint32(tail[108:], 1<<30)
			return append(d, tail...)
		}},
		{name: "signature-form/fields", code: verify.CodeSigForm, raw: func(d []byte) []byte {
			tail := unsignedTail(100, 2)
			tail[101] = 4
			return append(d, tail...)
		}},

		{name: "cannot-unload", code: verify.CodeNoExit, change: func(m *mod) {
			s := m.section(".gnu.linkonce.this_module")
			s.Relocs = slices.DeleteFunc(s.Relocs, func(r object.Reloc) bool { return r.Offset == m.facts.Module.Exit })
		}},
		{name: "object-empty", code: verify.CodeNoFunction, change: func(m *mod) {
			m.pointer("kmend_objects", m.facts.Object.Funcs).Addend += int64(m.facts.Func.Size)
		}},
		{name: "callbacks", code: verify.CodeCallbacks, change: func(m *mod) {
			y := m.symbol("kmend_objects")
			y.Section.Relocs = append(y.Section.Relocs, object.Reloc{Offset: y.Value + m.facts.Object.Callbacks, Type: uint32(elf.R_X86_64_64), Sym: m.symbol("cmdline_proc_show")})
		}},
		{name: "function-twin", code: verify.CodeTwin, change: func(m *mod) { m.oldName(m.aliased()) }},
		{name: "slow-load", code: verify.CodeSlow, change: func(m *mod) { m.manyReferences(300) }},
		{name: "export-weak", code: verify.CodeExportWeak, change: func(m *mod) {
			y := m.symbol("seq_printf")
			y.Name, y.Bind = "not_there", byte(elf.STB_WEAK)
		}},
		{name: "export-module", code: verify.CodeExportOwner, change: func(m *mod) {
			m.export(func(e kernel.Export) bool { return e.Object != "vmlinux" && e.Namespace == "" })
		}},
		{name: "depends/export", code: verify.CodeDepends, change: func(m *mod) {
			m.export(func(e kernel.Export) bool { return e.Object != "vmlinux" && e.Namespace == "" })
		}},
		{name: "depends/unknown", code: verify.CodeDepends, change: func(m *mod) { m.tag("depends", "depends=not_there") }},
		{name: "export-namespace", code: verify.CodeNamespace, change: func(m *mod) {
			m.export(func(e kernel.Export) bool { return e.Object == "vmlinux" && e.Namespace != "" })
		}},
		{name: "section", code: verify.CodeSections, change: func(m *mod) { m.section(".text").Flags |= uint64(elf.SHF_WRITE) }},
		{name: "exports-symbols", code: verify.CodeExports, change: func(m *mod) { m.add("__ksymtab_gpl", elf.SHT_PROGBITS, elf.SHF_ALLOC, 12) }},
		{name: "percpu-data", code: verify.CodePerCPU, change: func(m *mod) { m.add(".data..percpu", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, 8) }},
		{name: "btf", code: verify.CodeBTF, change: func(m *mod) { m.add(".BTF", elf.SHT_PROGBITS, 0, 24) }},
		{name: "init-reference", code: verify.CodeInitRef, change: func(m *mod) {
			s := m.add(".data.odd", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, 8)
			s.Relocs = append(s.Relocs, object.Reloc{Type: uint32(elf.R_X86_64_64), Sym: m.symbol("init_module")})
		}},
		{name: "orc-holes", code: verify.CodeOrcHoles, change: func(m *mod) {
			s, _ := m.insideText(0xe9, "__x86_return_thunk")
			for i, r := range m.section(".orc_unwind_ip").Relocs {
				at := r.Sym.Value + uint64(r.Addend)
				if r.Sym.Section == s && at > m.symbol("cmdline_proc_show").Value+5 && at < m.symbol("cmdline_proc_show").Value+m.symbol("cmdline_proc_show").Size {
					clear(m.section(".orc_unwind").Data[6*i : 6*i+6])
					return
				}
			}
			m.t.Fatal("no ORC entry inside the function")
		}},
		{name: "bare-return", code: verify.CodeBareReturn, change: func(m *mod) {
			s, i := m.insideText(0xe9, "__x86_return_thunk")
			s.Data[s.Relocs[i].Offset-1] = 0xc3
		}},
		{name: "bare-branch", code: verify.CodeBareBranch, change: func(m *mod) {
			s, i := m.insideText(0xe8, "seq_printf")
			at := s.Relocs[i].Offset - 1
			copy(s.Data[at:], "\xff\xd0\x0f\x1f\x00") // call *%rax; nop
			s.Relocs = slices.Delete(slices.Clone(s.Relocs), i, i+1)
		}},

		{name: "unsigned", code: verify.CodeUnsigned},
		{name: "unsigned/kind", code: verify.CodeUnsigned, raw: func(d []byte) []byte { return append(d, unsignedTail(100, 1)...) }},
		{name: "signature-unjudged", code: verify.CodeSignature, raw: func(d []byte) []byte { return append(d, unsignedTail(100, 2)...) }},
		{name: "kernel-build-unknown", code: verify.CodeNoKernelID, change: func(m *mod) { m.tag("kmend.build_id", "") }},
		{name: "replace", code: verify.CodeReplace, change: func(m *mod) {
			y := m.symbol("kmend_patch")
			s := m.section(y.Section.Name)
			s.Data[y.Value+m.facts.Patch.Replace] = 1
		}},
		{name: "pinned", code: verify.CodePinned, change: func(m *mod) {
			m.export(func(e kernel.Export) bool { return e.Name == "__module_get" })
			s := m.section(".init.text")
			for i, r := range s.Relocs {
				if r.Sym.Name == "klp_enable_patch" {
					at := uint64(len(s.Data))
					s.Data = append(s.Data, 0xe8, 0, 0, 0, 0)
					s.Size = uint64(len(s.Data))
					s.Relocs = append(s.Relocs, object.Reloc{Offset: at + 1, Type: s.Relocs[i].Type, Sym: m.symbol("__module_get"), Addend: -4})
					return
				}
			}
		}},
		{name: "module-reload", code: verify.CodeReload},
	}
}

// TestSignatureRequired: a kernel that is built to take signed modules only.
func TestSignatureRequired(t *testing.T) {
	k := kerneltest.Open(t)
	config, err := os.ReadFile(k.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	strict, err := kernel.Open(k.Name)
	if err != nil {
		t.Fatal(err)
	}
	strict.ObjDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(strict.ObjDir, ".config"), append(config, "\nCONFIG_MODULE_SIG_FORCE=y\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	data := handMade(t, k, "lp_all")
	if r := check(t, strict, data); codes(r.Objections) != verify.CodeSigNeeded {
		t.Errorf("objections %v", r.Objections)
	}
	if r := check(t, strict, append(bytes.Clone(data), unsignedTail(10, 2)...)); !r.OK() {
		t.Errorf("signed: objections %v", r.Objections)
	}
}

// reader stands in for a package that reads signatures.
type reader struct{ err error }

func (r reader) ReadSignature([]byte) (*verify.Signature, error) {
	if r.err != nil {
		return nil, r.err
	}
	return &verify.Signature{Bytes: 50, Signer: "somebody", Hash: "sha256", Judged: true}, nil
}

func TestSignaturesAreRead(t *testing.T) {
	k := kerneltest.Open(t)
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	data := append(handMade(t, k, "lp_all"), unsignedTail(10, 2)...)
	v.Signatures = reader{}
	r, err := v.Check(data)
	if err != nil || !r.OK() || r.Signature == nil || r.Signature.Signer != "somebody" || slices.ContainsFunc(r.Notes, func(f verify.Finding) bool { return f.Code == verify.CodeSignature }) {
		t.Errorf("%+v, %v", r, err)
	}
	v.Signatures = reader{fmt.Errorf("a bit is wrong")}
	if r, err := v.Check(data); err != nil || codes(r.Objections) != verify.CodeSigForm || r.Signature != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestCodesHaveCasesAndSeverities: every code of docs/verify.md has a module
// that triggers it, and the severity that it has there.
func TestCodesHaveCasesAndSeverities(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	triggered := map[string]bool{verify.CodeSigNeeded: true, verify.CodeUncovered: true, verify.CodeMadeAtInit: true} // tests of their own
	for _, x := range slices.Concat(mutants(), oddities()) {
		triggered[x.code] = true
	}
	for _, c := range togetherCases() {
		triggered[c.code] = true
	}
	for _, c := range listsCases() {
		triggered[c.code] = true
	}
	for _, c := range loadedCases(nil, nil) {
		for _, want := range c.want {
			code, _, _ := strings.Cut(want, " ")
			triggered[code] = true
		}
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| (objection|warning|note)[ ,|]").FindAllSubmatch(doc, -1)
	if len(rows) < 60 {
		t.Errorf("docs/verify.md has only %d codes", len(rows))
	}
	for _, r := range rows {
		code, severity := string(r[1]), verify.Severity(r[2])
		if !triggered[code] {
			t.Errorf("no test has a module with %s", code)
		}
		if verify.SeverityOf(code) != severity {
			t.Errorf("%s: %s in the source, %s in docs/verify.md", code, verify.SeverityOf(code), severity)
		}
	}
}

// TestStrangersAreNotStartled: livepatches that kbuild makes have no findings
// that somebody would have to explain away.
func TestStrangersAreNotStartled(t *testing.T) {
	k := kerneltest.Open(t)
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := vmtest.BuildModules(t, k, "../vm/testdata/modules")
	for name, want := range map[string][2]string{
		"lp_cmdline": {"", "kernel-build-unknown unsigned"},
		"lp_pinned":  {"", "kernel-build-unknown pinned unsigned"},
		"lp_stuck":   {"", "kernel-build-unknown unsigned"},
	} {
		data, err := os.ReadFile(filepath.Join(dir, name+".ko"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := v.Check(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]string{codes(r.Warnings), codes(r.Notes)}; got != want || !r.OK() {
			t.Errorf("%s: %q, want %q: %v %v", name, got, want, r.Objections, r.Warnings)
		}
	}
}
