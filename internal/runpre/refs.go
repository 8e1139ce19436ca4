// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"sort"

	"kmend/internal/object"
)

var le = binary.LittleEndian

// refer checks that the running reference t is the object's reference to
// r.Sym + delta, and records what follows from it.
func (w *walker) refer(r *object.Reloc, delta uint64, t target) error {
	s := r.Sym
	switch {
	case s == nil || s.Section == nil && s.Shndx == object.Abs:
		return w.absolute(s, delta, t)
	case s.IsUndefined():
		return w.undefined(s, delta, t)
	case s.Section == nil:
		return fmt.Errorf("reference to %s: section index %#x %w", s.Name, s.Shndx, errNoCheck)
	case t.name != "":
		return fmt.Errorf("refers to %s%+d outside the module, ours to %s", t.name, int64(t.addr), describe(s, delta))
	case s.Bind == bindWeak:
		return w.global(s, t.addr-delta)
	case isPool(s.Section):
		return w.pooled(s, delta, t)
	}
	if s.Section.IsExec() {
		if err := w.codeRef(s.Section, s.Value+delta, t.addr); err != nil {
			return err
		}
		if _, known := w.bases[s.Section]; !known {
			return nil
		}
	} else if err := w.observe(s.Section, t.addr-delta-s.Value); err != nil {
		return err
	}
	w.values[s] = target{addr: t.addr - delta}
	return nil
}

func describe(s *object.Symbol, delta uint64) string {
	if delta == 0 {
		return s.Name
	}
	return fmt.Sprintf("%s%+#x", s.Name, int64(delta))
}

func (w *walker) absolute(s *object.Symbol, delta uint64, t target) error {
	if s != nil {
		delta += s.Value
	}
	if t.name != "" || t.addr != delta {
		return fmt.Errorf("refers to %#x, ours to the number %#x", t.addr, delta)
	}
	return nil
}

// undefined: the symbol lies in another object, so it is global there.
func (w *walker) undefined(s *object.Symbol, delta uint64, t target) error {
	if t.name != "" {
		if t.name != s.Name || t.addr != delta {
			return fmt.Errorf("refers to %s%+d, ours to %s", t.name, int64(t.addr), describe(s, delta))
		}
		w.values[s] = target{name: t.name}
		return nil
	}
	addr := t.addr - delta
	if s.Bind == bindWeak && addr == 0 && !w.run.defines(s.Name) {
		w.values[s] = target{}
		return nil
	}
	return w.global(s, addr)
}

// global checks a reference that the linker bound by name.
func (w *walker) global(s *object.Symbol, addr uint64) error {
	if !w.run.has(s.Name, true, addr) {
		if !w.run.defines(s.Name) {
			return fmt.Errorf("reference to %s, which no running symbol table has, %w", s.Name, errNoCheck)
		}
		return fmt.Errorf("refers to %s, ours to %s", w.nameOf(addr), s.Name)
	}
	w.values[s] = target{addr: addr}
	return nil
}

// nameOf describes a running address for messages.
func (u *unit) nameOf(addr uint64) string {
	sec, off := u.run.locate(addr)
	if at := u.run.at(addr); len(at) > 0 {
		return at[0].Name
	}
	if sec != "" {
		return fmt.Sprintf("%s+%#x", sec, off)
	}
	return fmt.Sprintf("%#x", addr)
}

// observe records that section sec starts at base in what runs, and checks
// that it can.
func (w *walker) observe(sec *object.Section, base uint64) error {
	if o, ok := w.bases[sec]; ok {
		if o.base != base {
			return fmt.Errorf("section %s would be at %#x, but at %#x by the reference at %#x", sec.Name, base, o.base, o.at)
		}
		return nil
	}
	c := w.checkSection(sec, base)
	if c.err != nil {
		return c.err
	}
	w.bases[sec] = observation{base, uint64(w.a)}
	if c.rule != "" {
		w.rules[c.rule]++
	}
	for _, in := range c.inner {
		in.at = uint64(w.a)
		w.inner = append(w.inner, in)
	}
	for sec, o := range c.bases {
		if known, ok := w.bases[sec]; !ok {
			w.bases[sec] = observation{o.base, uint64(w.a)}
		} else if known.base != o.base {
			return fmt.Errorf("section %s would be at %#x, but at %#x by the reference at %#x", sec.Name, o.base, known.base, known.at)
		}
	}
	return nil
}

