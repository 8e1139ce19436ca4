// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sort"

	"kmend/internal/delta"
	"kmend/internal/object"
	"kmend/internal/special"
)

// Piece is the selection as an object of its own.
type Piece struct {
	File    *object.File
	Symbols map[*delta.Item]*object.Symbol // of the included items
	Needs   map[*object.Symbol]*Need       // the undefined symbols
}

// Drop names a special entry to leave out: the key it would need cannot be
// used, and the code does without it.
type Drop struct {
	From    *delta.Item
	Section string
	Offset  uint64 // of the instruction in From
}

type cutter struct {
	c       *Closure
	piece   *Piece
	needSym map[*Need]*object.Symbol
	drops   map[Drop]bool
	pools   map[string]*pool
	special map[string]*object.Section
}

// pool is a section of constants, each stored once.
type pool struct {
	section *object.Section
	symbol  *object.Symbol
	at      map[string]uint64
}

// Cut makes the object. Entries in drops are left out.
func (c *Closure) Cut(drops []Drop) (*Piece, error) {
	k := &cutter{
		c: c,
		piece: &Piece{
			File:    &object.File{},
			Symbols: map[*delta.Item]*object.Symbol{}, Needs: map[*object.Symbol]*Need{},
		},
		needSym: map[*Need]*object.Symbol{}, drops: map[Drop]bool{},
		pools: map[string]*pool{}, special: map[string]*object.Section{},
	}
	for _, d := range drops {
		k.drops[d] = true
	}
	k.declare()
	for _, it := range c.Included {
		if err := k.item(it); err != nil {
			return nil, fmt.Errorf("cut %s out of its object: %w", it.Name, err)
		}
	}
	for _, format := range special.Formats() {
		for _, it := range c.Included {
			if err := k.entries(it, format.Name); err != nil {
				return nil, fmt.Errorf("cut %s out of its object: %s: %w", it.Name, format.Name, err)
			}
		}
	}
	k.piece.prune()
	return k.piece, nil
}

// declare makes a section and a symbol for each item, so that references can
// be made in any order, and the undefined symbols.
func (k *cutter) declare() {
	f := k.piece.File
	for _, it := range k.c.Included {
		s := &object.Section{
			Name: sectionName(it), Type: it.Section.Type, Flags: it.Section.Flags &^ uint64(elf.SHF_LINK_ORDER),
			Align: it.Section.Align, Size: it.Size,
		}
		if it.Kind == delta.Func {
			s.Align = max(s.Align, 16)
		}
		if it.Size == 0 { // an address is all there is to it, and it must be its own
			s.Size = 1
		}
		f.Sections = append(f.Sections, s)
		sym := &object.Symbol{Name: it.Name, Bind: byte(elf.STB_LOCAL), Kind: byte(elf.STT_OBJECT), Section: s, Size: it.Size}
		switch {
		case it.Kind == delta.AltAux: // no function: nothing ever returns into it
			sym.Kind = byte(elf.STT_NOTYPE)
		case it.Kind.IsCode():
			sym.Kind = byte(elf.STT_FUNC)
		}
		f.Symbols = append(f.Symbols, sym)
		k.piece.Symbols[it] = sym
	}
	for _, n := range k.c.Needs {
		sym := &object.Symbol{Name: n.Name(), Bind: byte(elf.STB_GLOBAL), Kind: byte(elf.STT_NOTYPE), Shndx: object.Undef}
		k.needSym[n] = sym
		k.piece.Needs[sym] = n
		f.Symbols = append(f.Symbols, sym)
	}
}

// sectionName is a name that tells the kind of memory and, for code, the item.
func sectionName(it *delta.Item) string {
	switch it.Kind {
	case delta.Func:
		if it.Parent != nil {
			return ".text.unlikely." + it.Parent.Name
		}
		return ".text." + it.Name
	case delta.AltAux:
		return it.Section.Name
	case delta.DebugSite:
		return special.DynDebug
	case delta.Const, delta.Rodata:
		if it.Section.Data == nil {
			return ".bss." + it.Name
		}
		return ".rodata." + it.Name
	}
	if it.Section.Data == nil {
		return ".bss." + it.Name
	}
	return ".data." + it.Name
}

