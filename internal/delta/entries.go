// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"
	"sort"

	"kmend/internal/object"
	"kmend/internal/special"
)

// entries gives every special section entry to the item that owns its code.
func (u *Unit) entries() error {
	all, err := special.Split(u.File)
	if err != nil {
		return err
	}
	orc := map[*object.Section][]special.Entry{}
	for _, e := range all {
		if e.Format.Name == special.OrcUnwindIP {
			orc[e.Code] = append(orc[e.Code], e)
			continue
		}
		if e.Code.Name == special.AltReplacement || !e.Code.IsAlloc() || special.Ignored(e.Code.Name) {
			// Replacement code has ORC-free, never run copies; its return and
			// retpoline sites are found again by whoever moves the alternative.
			if !e.Code.IsAlloc() {
				continue
			}
			return fmt.Errorf("%s entry at %#x describes %s+%#x, which kmend does not support", e.Format.Name, e.Offset, e.Code.Name, e.At)
		}
		it, err := u.owner(&e)
		if err != nil {
			return err
		}
		refs, err := u.entryReferences(&e)
		if err != nil {
			return fmt.Errorf("%s entry of %s+%#x: %w", e.Format.Name, it.Name, e.At-it.Start, err)
		}
		it.Entries = append(it.Entries, e)
		it.EntryRefs = append(it.EntryRefs, refs)
		for _, r := range refs {
			if t := r.Target.Item; t != nil && t != it {
				t.addUser(it)
			}
		}
	}
	for s, entries := range orc {
		sort.SliceStable(entries, func(i, j int) bool { return entries[i].At < entries[j].At })
		for _, it := range u.bySection[s] {
			it.Orc = unwindData(it, entries)
		}
	}
	return nil
}

// unwindData picks an item's entries from those of its section, sorted. Each
// holds up to the next one, so code that shares a section may start in the
// middle of one: that one is repeated for its first instruction. The entry at
// the end is kept only where it ends the section.
func unwindData(it *Item, entries []special.Entry) []special.Entry {
	first := sort.Search(len(entries), func(i int) bool { return entries[i].At >= it.Start })
	var out []special.Entry
	if (first == len(entries) || entries[first].At > it.Start) && first > 0 {
		e := entries[first-1]
		e.At = it.Start
		out = append(out, e)
	}
	for _, e := range entries[first:] {
		if end := it.Start + it.Size; e.At > end || e.At == end && end != e.Code.Size {
			break
		}
		out = append(out, e)
	}
	return out
}

// owner is the item whose code the entry describes.
func (u *Unit) owner(e *special.Entry) (*Item, error) {
	for _, it := range u.bySection[e.Code] {
		if e.At >= it.Start && e.At < it.Start+it.Size {
			return it, nil
		}
	}
	return nil, fmt.Errorf("%s entry at %#x describes %s+%#x, which belongs to no function", e.Format.Name, e.Offset, e.Code.Name, e.At)
}

// entryReferences resolves an entry's relocations other than the owner, and
// for an alternative those of its replacement code.
func (u *Unit) entryReferences(e *special.Entry) ([]Ref, error) {
	var refs []Ref
	for _, r := range e.Relocs {
		if r.Offset == e.Format.Owner {
			continue
		}
		if e.Format.Name == special.AltInstructions {
			inner, err := u.replacementReferences(e)
			if err != nil {
				return nil, err
			}
			refs = append(refs, inner...)
			continue
		}
		ref := Ref{Offset: r.Offset, Type: r.Type, Reloc: r, Inner: true}
		value := r.Addend
		if flags := keyFlags(e, r.Offset); flags != 0 {
			ref.Flags = value & flags
			value &^= flags
		}
		if err := u.resolve(&ref, value); err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// keyFlags is the mask of flag bits in the low end of a key relocation's
// addend (linux/jump_label.h: branch and init; linux/static_call_types.h: tail
// and init).
func keyFlags(e *special.Entry, off uint64) int64 {
	if e.Format.Name == special.JumpTable && off == 8 || e.Format.Name == special.StaticCallSites && off == 4 {
		return 3
	}
	return 0
}

func (u *Unit) replacementReferences(e *special.Entry) ([]Ref, error) {
	s, off, size, err := e.Replacement()
	if err != nil || size == 0 {
		return nil, err
	}
	var relocs []object.Reloc
	for _, r := range s.Relocs {
		if r.Offset >= off && r.Offset < off+size {
			relocs = append(relocs, r)
		}
	}
	refs, err := u.walk(s, off, size, relocs)
	for i := range refs {
		refs[i].Inner = true
	}
	return refs, err
}
