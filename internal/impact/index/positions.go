// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/kernel"
	"kmend/internal/object"
	"kmend/internal/runpre"
)

// positions finds the sympos of every symbol, as the linked images have it.
//
// The name of a local symbol need not tell which of several it is. In the
// symbol table of an image each unit's local symbols follow the name of its C
// file, in the order of its object: names and sizes of them together tell the
// units apart.
func (t *tree) positions(ctx context.Context, m *merge) error {
	byObject := map[string][]int{}
	for i := range m.file.units {
		u := &m.file.units[i]
		object := string(cstr(m.file.strings, u.object))
		byObject[object] = append(byObject[object], i)
	}
	kos := map[string]string{}
	for _, p := range t.modules {
		kos[moduleName(p)] = p
	}
	for object, units := range byObject {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p := &positions{m: m, units: units}
		var err error
		switch {
		case object == "":
			p.all(sympUnknown)
		case object == Vmlinux && t.vmlinux:
			err = p.vmlinux(filepath.Join(t.dir, Vmlinux))
		case object != Vmlinux && kos[object] != "":
			err = p.module(filepath.Join(t.dir, kos[object]))
		default:
			p.all(sympNoImage)
		}
		if err != nil {
			return fmt.Errorf("find the positions of symbols in %s: %w", object, err)
		}
	}
	return nil
}

// positions fills in the symbols of the units of one object.
type positions struct {
	m      *merge
	units  []int
	image  []localGroup
	named  map[string][]int // groups by C file
	find   func(name string, value uint64) (pos int, why uint32)
	at     map[string][]uint64 // global symbols of the image
	strong map[string]bool     // global symbols of the units that are not weak
}

// localGroup are the local functions of one unit in an image.
type localGroup struct {
	syms   []groupSymbol
	values []uint64
}

type groupSymbol struct {
	name string
	size uint64
}

func (p *positions) all(why uint32) {
	for _, i := range p.units {
		u := &p.m.file.units[i]
		for j := range p.m.file.syms[u.sym0 : u.sym0+u.syms] {
			p.m.file.syms[u.sym0+uint32(j)].why = why
		}
	}
}

// vmlinux takes positions from the kernel's own table, kallsyms.
func (p *positions) vmlinux(name string) error {
	im, err := kernel.OpenImage(name)
	if err != nil {
		p.all(sympNoSymbols) // a kernel without kallsyms is none that can be patched
		return nil
	}
	table := im.Symbols()
	p.find = func(name string, value uint64) (int, uint32) {
		same := table.Lookup(name)
		for _, s := range same {
			if s.Addr == value || value == noValue && len(same) == 1 {
				return table.Sympos(s), sympKnown
			}
		}
		if len(same) == 0 || value != noValue {
			return 0, sympAbsent
		}
		return 0, sympAlike
	}
	data, unmap, err := mapFile(name)
	if err != nil {
		return err
	}
	defer unmap()
	if err := p.groups(data); err != nil {
		p.all(sympNoSymbols)
		return nil
	}
	p.fill()
	return nil
}

// module takes positions from the symbol table of a .ko.
func (p *positions) module(name string) error {
	data, err := readBounded(name, maxObject)
	if err != nil {
		return err
	}
	ko, err := object.Read(data)
	if err != nil {
		return fmt.Errorf("%s: %w; build it again", name, err)
	}
	p.find = func(name string, value uint64) (int, uint32) {
		var found *object.Symbol
		n := 0
		for _, s := range ko.Symbols {
			if s.Name == name && s.IsFunc() && s.Section != nil && (value == noValue || uint64(s.Section.Index)<<48|s.Value == value) {
				found = s
				n++
			}
		}
		switch {
		case n == 0:
			return 0, sympAbsent
		case n > 1:
			return 0, sympAlike
		}
		pos, ok := runpre.ModuleSympos(ko, found)
		if !ok {
			return 0, sympUnstable
		}
		return pos, sympKnown
	}
	if err := p.groups(data); err != nil {
		return fmt.Errorf("%s: %w; build it again", name, err)
	}
	p.fill()
	return nil
}

// noValue asks for a symbol by name alone.
const noValue = ^uint64(0)

// groups reads the local functions of an image by unit, and its global ones. In
// a module a value is section<<48 | offset.
func (p *positions) groups(data []byte) error {
	o := &objectScan{data: data}
	if len(data) < ehdrSize || string(data[:4]) != elf.ELFMAG {
		return errors.New("not an ELF file")
	}
	if err := o.sections(); err != nil {
		return err
	}
	rel := elf.Type(le.Uint16(data[16:])) == elf.ET_REL
	for i := range o.headers {
		if elf.SectionType(o.headers[i].kind) != elf.SHT_SYMTAB {
			continue
		}
		var err error
		if o.symtab, err = o.contents(uint32(i)); err == nil {
			o.strtab, err = o.contents(o.headers[i].link)
		}
		if err != nil {
			return err
		}
	}
	if len(o.symtab) == 0 {
		return errors.New("it has no symbol table")
	}
	p.named, p.at = map[string][]int{}, map[string][]uint64{}
	for b := o.symtab; len(b) >= symSize; b = b[symSize:] {
		p.note(o, b, rel)
	}
	return nil
}

