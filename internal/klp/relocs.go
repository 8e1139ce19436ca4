// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"debug/elf"
	"fmt"
	"strconv"

	"kmend/internal/object"
	"kmend/internal/special"
)

// relocAllowed lists what apply_relocate_add of arch/x86/kernel/module.c does.
func relocAllowed(t uint32) bool {
	switch elf.R_X86_64(t) {
	case elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S, elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64:
		return true
	}
	return false
}

// relocate carries the relocations of all payloads over.
func (b *builder) relocate() error {
	for i := range b.spec.Payloads {
		p := &b.spec.Payloads[i]
		rewritten, err := rewrittenSpans(p)
		if err != nil {
			return err
		}
		for _, s := range p.File.Sections {
			if len(s.Extra) > 0 {
				return &Error{Code: CodeSpec, Object: p.Object, Where: "section " + s.Name, Why: "it carries relocations of a livepatch already"}
			}
			for _, r := range s.Relocs {
				if elf.R_X86_64(r.Type) == elf.R_X86_64_NONE {
					continue
				}
				if err := b.relocateOne(p, s, r, rewritten[s]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *builder) relocateOne(p *Payload, s *object.Section, r object.Reloc, rewritten []span) error {
	at := b.places[s]
	refuse := func(code, why, advice string) error {
		return &Error{Code: code, Object: p.Object, Where: fmt.Sprintf("%s+%#x", s.Name, r.Offset), Why: why, Advice: advice}
	}
	width, ok := object.RelocWidth(r.Type)
	if !ok || !relocAllowed(r.Type) {
		return refuse(CodeRelocation, fmt.Sprintf("the module loader does not know relocation %s", object.RelocName(r.Type)), "compile with the kernel's own flags")
	}
	if r.Offset > uint64(len(s.Data)) || uint64(width) > uint64(len(s.Data))-r.Offset {
		return refuse(CodeRelocation, "relocation outside the contents of the section", "")
	}
	if r.Sym == nil {
		return refuse(CodeRelocation, "relocation without a symbol", "")
	}
	n := object.Reloc{Offset: at.off + r.Offset, Type: r.Type, Addend: r.Addend}
	clear(at.out.Data[n.Offset : n.Offset+uint64(width)]) // the loader insists on zeros there
	if r.Sym.IsUndefined() {
		return b.bind(p, s, at.out, n, r.Sym, rewritten, refuse)
	}
	if err := b.local(r.Sym, &n); err != nil {
		return refuse(CodeUnresolved, err.Error(), "include the section or reference the kernel's own symbol")
	}
	at.out.Relocs = append(at.out.Relocs, n)
	return nil
}

// local points a relocation at something the module itself defines.
func (b *builder) local(sym *object.Symbol, n *object.Reloc) error {
	if sym.Section == nil {
		return fmt.Errorf("symbol %s is absolute or common", sym.Name)
	}
	at, ok := b.places[sym.Section]
	if !ok {
		return fmt.Errorf("symbol %s lies in section %s, which no payload includes", sym.Name, sym.Section.Name)
	}
	if m := b.symbols[sym]; m != nil {
		n.Sym = m
		return nil
	}
	// A section symbol, or one the file does not list: place it through the section.
	n.Sym = b.anchor[at.out]
	n.Addend += int64(at.off)
	if !sym.IsSection() {
		n.Addend += int64(sym.Value)
	}
	return nil
}

// bind writes a relocation against something outside the payload.
func (b *builder) bind(p *Payload, s, out *object.Section, n object.Reloc, sym *object.Symbol, rewritten []span, refuse func(code, why, advice string) error) error {
	ref, ok := p.Refs[sym]
	if !ok {
		return refuse(CodeUnresolved, fmt.Sprintf("nothing says how to find symbol %s", sym.Name), "it must be exported, in the symbol table of the object, or defined by the patch")
	}
	switch ref.Kind {
	case RefPayload:
		if ref.Target == nil {
			return refuse(CodeSpec, fmt.Sprintf("symbol %s is said to be in another payload, but not which", sym.Name), "")
		}
		if err := b.local(ref.Target, &n); err != nil {
			return refuse(CodeUnresolved, err.Error(), "include the section that defines it")
		}
		if owner := b.owner[ref.Target.Section]; owner != p.Object && owner != Vmlinux {
			return refuse(CodeModuleSpecialReference, fmt.Sprintf("it refers to %s in the new code of module %s, which may not be there", ref.Target.Name, owner), "let the code be part of vmlinux or of the same module")
		}
		out.Relocs = append(out.Relocs, n)
		return nil
	case RefExport:
		u, err := b.export(ref)
		if err != nil {
			return err
		}
		n.Sym = u
		out.Relocs = append(out.Relocs, n)
		return nil
	case RefKlp:
		return b.bindKlp(p, s, out, n, ref, rewritten, refuse)
	}
	return refuse(CodeSpec, fmt.Sprintf("symbol %s has reference kind %d, which does not exist", sym.Name, ref.Kind), "")
}

func (b *builder) bindKlp(p *Payload, s, out *object.Section, n object.Reloc, ref Ref, rewritten []span, refuse func(code, why, advice string) error) error {
	if err := objectName(ref.Object); err != nil {
		return err
	}
	if err := symbolName(ref.Object, ref.Name, ref.Sympos); err != nil {
		return err
	}
	// The section's object says when: vmlinux at load of the livepatch, a
	// module when that module is patched. A symbol of vmlinux is there from
	// the start, and the kernel refuses it in a module's section.
	when := Vmlinux
	if ref.Object != Vmlinux {
		if p.Object == Vmlinux {
			return refuse(CodeModuleSpecialReference, fmt.Sprintf("code of vmlinux refers to %s of module %s, which may not be there", ref.Name, ref.Object), "the symbol must be reached through an export or a pointer")
		}
		when = p.Object
		if out.Name != secText && out.Name != secRodata && out.Name != secData {
			return refuse(CodeModuleSpecialReference, fmt.Sprintf("the kernel reads %s before %s of module %s can be found", out.Name, ref.Name, ref.Object),
				"change the fix so that the function has no such entry, for example with a plain test instead of a static branch")
		}
		width, _ := object.RelocWidth(n.Type)
		at := n.Offset - b.places[s].off
		for _, r := range rewritten {
			if at < r.end && r.start < at+uint64(width) {
				return refuse(CodeModuleSpecialReference, fmt.Sprintf("the kernel rewrites the instruction (%s) before %s of module %s can be found", r.why, ref.Name, ref.Object),
					"change the fix so that the instruction does not refer to the module's symbol")
			}
		}
	}
	name := ".klp.sym." + ref.Object + "." + ref.Name + "," + strconv.Itoa(ref.Sympos)
	k := b.klp[name]
	if k == nil {
		k = &object.Symbol{Name: name, Bind: byte(elf.STB_GLOBAL), Kind: byte(elf.STT_NOTYPE), Shndx: object.Livepatch}
		b.klp[name] = k
	}
	n.Sym = k
	key := klpKey{out, when}
	i, ok := b.klpRela[key]
	if !ok {
		i = len(out.Extra)
		b.klpRela[key] = i
		out.Extra = append(out.Extra, object.RelaSection{
			Name:  ".klp.rela." + when + "." + out.Name,
			Flags: uint64(elf.SHF_ALLOC|elf.SHF_INFO_LINK) | object.FlagRelaLivepatch,
		})
	}
	out.Extra[i].Relocs = append(out.Extra[i].Relocs, n)
	b.stats.KlpRelocs++
	b.stats.KlpByObject[when]++
	return nil
}

// export returns the undefined symbol for an export and records what the
// module loader wants to know about it.
func (b *builder) export(ref Ref) (*object.Symbol, error) {
	if ref.Name == "" || len(ref.Name) > maxExportName && b.facts.Modversions {
		return nil, &Error{Code: CodeName, Where: fmt.Sprintf("export %.80q", ref.Name), Why: fmt.Sprintf("a version record holds names of 1 to %d characters", maxExportName)}
	}
	if crc, ok := b.versions[ref.Name]; ok && crc != ref.CRC {
		return nil, &Error{Code: CodeCRC, Where: "export " + ref.Name, Why: fmt.Sprintf("its CRC is both %#08x and %#08x", crc, ref.CRC), Advice: "take CRCs from one Module.symvers"}
	}
	b.versions[ref.Name] = ref.CRC
	if ref.Namespace != "" {
		b.spaces[ref.Namespace] = true
	}
	if ref.Object != Vmlinux {
		if err := objectName(ref.Object); err != nil {
			return nil, err
		}
		b.depends[ref.Object] = true
	}
	u := b.undef[ref.Name]
	if u == nil {
		u = &object.Symbol{Name: ref.Name, Bind: byte(elf.STB_GLOBAL), Kind: byte(elf.STT_NOTYPE), Shndx: object.Undef}
		b.undef[ref.Name] = u
	}
	return u, nil
}

// span is a range of bytes of one section.
type span struct {
	start, end uint64
	why        string
}

// rewrittenSpans returns, per code section, the bytes that the kernel rewrites
// while it loads the livepatch, before modules' symbols are known.
func rewrittenSpans(p *Payload) (map[*object.Section][]span, error) {
	entries, err := special.Split(p.File)
	if err != nil {
		return nil, &Error{Code: CodeEntry, Object: p.Object, Why: err.Error(), Advice: "keep entries whole when cutting the object down"}
	}
	out := map[*object.Section][]span{}
	for _, e := range entries {
		n := e.RewrittenLen()
		if e.Format.Name == special.JumpTable {
			n = jumpLabelLen(e.Code.Data, e.At)
		}
		if n > 0 {
			out[e.Code] = append(out[e.Code], span{e.At, e.At + n, e.Format.Name})
		}
	}
	return out, nil
}

// jumpLabelLen is the length of a jump label site: objtool has chosen between
// the two-byte and the five-byte form (arch/x86/kernel/jump_label.c).
func jumpLabelLen(code []byte, at uint64) uint64 {
	if at+1 < uint64(len(code)) && (code[at] == 0xeb || code[at] == 0x66 && code[at+1] == 0x90) {
		return 2
	}
	return 5
}
