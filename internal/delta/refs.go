// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"debug/elf"
	"fmt"
	"sort"

	"kmend/internal/insn"
	"kmend/internal/object"
)

// references resolves the relocations of every item, and the branches between
// items of one section that the assembler resolved itself.
func (u *Unit) references() error {
	for s, items := range u.bySection {
		if err := u.sectionReferences(s, items); err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
	}
	for _, it := range u.Items { // Items has a fixed order, so Users has one too
		for _, r := range it.Refs {
			if t := r.Target.Item; t != nil {
				t.addUser(it)
			}
		}
	}
	return nil
}

func (i *Item) addUser(user *Item) {
	for _, x := range i.Users {
		if x == user {
			return
		}
	}
	i.Users = append(i.Users, user)
}

func (u *Unit) sectionReferences(s *object.Section, items []*Item) error {
	next := 0
	for _, it := range items {
		for next < len(s.Relocs) && s.Relocs[next].Offset < it.Start {
			return fmt.Errorf("relocation at %#x belongs to no function or data object", s.Relocs[next].Offset)
		}
		first := next
		for next < len(s.Relocs) && s.Relocs[next].Offset < it.Start+it.Size {
			next++
		}
		relocs := s.Relocs[first:next]
		var err error
		if s.IsExec() {
			err = u.codeReferences(it, relocs)
		} else {
			err = u.dataReferences(it, relocs)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", it.Name, err)
		}
	}
	if next < len(s.Relocs) {
		return fmt.Errorf("relocation at %#x belongs to no function or data object", s.Relocs[next].Offset)
	}
	return nil
}

func (u *Unit) dataReferences(it *Item, relocs []object.Reloc) error {
	for _, r := range relocs {
		if r.Type == uint32(elf.R_X86_64_NONE) {
			continue
		}
		ref := Ref{Offset: r.Offset - it.Start, Type: r.Type, Reloc: r}
		if err := u.resolve(&ref, r.Addend); err != nil {
			return fmt.Errorf("relocation at +%#x: %w", ref.Offset, err)
		}
		it.Refs = append(it.Refs, ref)
	}
	return nil
}

// codeReferences walks the instructions: the distance from a field to the end
// of its instruction is part of a PC-relative addend (psABI 4.4.1), and only
// the walk finds branches that need no relocation.
func (u *Unit) codeReferences(it *Item, relocs []object.Reloc) error {
	refs, err := u.walk(it.Section, it.Start, it.Size, relocs)
	if err != nil {
		return err
	}
	it.Refs = refs
	return nil
}

// walk resolves the references of the code at [start, start+size) of s.
func (u *Unit) walk(s *object.Section, start, size uint64, relocs []object.Reloc) ([]Ref, error) {
	var refs []Ref
	code := s.Data[start : start+size]
	for at := uint64(0); at < size; {
		in, err := insn.Decode(code[at:])
		if err != nil {
			return nil, fmt.Errorf("decode instruction at +%#x: %w", at, err)
		}
		end := at + uint64(in.Len)
		had := false
		for len(relocs) > 0 && relocs[0].Offset < start+end {
			ref, err := u.codeReference(in, at, start, relocs[0])
			if err != nil {
				return nil, fmt.Errorf("relocation at +%#x: %w", relocs[0].Offset-start, err)
			}
			if ref != nil {
				refs = append(refs, *ref)
				had = had || ref.Branch
			}
			relocs = relocs[1:]
		}
		if in.Rel && !had {
			target := int64(start) + int64(at) + in.Target
			if target < int64(start) || target >= int64(start+size) {
				ref, err := u.resolvedBranch(in, s, at, target)
				if err != nil {
					return nil, fmt.Errorf("branch at +%#x: %w", at, err)
				}
				refs = append(refs, *ref)
			}
		}
		at = end
	}
	sort.SliceStable(refs, func(i, j int) bool { return refs[i].Offset < refs[j].Offset })
	return refs, nil
}

func (u *Unit) codeReference(in insn.Inst, at, start uint64, r object.Reloc) (*Ref, error) {
	if r.Type == uint32(elf.R_X86_64_NONE) {
		return nil, nil
	}
	ref := &Ref{Offset: r.Offset - start, Type: r.Type, Reloc: r}
	width, known := object.RelocWidth(r.Type)
	if !known {
		return nil, fmt.Errorf("type %s is not one that kernel code uses", object.RelocName(r.Type))
	}
	field := in.FieldAt(int(ref.Offset-at), width)
	if field == insn.NoField {
		return nil, fmt.Errorf("it modifies no operand of the instruction at +%#x", at)
	}
	ref.Branch = field == insn.FieldRel
	if object.PCRelative(r.Type) {
		ref.Tail = int64(at) + int64(in.Len) - int64(ref.Offset)
	}
	return ref, u.resolve(ref, r.Addend+ref.Tail)
}