func (p *positions) note(o *objectScan, b []byte, rel bool) {
	name := string(cstr(o.strtab, le.Uint32(b)))
	sec, value := le.Uint16(b[6:]), le.Uint64(b[8:])
	if rel {
		value |= uint64(sec) << 48
	}
	local := elf.SymBind(b[4]>>4) == elf.STB_LOCAL
	switch kind := elf.SymType(b[4] & 15); {
	case kind == elf.STT_FILE:
		p.named[path.Base(name)] = append(p.named[path.Base(name)], len(p.image))
		p.image = append(p.image, localGroup{})
	case kind != elf.STT_FUNC || sec == 0:
	case !local:
		p.at[name] = append(p.at[name], value)
	case len(p.image) > 0:
		g := &p.image[len(p.image)-1]
		g.syms = append(g.syms, groupSymbol{name, le.Uint64(b[16:])})
		g.values = append(g.values, value)
	}
}

// fill finds the position of each symbol.
func (p *positions) fill() {
	f := &p.m.file
	p.strong = map[string]bool{}
	p.each(func(s *symbol, name string) {
		if s.flags&(flagGlobal|flagWeak) == flagGlobal {
			p.strong[name] = true
		}
	})
	for _, i := range p.units {
		u := &f.units[i]
		group, why := p.group(u)
		for j := u.sym0; j < u.sym0+u.syms; j++ {
			p.one(&f.syms[j], group, why)
		}
	}
}

func (p *positions) each(do func(s *symbol, name string)) {
	f := &p.m.file
	for _, i := range p.units {
		u := &f.units[i]
		for j := u.sym0; j < u.sym0+u.syms; j++ {
			do(&f.syms[j], p.name(&f.syms[j]))
		}
	}
}

func (p *positions) name(s *symbol) string {
	return string(cstr(p.m.file.strings, p.m.file.nodes[s.node].name))
}

// one finds the position of one symbol, with the local functions of its unit in
// the image, or why they are not known.
func (p *positions) one(s *symbol, group *localGroup, why uint32) {
	name := p.name(s)
	global := s.flags&flagGlobal != 0
	if s.flags&flagWeak != 0 && p.strong[name] {
		s.why = sympAbsent // another unit's definition is the one that counts
		return
	}
	at := p.at[name]
	if pos, w := p.find(name, noValue); w != sympAlike && global == (len(at) > 0) {
		s.sympos, s.why = int32(pos), w // no other has the name, or none at all
		return
	}
	s.why = sympAbsent
	switch {
	case global && len(at) == 1:
		p.set(s, name, at[0])
	case global:
	case group == nil:
		s.why = why
	default:
		if i := slices.IndexFunc(group.syms, func(x groupSymbol) bool { return x.name == name }); i >= 0 {
			p.set(s, name, group.values[i])
		}
	}
}

func (p *positions) set(s *symbol, name string, value uint64) {
	pos, why := p.find(name, value)
	s.sympos, s.why = int32(pos), why
}

// group finds the local functions of a unit in the image.
func (p *positions) group(u *unit) (*localGroup, uint32) {
	f := &p.m.file
	var own []groupSymbol
	for i := u.sym0; i < u.sym0+u.syms; i++ {
		s := &f.syms[i]
		if s.flags&flagGlobal == 0 && !discarded(string(cstr(f.strings, s.section))) {
			own = append(own, groupSymbol{string(cstr(f.strings, f.nodes[s.node].name)), s.size})
		}
	}
	var found *localGroup
	for _, i := range p.named[path.Base(string(cstr(f.strings, u.source)))] {
		if g := &p.image[i]; g.holds(own) {
			if found != nil {
				return nil, sympAlike
			}
			found = g
		}
	}
	if found == nil {
		return nil, sympAbsent
	}
	return found, sympKnown
}

// discarded tells sections that are not linked into the image.
func discarded(section string) bool {
	return strings.HasPrefix(section, ".exit.") || strings.HasPrefix(section, ".discard")
}

// holds reports whether all of a unit's local functions are in the group. What
// was assembled has no name of its C file, so a group may hold more.
func (g *localGroup) holds(own []groupSymbol) bool {
	if len(own) > len(g.syms) {
		return false
	}
	for _, s := range own {
		if !slices.Contains(g.syms, s) {
			return false
		}
	}
	return true
}

// mapFile maps a file into memory.
func mapFile(name string) ([]byte, func(), error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if st.Size() == 0 {
		return nil, nil, fmt.Errorf("read %s: it is empty", name)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data, func() { _ = unix.Munmap(data) }, nil
}