func (k *cutter) item(it *delta.Item) error {
	sym := k.piece.Symbols[it]
	s := sym.Section
	if it.Section.Data != nil {
		s.Data = make([]byte, s.Size)
		copy(s.Data, it.Data())
	}
	for i := range it.Refs {
		if err := k.reference(s, it, &it.Refs[i], it.Refs[i].Offset); err != nil {
			return err
		}
	}
	return nil
}

// reference adds the relocation for a reference whose field is at off of s.
func (k *cutter) reference(s *object.Section, it *delta.Item, r *delta.Ref, off uint64) error {
	width, ok := object.RelocWidth(r.Type)
	if !ok || r.Short || off+uint64(width) > uint64(len(s.Data)) {
		return fmt.Errorf("reference to %s at +%#x (%s) cannot be written", r, off, object.RelocName(r.Type))
	}
	sym, addend, err := k.target(it, r)
	if err != nil {
		return err
	}
	clear(s.Data[off : off+uint64(width)])
	s.Relocs = append(s.Relocs, object.Reloc{Offset: off, Type: r.Type, Sym: sym, Addend: addend})
	return nil
}

func (k *cutter) target(it *delta.Item, r *delta.Ref) (*object.Symbol, int64, error) {
	t := r.Target.Item
	switch {
	case r.Target.Content != nil:
		sym, off := k.content(r.Target.Content)
		return sym, int64(off) + r.Addend(), nil
	case t == nil:
		return k.needSym[k.c.extNeed[r.Target.Extern]], r.Addend(), nil
	case k.c.own(it, t, r) || k.c.internal(t, r):
		if sym := k.piece.Symbols[t]; sym != nil {
			return sym, r.Addend(), nil
		}
	default:
		if n := k.c.itemNeed[t]; n != nil {
			return k.needSym[n], r.Addend(), nil
		}
	}
	return nil, 0, fmt.Errorf("reference to %s was not selected", r)
}

// content puts a string or literal into its pool.
func (k *cutter) content(c *delta.Content) (*object.Symbol, uint64) {
	name, flags, entsize := ".rodata.str1.1", elf.SHF_ALLOC|elf.SHF_MERGE|elf.SHF_STRINGS, uint64(1)
	if !c.Strings {
		entsize = uint64(len(c.Bytes))
		name, flags = fmt.Sprintf(".rodata.cst%d", entsize), elf.SHF_ALLOC|elf.SHF_MERGE
	}
	p := k.pools[name]
	if p == nil {
		p = &pool{at: map[string]uint64{}}
		p.section = &object.Section{Name: name, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(flags), Align: 1, Entsize: entsize}
		p.symbol = &object.Symbol{Name: name, Kind: byte(elf.STT_SECTION), Section: p.section}
		k.piece.File.Sections = append(k.piece.File.Sections, p.section)
		k.piece.File.Symbols = append(k.piece.File.Symbols, p.symbol)
		k.pools[name] = p
	}
	p.section.Align = max(p.section.Align, c.Align)
	off, ok := p.at[c.Bytes]
	if !ok {
		off = uint64(len(p.section.Data))
		p.at[c.Bytes] = off
		p.section.Data = append(p.section.Data, c.Bytes...)
		p.section.Size = uint64(len(p.section.Data))
	}
	return p.symbol, off
}

// specialSection returns the piece's section of that name, made on first use.
func (k *cutter) specialSection(from *object.Section, align uint64) *object.Section {
	s := k.special[from.Name]
	if s == nil {
		s = &object.Section{Name: from.Name, Type: from.Type, Flags: from.Flags &^ uint64(elf.SHF_LINK_ORDER), Align: max(align, from.Align), Entsize: from.Entsize}
		k.special[from.Name] = s
		k.piece.File.Sections = append(k.piece.File.Sections, s)
	}
	return s
}