// resolvedBranch makes a reference of a branch into another item.
func (u *Unit) resolvedBranch(in insn.Inst, s *object.Section, at uint64, target int64) (*Ref, error) {
	ref := &Ref{
		Offset: at + uint64(in.RelOff), Type: uint32(elf.R_X86_64_PLT32), Branch: true,
		Tail: int64(in.Len - in.RelOff), Short: in.RelWidth != 4,
	}
	it, off, err := u.locate(s, target)
	if err != nil {
		return nil, err
	}
	ref.Target.Item, ref.Add = it, off
	return ref, nil
}

// resolve fills Target and Add; value is the addend from the symbol.
func (u *Unit) resolve(ref *Ref, value int64) error {
	sym := ref.Reloc.Sym
	switch {
	case sym == nil:
		return fmt.Errorf("absolute value %#x is not a reference kmend understands", value)
	case sym.Section == nil && sym.Shndx == object.Undef:
		ref.Target.Extern, ref.Add = sym.Name, value
		return nil
	case sym.Section == nil:
		return fmt.Errorf("symbol %s has section index %#x", sym.Name, sym.Shndx)
	}
	if it := u.bySymbol[sym]; it != nil && weakAlias(it, sym) {
		ref.Target.Extern, ref.Add = sym.Name, value
		return nil
	}
	if it := u.bySymbol[sym]; it != nil {
		ref.Target.Item, ref.Add = it, int64(sym.Value)-int64(it.Start)+value
		return nil
	}
	off := int64(sym.Value) + value
	if isPool(sym.Section) {
		// The assembler keeps the symbol of a pool entry if the reference has an
		// offset to it (gas, adjust_reloc_syms), as in the end of a loop over a
		// string: what lies at the offset may be another entry.
		if !sym.IsSection() {
			off, ref.Add = int64(sym.Value), value
		}
		c, err := contentAt(sym.Section, off)
		if err != nil {
			return err
		}
		ref.Target.Content = c
		return nil
	}
	it, off, err := u.locate(sym.Section, off)
	if err != nil {
		return err
	}
	ref.Target.Item, ref.Add = it, off
	return nil
}

// locate finds the item at an offset of a section. Compilers also form
// addresses before the start and past the end of an object; where a section
// holds one item these still lead to it.
func (u *Unit) locate(s *object.Section, off int64) (*Item, int64, error) {
	items := u.bySection[s]
	if len(items) == 1 {
		return items[0], off - int64(items[0].Start), nil
	}
	var best *Item
	for _, it := range items {
		if int64(it.Start) > off {
			break
		}
		best = it
	}
	if best == nil || off > int64(best.Start+best.Size) {
		return nil, 0, fmt.Errorf("%s%+#x belongs to no function or data object", s.Name, off)
	}
	return best, off - int64(best.Start), nil
}

// contentAt returns what lies in a mergeable section at off.
func contentAt(s *object.Section, off int64) (*Content, error) {
	if off < 0 || off >= int64(len(s.Data)) {
		return nil, fmt.Errorf("%s%+#x lies outside the section", s.Name, off)
	}
	if s.Flags&uint64(elf.SHF_STRINGS) != 0 {
		if s.Entsize > 1 {
			return nil, fmt.Errorf("%s holds strings of %d-byte characters, which kmend does not support", s.Name, s.Entsize)
		}
		str, ok := s.CString(uint64(off))
		if !ok {
			return nil, fmt.Errorf("string at %s%+#x is not terminated", s.Name, off)
		}
		return &Content{Bytes: str + "\x00", Strings: true, Align: 1}, nil
	}
	start := uint64(off)
	if s.Entsize == 0 || start%s.Entsize != 0 || s.Entsize > uint64(len(s.Data))-start {
		return nil, fmt.Errorf("%s%+#x is no entry of the section", s.Name, off)
	}
	return &Content{Bytes: string(s.Data[start : start+s.Entsize]), Align: max(s.Align, 1)}, nil
}

// weakAlias reports whether a symbol is a second, weak name of an item. The
// linker may have bound that name to another object's symbol, so a reference
// by it leads to whatever has the name, as if it were undefined here.
func weakAlias(it *Item, sym *object.Symbol) bool {
	return sym.Bind == byte(elf.STB_WEAK) && len(it.Symbols) > 0 && it.Symbols[0] != sym
}
