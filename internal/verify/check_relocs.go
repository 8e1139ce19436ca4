// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"debug/elf"
	"fmt"
	"slices"
	"sort"
	"strings"

	"kmend/internal/object"
	"kmend/internal/special"
)

// relocations checks every relocation of a loaded section against what
// apply_relocate_add of arch/x86/kernel/module.c does.
func (c *checker) relocations() {
	for _, s := range c.m.file.Sections {
		if !s.IsAlloc() { // the loader does not bother
			continue
		}
		type one struct {
			object.Reloc
			in string
		}
		var all []one
		for _, r := range s.Relocs {
			all = append(all, one{r, ".rela" + s.Name})
			c.plain(s, &r, ".rela"+s.Name)
		}
		for _, x := range s.Extra {
			for _, r := range x.Relocs {
				all = append(all, one{r, x.Name})
				if x.Flags&object.FlagRelaLivepatch == 0 {
					c.plain(s, &r, x.Name)
				}
			}
		}
		sort.SliceStable(all, func(i, j int) bool { return all[i].Offset < all[j].Offset })
		end := uint64(0)
		for _, r := range all {
			width, known := object.RelocWidth(r.Type)
			if elf.R_X86_64(r.Type) == elf.R_X86_64_NONE {
				continue
			}
			at := func() string { return fmt.Sprintf("%s+%#x", s.Name, r.Offset) }
			switch {
			case !known || !loaderKnows(r.Type):
				c.r.find(CodeReloc, at(), "", "the loader does not know relocation %s (%s)", object.RelocName(r.Type), r.in)
				continue
			case r.Sym == nil:
				c.r.find(CodeReloc, at(), "", "relocation without a symbol (%s)", r.in)
				continue
			case r.Offset < end:
				c.r.find(CodeOverlap, at(), "", "two relocations modify the same bytes: the loader gives up at the second")
			case s.Data == nil:
				c.r.find(CodeReloc, at(), "", "it modifies a section without contents")
				continue
			case slices.ContainsFunc(s.Data[r.Offset:r.Offset+uint64(width)], func(b byte) bool { return b != 0 }):
				c.r.find(CodeReloc, at(), "the bytes it modifies must be zero", "the loader finds the bytes not zero and refuses the module")
			}
			end = max(end, r.Offset+uint64(width))
			c.r.Checked.Relocs++
		}
	}
}

func loaderKnows(t uint32) bool {
	switch elf.R_X86_64(t) {
	case elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S, elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64:
		return true
	}
	return false
}

// plain checks one relocation that the module loader itself applies.
func (c *checker) plain(s *object.Section, r *object.Reloc, in string) {
	if r.Sym == nil {
		return
	}
	at := func() string { return fmt.Sprintf("%s+%#x", s.Name, r.Offset) }
	switch {
	case r.Sym.Section == nil && r.Sym.Shndx == object.Livepatch:
		c.r.find(CodeKlpPlain, at(), "move it to a .klp.rela section with SHF_RELA_LIVEPATCH", "a plain relocation (%s) against %s: it resolves to 0 and the kernel does not complain", in, r.Sym.Name)
	case r.Sym.Section != nil && !r.Sym.Section.IsAlloc():
		c.r.find(CodeReloc, at(), "", "it refers to section %s, which is not loaded", r.Sym.Section.Name)
	case r.Sym.Section != nil && dropped(r.Sym.Section.Name):
		c.r.find(CodeReloc, at(), "", "it refers to section %s, which is not kept", r.Sym.Section.Name)
	case r.Sym.Section != nil && isInit(r.Sym.Section.Name) && !isInit(s.Name) && s.Name != secThis && special.Lookup(s.Name) == nil:
		c.r.find(CodeInitRef, at(), "keep what is used later out of __init", "it refers to section %s, which is freed after load", r.Sym.Section.Name)
	}
}

// klpSections checks the .klp.rela sections and what they refer to.
func (c *checker) klpSections() {
	objects := map[string]bool{}
	for _, o := range c.m.Objects {
		objects[o.Name] = true
	}
	for _, raw := range c.m.raw {
		if strings.HasPrefix(raw.name, klpRelaPrefix) && raw.kind != elf.SHT_RELA {
			c.r.find(CodeKlpForm, raw.name, "", "it is no relocation section")
		}
		if strings.HasPrefix(raw.name, ".rela") && raw.flags&object.FlagRelaLivepatch != 0 {
			c.r.find(CodeKlpForm, raw.name, "", "it is marked as a livepatch section and does not have the name of one: the load fails")
		}
	}
	for _, s := range c.m.file.Sections {
		for i := range s.Extra {
			if x := &s.Extra[i]; isKlpRela(x) {
				c.klpSection(s, x, objects)
			}
		}
	}
}