func (k *cutter) entries(it *delta.Item, section string) error {
	if section == special.OrcUnwindIP {
		return k.orc(it)
	}
	for i := range it.Entries {
		e := &it.Entries[i]
		if e.Format.Name != section || k.drops[Drop{From: it, Section: section, Offset: e.At - it.Start}] {
			continue
		}
		s := k.specialSection(e.Section, e.Format.Align)
		at := uint64(len(s.Data))
		s.Data = append(s.Data, e.Data...)
		s.Size = uint64(len(s.Data))
		owner := e.Reloc(e.Format.Owner)
		s.Relocs = append(s.Relocs, object.Reloc{
			Offset: at + owner.Offset, Type: owner.Type, Sym: k.piece.Symbols[it], Addend: int64(e.At - it.Start),
		})
		var err error
		if section == special.AltInstructions {
			err = k.alternative(s, at, it, i)
		} else {
			for j := range it.EntryRefs[i] {
				r := &it.EntryRefs[i][j]
				if err = k.reference(s, it, r, at+r.Offset); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
		sortRelocs(s, at)
	}
	return nil
}

// alternative copies the replacement code of an .altinstructions entry that
// has just been put at offset at of s.
func (k *cutter) alternative(s *object.Section, at uint64, it *delta.Item, i int) error {
	e := &it.Entries[i]
	code, off, size, err := e.Replacement()
	if err != nil {
		return err
	}
	repl := k.specialSection(code, 1)
	start := uint64(len(repl.Data))
	repl.Data = append(repl.Data, code.Data[off:off+size]...)
	repl.Size = uint64(len(repl.Data))
	sym := k.pools[repl.Name]
	if sym == nil {
		sym = &pool{section: repl, symbol: &object.Symbol{Name: repl.Name, Kind: byte(elf.STT_SECTION), Section: repl}}
		k.pools[repl.Name] = sym
		k.piece.File.Symbols = append(k.piece.File.Symbols, sym.symbol)
	}
	s.Relocs = append(s.Relocs, object.Reloc{Offset: at + 4, Type: e.Reloc(4).Type, Sym: sym.symbol, Addend: int64(start)})
	for j := range it.EntryRefs[i] {
		r := &it.EntryRefs[i][j]
		if err := k.reference(repl, it, r, start+r.Offset); err != nil {
			return err
		}
	}
	return nil
}

// orc copies an item's unwind data. Code cut out of a shared section may start
// in the middle of an entry's range and lacks an end marker: both are added.
func (k *cutter) orc(it *delta.Item) error {
	if it.Kind != delta.Func {
		return nil
	}
	if len(it.Orc) == 0 || it.Orc[0].At != it.Start {
		return fmt.Errorf("no unwind data for its first instruction")
	}
	ip := k.specialSection(it.Orc[0].Section, 4)
	data := k.special[special.OrcUnwind]
	if data == nil {
		data = &object.Section{Name: special.OrcUnwind, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC), Align: 1, Entsize: special.OrcStride}
		k.special[special.OrcUnwind] = data
		k.piece.File.Sections = append(k.piece.File.Sections, data)
	}
	put := func(off uint64, orc []byte) {
		ip.Relocs = append(ip.Relocs, object.Reloc{
			Offset: uint64(len(ip.Data)), Type: uint32(elf.R_X86_64_PC32), Sym: k.piece.Symbols[it], Addend: int64(off),
		})
		ip.Data = binary.LittleEndian.AppendUint32(ip.Data, 0)
		data.Data = append(data.Data, orc...)
	}
	ended := false
	for _, e := range it.Orc {
		put(e.At-it.Start, e.Orc)
		ended = e.At-it.Start >= it.Size
	}
	if !ended {
		put(it.Size, make([]byte, special.OrcStride)) // ORC_REG_UNDEFINED, as objtool ends a section
	}
	ip.Size, data.Size = uint64(len(ip.Data)), uint64(len(data.Data))
	return nil
}

// sortRelocs restores offset order among the relocations at or behind at.
func sortRelocs(s *object.Section, at uint64) {
	first := sort.Search(len(s.Relocs), func(i int) bool { return s.Relocs[i].Offset >= at })
	tail := s.Relocs[first:]
	sort.SliceStable(tail, func(i, j int) bool { return tail[i].Offset < tail[j].Offset })
}
