// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"debug/elf"
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
	"kmend/internal/special"
)

// NewUnit cuts an object into items and resolves their references. It fails on
// an object it cannot account for byte by byte, rather than overlook a change.
func NewUnit(f *object.File) (*Unit, error) {
	u := &Unit{
		File:      f,
		bySection: map[*object.Section][]*Item{},
		bySymbol:  map[*object.Symbol]*Item{},
		byName:    map[string]*Item{},
	}
	if err := u.cut(); err != nil {
		return nil, fmt.Errorf("cut object into functions and data: %w", err)
	}
	if err := u.references(); err != nil {
		return nil, fmt.Errorf("resolve references: %w", err)
	}
	if err := u.entries(); err != nil {
		return nil, fmt.Errorf("assign special section entries: %w", err)
	}
	u.classifyByReferences()
	u.exports()
	return u, nil
}

// kept reports whether a section's contents are items. Special sections belong
// to items; string and literal pools are known by content.
func kept(s *object.Section) bool {
	if !s.IsAlloc() || special.Ignored(s.Name) || special.Lookup(s.Name) != nil || special.IsCompanion(s.Name) {
		return false
	}
	return !isPool(s) && s.Name != ".modinfo" && !strings.HasPrefix(s.Name, ".note")
}

// isPool reports whether the linker may merge the section's pieces, so that
// only their content tells them apart (gABI: SHF_MERGE).
func isPool(s *object.Section) bool {
	return s.Flags&uint64(elf.SHF_MERGE) != 0 && s.Name != exportStrings
}

func (u *Unit) cut() error {
	bySection := map[*object.Section][]*object.Symbol{}
	for _, s := range u.File.Symbols {
		if s.Section == nil || s.IsSection() || !kept(s.Section) {
			continue
		}
		if s.Value > s.Section.Size || s.Size > s.Section.Size-s.Value {
			return fmt.Errorf("symbol %s lies outside section %s", s.Name, s.Section.Name)
		}
		bySection[s.Section] = append(bySection[s.Section], s)
	}
	for _, s := range u.File.Sections {
		if !kept(s) || s.Size == 0 && len(bySection[s]) == 0 {
			continue
		}
		if s.IsExec() && s.Data == nil {
			return fmt.Errorf("section %s is code without contents", s.Name)
		}
		if s.Flags&uint64(elf.SHF_GROUP) != 0 {
			return fmt.Errorf("section %s is part of a section group, which kmend does not support", s.Name)
		}
		symbols := bySection[s]
		if s.Name == altAux && s.IsExec() {
			symbols = append(symbols, altAuxLabels(u.File, s)...)
		}
		items, err := cutSection(s, symbols)
		if err != nil {
			return fmt.Errorf("section %s: %w", s.Name, err)
		}
		for _, it := range items {
			u.Items = append(u.Items, it)
			for _, sym := range append(it.Symbols[:len(it.Symbols):len(it.Symbols)], it.Labels...) {
				u.bySymbol[sym] = it
				if u.byName[sym.Name] == nil {
					u.byName[sym.Name] = it
				}
			}
			if u.byName[it.Name] == nil {
				u.byName[it.Name] = it
			}
		}
		u.bySection[s] = items
	}
	u.linkCold()
	return nil
}

// cutSection makes items of one section: one per address with symbols, and one
// for each run of bytes between that is not padding.
func cutSection(s *object.Section, symbols []*object.Symbol) ([]*Item, error) {
	sort.SliceStable(symbols, func(i, j int) bool {
		a, b := symbols[i], symbols[j]
		if a.Value != b.Value {
			return a.Value < b.Value
		}
		if (a.Size == 0) != (b.Size == 0) {
			return a.Size != 0
		}
		return nameRank(a) < nameRank(b)
	})
	var items []*Item
	end := uint64(0) // of what items cover
	for i := 0; i < len(symbols); {
		first := symbols[i]
		it := &Item{Name: first.Name, Section: s, Start: first.Value, Size: first.Size}
		for ; i < len(symbols) && symbols[i].Value == it.Start; i++ {
			it.Symbols = append(it.Symbols, symbols[i])
			it.Size = max(it.Size, symbols[i].Size)
		}
		next := s.Size
		if i < len(symbols) {
			next = symbols[i].Value
		}
		if it.Size == 0 && s.IsExec() { // assembler code without .size
			it.Size = next - it.Start
		}
		if it.Start < end {
			if s.IsExec() || it.Start+it.Size <= end { // a label inside a function, a member of a set
				last := items[len(items)-1]
				last.Labels = append(last.Labels, it.Symbols...)
				continue
			}
			return nil, fmt.Errorf("%s overlaps %s", it.Name, items[len(items)-1].Name)
		}
		items = appendGap(items, s, end, it.Start)
		items = append(items, it)
		end = it.Start + it.Size
	}
	items = appendGap(items, s, end, s.Size)
	for _, it := range items {
		it.Kind = kindOf(it)
	}
	return items, nil
}