func (c *checker) klpSection(s *object.Section, x *object.RelaSection, objects map[string]bool) {
	obj, err := relaObject(x.Name)
	if err != nil {
		c.r.find(CodeKlpForm, x.Name, "", "%v", err)
		return
	}
	if x.Flags&object.FlagRelaLivepatch == 0 {
		c.r.find(CodeKlpFlags, x.Name, "set the flag 0x100000", "SHF_RELA_LIVEPATCH is missing: the loader applies it as plain relocations, with symbols at 0, and does not complain")
	}
	if x.Flags&uint64(elf.SHF_ALLOC) == 0 {
		c.r.find(CodeKlpFlags, x.Name, "set SHF_ALLOC", "SHF_ALLOC is missing: the kernel reads freed memory when the object is loaded later")
	}
	if !s.IsAlloc() {
		c.r.find(CodeReloc, x.Name, "", "it modifies section %s, which is not loaded", s.Name)
	}
	if obj != vmlinux {
		switch {
		case c.m.Objects != nil && !objects[obj]:
			c.r.find(CodeKlpObject, x.Name, "", "the livepatch does not patch object %s: these relocations are never applied, and the kernel does not complain", obj)
		case c.module(obj).err != nil:
			c.r.find(CodeKlpObject, x.Name, "", "%v", c.module(obj).err)
			return
		}
	}
	for _, r := range x.Relocs {
		if r.Sym == nil || r.Sym.Section != nil || r.Sym.Shndx != object.Livepatch {
			c.r.find(CodeKlpOrdinary, fmt.Sprintf("%s+%#x", x.Name, r.Offset), "", "its symbol is not a livepatch symbol: the load fails")
			continue
		}
		k, err := parseKlpSymbol(r.Sym.Name)
		if err != nil {
			continue // symbols has said so
		}
		use := klpUse{obj, r.Sym.Name}
		i, ok := c.symbolAt[use]
		if !ok {
			i = len(c.r.Symbols)
			c.symbolAt[use] = i
			c.r.Symbols = append(c.r.Symbols, Resolved{Object: k.Object, Name: k.Name, Sympos: k.Sympos, With: obj, Found: c.klpSymbol(x.Name, obj, k)})
		}
		c.r.Symbols[i].At = append(c.r.Symbols[i].At, fmt.Sprintf("%s+%#x", s.Name, r.Offset))
	}
}

// klpUse is a .klp.sym symbol in the sections of one object.
type klpUse struct{ obj, symbol string }

// klpSymbol finds a symbol as the livepatch core does; nil if that fails.
func (c *checker) klpSymbol(section, obj string, k KlpSymbol) *Place {
	at := k.Object + ":" + k.Name
	var bad *trouble
	var place *Place
	switch {
	case k.Object == vmlinux && obj != vmlinux:
		c.r.find(CodeKlpVmlinux, at, "put it into .klp.rela.vmlinux", "section %s belongs to a module: the kernel refuses symbols of vmlinux there", section)
		return nil
	case k.Object == vmlinux:
		list := c.im.Symbols().Lookup(k.Name)
		var i int
		if i, bad = pick(len(list), uint64(k.Sympos)); bad != nil {
			break
		}
		if list[i].Addr == 0 {
			c.r.find(CodeKlpMissing, at, "", "its address is 0, which the kernel takes for not found")
			return nil
		}
		if c.within(list[i].Addr, "__init_begin", "__init_end") {
			c.r.find(CodeOldInit, at, "", "it is init code or data, which is freed when the kernel has booted")
			return nil
		}
		place = c.placeInImage(list[i])
	case !c.present(obj, k.Object):
		c.r.find(CodeKlpOwner, at, "", "module %s need not be loaded when section %s is applied", k.Object, section)
		return nil
	default:
		m := c.module(k.Object)
		if m.err != nil {
			c.r.find(CodeKlpMissing, at, "", "%v", m.err)
			return nil
		}
		var y *object.Symbol
		if y, bad = m.find(k.Name, uint64(k.Sympos)); bad == nil {
			place = m.place(k.Object, y)
		}
	}
	switch {
	case bad == nil:
		c.r.Checked.KlpSymbols++
	case bad.missing:
		c.r.find(CodeKlpMissing, at, "", "%s", bad.text)
	case bad.ambiguous:
		c.r.find(CodeKlpAmbig, at, "give the position among all entries of that name", "%s", bad.text)
	default:
		c.r.find(CodeKlpPosition, at, "count all entries of that name, of any kind and binding", "%s", bad.text)
	}
	return place
}

// present reports whether module owner is there whenever object obj is.
func (c *checker) present(obj, owner string) bool {
	if obj == owner {
		return true
	}
	if obj == vmlinux {
		return false
	}
	deps, err := c.k.ModuleDepends(obj)
	return err == nil && slices.Contains(deps, owner)
}
