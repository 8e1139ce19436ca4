// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"
	"sort"

	"kmend/internal/object"
)

// Write makes the livepatch module that spec describes, for the kernel that
// facts describe. It changes neither. Errors are *Error where the module
// cannot be written for a reason in spec.
func Write(spec Spec, facts *Facts) (module []byte, stats Stats, err error) {
	if err := facts.check(); err != nil {
		return nil, Stats{}, err
	}
	if err := spec.check(facts); err != nil {
		return nil, Stats{}, err
	}
	b := newBuilder(&spec, facts)
	if err := b.build(); err != nil {
		return nil, Stats{}, err
	}
	file := b.file()
	if err := checkOverlaps(file); err != nil {
		return nil, Stats{}, err
	}
	module, err = b.serialise(file)
	if err != nil {
		return nil, Stats{}, fmt.Errorf("write livepatch module %s: %w", spec.Name, err)
	}
	return module, b.finishStats(file, module), nil
}

func (b *builder) build() error {
	b.addBuildID()
	if err := b.layOut(); err != nil {
		return err
	}
	b.stats.TextSize = int(b.sections[secText].Size)
	if err := b.carrySymbols(); err != nil {
		return err
	}
	if err := b.relocate(); err != nil {
		return err
	}
	this := b.addThisModule()
	patch := b.addPatch(this)
	if err := b.addCode(this, patch); err != nil {
		return err
	}
	b.addModinfo()
	b.addVersions()
	return nil
}

// file collects the sections in use and the symbol table: section symbols,
// locals in the order of the payloads, the glue's globals, exports and .klp.sym
// by name.
func (b *builder) file() *object.File {
	f := &object.File{}
	used := b.used()
	for _, r := range b.rows {
		s := b.sections[r.name]
		if !used[s] {
			continue
		}
		f.Sections = append(f.Sections, s)
		f.Symbols = append(f.Symbols, b.anchor[s])
		sortRelocs(s.Relocs)
		for _, x := range s.Extra {
			sortRelocs(x.Relocs)
		}
		sort.Slice(s.Extra, func(i, j int) bool { return s.Extra[i].Name < s.Extra[j].Name })
	}
	for _, s := range b.locals {
		if used[s.Section] {
			f.Symbols = append(f.Symbols, s)
		}
	}
	for _, table := range []map[string]*object.Symbol{b.undef, b.klp} {
		for _, name := range sortedKeys(table) {
			f.Symbols = append(f.Symbols, table[name])
		}
	}
	return f
}

// used are the sections that hold something or that a relocation refers to: an
// empty structure (such as struct lock_class_key without lockdep) has an
// address all the same.
func (b *builder) used() map[*object.Section]bool {
	used := map[*object.Section]bool{}
	for _, s := range b.sections {
		if s.Size > 0 {
			used[s] = true
		}
		for _, r := range s.Relocs {
			if r.Sym.Section != nil {
				used[r.Sym.Section] = true
			}
		}
	}
	return used
}

// serialise writes the file twice: the build id is the SHA-1 of the module with
// a build id of zeros.
func (b *builder) serialise(f *object.File) ([]byte, error) {
	blank, err := f.Bytes()
	if err != nil {
		return nil, err
	}
	id := sha1.Sum(blank)
	copy(b.sections[secBuildID].Data[16:], id[:])
	b.stats.BuildID = hex.EncodeToString(id[:])
	return f.Bytes()
}

func (b *builder) finishStats(f *object.File, module []byte) Stats {
	s := b.stats
	s.Size = len(module)
	s.Exports, s.KlpSymbols = len(b.undef), len(b.klp)
	s.ImportsFrom, s.UsesModules = sortedKeys(b.spaces), sortedKeys(b.depends)
	for _, sec := range f.Sections {
		s.Sections += 1 + len(sec.Extra)
		s.PlainRelocs += len(sec.Relocs)
	}
	return s
}

// checkOverlaps refuses two relocations for the same bytes: the loader finds
// the bytes of the first not zero any more and gives up.
func checkOverlaps(f *object.File) error {
	for _, s := range f.Sections {
		all := slices.Clone(s.Relocs)
		for _, x := range s.Extra {
			all = append(all, x.Relocs...)
		}
		sortRelocs(all)
		for i := 1; i < len(all); i++ {
			width, _ := object.RelocWidth(all[i-1].Type)
			if all[i].Offset < all[i-1].Offset+uint64(width) {
				return &Error{Code: CodeRelocation, Where: fmt.Sprintf("module section %s+%#x", s.Name, all[i].Offset), Why: "two relocations modify the same bytes"}
			}
		}
	}
	return nil
}

func sortRelocs(r []object.Reloc) {
	sort.SliceStable(r, func(i, j int) bool { return r[i].Offset < r[j].Offset })
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