// nameRank orders the names of one address: a strong global name says best what
// the item is, a weak one may be another object's in the linked kernel.
func nameRank(s *object.Symbol) int {
	switch {
	case s.Bind == byte(elf.STB_WEAK):
		return 2
	case s.IsLocal():
		return 1
	}
	return 0
}

// appendGap adds a nameless item for [start,end) unless it is only padding:
// zeros, or in code int3 and no-ops, without relocations.
func appendGap(items []*Item, s *object.Section, start, end uint64) []*Item {
	if start == end {
		return items
	}
	gap := &Item{Name: fmt.Sprintf("%s+%#x", s.Name, start), Section: s, Start: start, Size: end - start}
	if start == 0 && end == s.Size {
		gap.Name = s.Name
		return append(items, gap)
	}
	for _, r := range s.Relocs {
		if r.Offset >= start && r.Offset < end {
			return append(items, gap)
		}
	}
	if s.IsExec() && isCodePadding(gap.Data()) || !s.IsExec() && isZero(gap.Data()) {
		return items
	}
	return append(items, gap)
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// linkCold ties foo.cold to foo: GCC splits one function into both
// (-freorder-blocks-and-partition).
func (u *Unit) linkCold() {
	for _, it := range u.Items {
		name, ok := strings.CutSuffix(it.Name, ".cold")
		if !ok || !it.Kind.IsCode() {
			continue
		}
		if parent := u.byName[name]; parent != nil && parent.Kind.IsCode() {
			it.Parent, parent.Cold = parent, it
		}
	}
}

// exports lists what has a __ksymtab entry (include/linux/export.h): the
// section says whether for everybody or for GPL modules, __kstrtabns_NAME in
// which namespace.
func (u *Unit) exports() {
	u.Exports = map[string]string{}
	for _, s := range u.File.Symbols {
		name, ok := strings.CutPrefix(s.Name, "__ksymtab_")
		if !ok || s.Section == nil || !strings.HasPrefix(s.Section.Name, "___ksymtab") {
			continue
		}
		terms := "for all modules"
		if strings.HasPrefix(s.Section.Name, "___ksymtab_gpl") {
			terms = "for GPL modules"
		}
		for _, ns := range u.File.Symbols {
			if ns.Name == "__kstrtabns_"+name && ns.Section != nil {
				if text, ok := ns.Section.CString(ns.Value); ok && text != "" {
					terms += " in namespace " + text
				}
			}
		}
		u.Exports[name] = terms
	}
}

const altAux = ".altinstr_aux"

// altAuxLabels makes a symbol for each place of .altinstr_aux that code jumps
// to: each is the start of one test, which has no symbol of its own.
func altAuxLabels(f *object.File, aux *object.Section) []*object.Symbol {
	seen := map[uint64]bool{}
	var out []*object.Symbol
	for _, s := range f.Sections {
		if !s.IsExec() {
			continue
		}
		for _, r := range s.Relocs {
			if r.Sym == nil || r.Sym.Section != aux || !object.PCRelative(r.Type) {
				continue
			}
			at := r.Sym.Value + uint64(r.Addend+4) // a jump: the field ends the instruction
			if at < aux.Size && !seen[at] {
				seen[at] = true
				out = append(out, &object.Symbol{Name: fmt.Sprintf("%s+%#x", aux.Name, at), Section: aux, Value: at})
			}
		}
	}
	return out
}