// isPool reports whether the linker may have merged the contents of the
// section with those of others: an address in it means its content only.
func isPool(s *object.Section) bool {
	return s.Flags&uint64(elf.SHF_MERGE) != 0
}

// pooled compares the content of a string or constant. The assembler keeps the
// symbol of a pool entry if the reference has an offset to it, and makes it
// relative to the section only if there is none (gas, md_fix_adjustable).
func (w *walker) pooled(s *object.Symbol, delta uint64, t target) error {
	off, addr := s.Value, t.addr-delta
	if s.IsSection() {
		off, addr = delta, t.addr
	}
	want, err := poolEntry(s.Section, off)
	if err != nil {
		return err
	}
	got, err := w.run.data(addr, len(want))
	if err != nil {
		return fmt.Errorf("reference to %s+%#x: %w", s.Section.Name, off, err)
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("refers to %s, ours to %s", quote(s.Section, got), quote(s.Section, want))
	}
	return nil
}

func quote(s *object.Section, b []byte) string {
	if s.Flags&uint64(elf.SHF_STRINGS) != 0 {
		return fmt.Sprintf("%.60q", bytes.TrimRight(b, "\x00"))
	}
	return fmt.Sprintf("constant % x", b)
}

// poolEntry is the string with its terminator or the constant at off, which
// may lie within an entry.
func poolEntry(s *object.Section, off uint64) ([]byte, error) {
	n := max(s.Entsize, 1)
	size := uint64(len(s.Data))
	if off >= size || len(s.Relocs) > 0 || len(s.Extra) > 0 {
		return nil, fmt.Errorf("reference to %s+%#x, outside the pool or into relocated data, %w", s.Name, off, errNoCheck)
	}
	if s.Flags&uint64(elf.SHF_STRINGS) == 0 {
		end := off - off%n + n
		if end > size {
			end = size
		}
		return s.Data[off:end], nil
	}
	for end := off; end+n <= size; end += n {
		if allZero(s.Data[end : end+n]) {
			return s.Data[off : end+n], nil
		}
	}
	return nil, fmt.Errorf("the string at %s+%#x does not end", s.Name, off)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// codeRef checks a reference to offset off of a section with code.
func (w *walker) codeRef(sec *object.Section, off, dest uint64) error {
	if f := w.startingAt(sec, off); f != nil {
		if isFunction(f) && f.Name == w.fn.Name+coldSuffix {
			// The function and its cold part are equal together or not at all.
			w.inner = append(w.inner, interior{f, 0, dest, uint64(w.a)})
		}
		return w.observe(sec, dest-off)
	}
	switch f := w.containing(sec, off); {
	case f == nil && w.fn == noFunction:
		return fmt.Errorf("reference of data to %s+%#x, where no function is, %w", sec.Name, off, errNoCheck)
	case f == nil:
		return w.outline(sec, off, dest)
	case f == w.fn:
		w.jump(int(off-f.Value), dest)
	default:
		w.inner = append(w.inner, interior{f, int(off - f.Value), dest, uint64(w.a)})
	}
	return nil
}

// coldSuffix is what GCC appends to a function's name for the part of it that
// it moves to .text.unlikely.
const coldSuffix = ".cold"

// startingAt returns a symbol other than the function under comparison at off
// of sec, weak ones apart: the linker may have bound those elsewhere.
func (w *walker) startingAt(sec *object.Section, off uint64) *object.Symbol {
	m := w.members[sec]
	for i := sort.Search(len(m), func(i int) bool { return m[i].Value >= off }); i < len(m) && m[i].Value == off; i++ {
		if m[i] != w.fn && m[i].Bind != bindWeak {
			return m[i]
		}
	}
	return nil
}

// containing returns the function of sec that off lies in.
func (w *walker) containing(sec *object.Section, off uint64) *object.Symbol {
	const near = 64 // symbols before off to look at: labels within functions are rare
	m := w.members[sec]
	i := sort.Search(len(m), func(i int) bool { return m[i].Value > off }) - 1
	for stop := max(i-near, -1); i > stop; i-- {
		if isFunction(m[i]) && off-m[i].Value < m[i].Size && inBounds(m[i]) {
			return m[i]
		}
	}
	return nil
}

// checkSection checks that a section of the object can be at base: all symbols
// in it have to have their names there, and if it is read-only data the
// contents have to be equal.
func (u *unit) checkSection(sec *object.Section, base uint64) *sectionCheck {
	key := sectionAt{sec, base}
	if c, done := u.checked[key]; done {
		return c // not complete yet if data refers to itself in a circle
	}
	c := &sectionCheck{}
	u.checked[key] = c
	c.err = u.checkMembers(sec, base)
	if c.err == nil && isConstant(sec) {
		if sec.Name == ".BTF_ids" && len(sec.Relocs) == 0 && len(u.members[sec]) > 0 {
			c.rule = RuleBTFIDs
		} else {
			c.err = u.checkContents(sec, base, c)
		}
	}
	return c
}

func isConstant(s *object.Section) bool {
	return s.IsAlloc() && !s.IsWritable() && !s.IsExec() && elf.SectionType(s.Type) == elf.SHT_PROGBITS
}

func (u *unit) checkMembers(sec *object.Section, base uint64) error {
	named := 0
	for _, s := range u.members[sec] {
		if s.Bind == bindWeak {
			continue
		}
		if !u.run.has(s.Name, !s.IsLocal(), base+s.Value) {
			return fmt.Errorf("refers to %s, ours to %s of section %s", u.nameOf(base+s.Value), s.Name, sec.Name)
		}
		named++
	}
	if named == 0 && !isConstant(sec) {
		return fmt.Errorf("reference to section %s, which has no symbols, %w", sec.Name, errNoCheck)
	}
	return nil
}

// noFunction stands for the function under comparison while data is compared.
var noFunction = &object.Symbol{}

// checkContents compares read-only data with the bytes at base, relocated
// fields by what they refer to.
func (u *unit) checkContents(sec *object.Section, base uint64, c *sectionCheck) error {
	if len(sec.Extra) > 0 {
		return fmt.Errorf("section %s has a second relocation section and %w", sec.Name, errNoCheck)
	}
	got, err := u.run.data(base, len(sec.Data))
	if err != nil {
		return fmt.Errorf("contents of %s: %w", sec.Name, err)
	}
	// References of data are checked like those of code.
	w := &walker{unit: u, attempt: newAttempt(noFunction, Symbol{}), sec: sec}
	next := 0
	for i := range sec.Relocs {
		r := &sec.Relocs[i]
		width, known := object.RelocWidth(r.Type)
		if !known || int(r.Offset) < next || int(r.Offset)+width > len(got) {
			return fmt.Errorf("relocation %s at %s+%#x %w", object.RelocName(r.Type), sec.Name, r.Offset, errNoCheck)
		}
		if d := firstDifference(sec.Data[next:r.Offset], got[next:r.Offset]); d >= 0 {
			return fmt.Errorf("contents of %s differ at %#x", sec.Name, next+d)
		}
		next = int(r.Offset) + width
		if width == 0 {
			continue
		}
		t, err := u.run.readsTo(base+r.Offset, got[r.Offset:next], r.Type)
		if err != nil {
			return fmt.Errorf("contents of %s at %#x: %w", sec.Name, r.Offset, err)
		}
		if err := w.refer(r, uint64(r.Addend), t); err != nil {
			return fmt.Errorf("contents of %s at %#x: %w", sec.Name, r.Offset, err)
		}
	}
	if d := firstDifference(sec.Data[next:], got[next:]); d >= 0 {
		return fmt.Errorf("contents of %s differ at %#x", sec.Name, next+d)
	}
	c.bases, c.inner = w.bases, w.inner
	if n := u.run.relocated(base, base+uint64(len(got))); !u.run.linked() && n != countRelocs(sec) {
		return fmt.Errorf("contents of %s have %d relocations, %d expected", sec.Name, n, countRelocs(sec))
	}
	return nil
}

func countRelocs(sec *object.Section) int {
	n := 0
	for _, r := range sec.Relocs {
		if r.Type != uint32(elf.R_X86_64_NONE) {
			n++
		}
	}
	return n
}

func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// search is sort.Search on relocations by offset.
func searchRelocs(r []object.Reloc, off uint64) int {
	return sort.Search(len(r), func(i int) bool { return r[i].Offset >= off })
}
