// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"bytes"
	"debug/elf"
	"fmt"
	"sort"

	"kmend/internal/klp"
	"kmend/internal/object"
)

// where is a place in the module.
type where struct {
	s   *object.Section
	off uint64
}

// errTooMany says that there is no use in reading on.
var errTooMany = fmt.Errorf("it has more than %d functions or %d objects to replace: nothing further was looked at", maxFuncs, maxObjects)

// pointers indexes the 64-bit pointers that relocations write.
type pointers map[where]where

// decode follows the module's relocations from struct klp_patch to the
// functions, as klp_enable_patch will follow the pointers.
func (m *Module) decode(f *klp.Facts) (err error) {
	defer func() {
		if err != nil {
			m.Objects = nil // half a list would be taken for all
		}
	}()
	if f.Object.Size < 16 || f.Func.Size < 24 || f.Patch.Size < 16 {
		return fmt.Errorf("the facts about the kernel's livepatch structures are empty: read them with klp.FactsOf")
	}
	p := pointers{}
	m.eachReloc(func(s *object.Section, _ *object.RelaSection, r *object.Reloc) {
		if elf.R_X86_64(r.Type) == elf.R_X86_64_64 && r.Sym != nil && r.Sym.Section != nil {
			p[where{s, r.Offset}] = where{r.Sym.Section, r.Sym.Value + uint64(r.Addend)}
		}
	})
	if list := m.file.Section(kpatchFuncs); list != nil {
		return m.decodeKpatch(p, f, list)
	}
	patch, err := m.findPatch(p, f)
	if err != nil {
		return err
	}
	if f.Patch.Replace < patch.s.Size-patch.off && patch.off+f.Patch.Replace < uint64(len(patch.s.Data)) {
		m.Replace = patch.s.Data[patch.off+f.Patch.Replace] != 0
	}
	if m.States, err = p.states(where{patch.s, patch.off + f.Patch.States}); err != nil {
		return err
	}
	at := p[where{patch.s, patch.off + f.Patch.Objs}]
	for count := 0; ; {
		o, end, err := m.decodeObject(p, f, at)
		if err != nil {
			return err
		}
		if end {
			return nil
		}
		m.Objects = append(m.Objects, *o)
		if count += len(o.Funcs); count > maxFuncs || len(m.Objects) > maxObjects {
			return errTooMany
		}
		at.off += f.Object.Size
	}
}

// findPatch finds struct klp_patch: the only data that points at the module
// itself and, where its objs are, at data of the module.
func (m *Module) findPatch(p pointers, f *klp.Facts) (where, error) {
	this := m.file.Section(secThis)
	var found []where
	for _, s := range m.file.Sections {
		for _, r := range s.Relocs {
			if r.Offset < f.Patch.Mod || r.Offset-f.Patch.Mod > s.Size {
				continue
			}
			at := where{s, r.Offset - f.Patch.Mod}
			if p[where{s, r.Offset}] != (where{this, 0}) || f.Patch.Size > s.Size-at.off {
				continue
			}
			objs, ok := p[where{s, at.off + f.Patch.Objs}]
			if !ok || !objs.s.IsAlloc() || objs.s.IsExec() {
				continue
			}
			if _, ok := p[where{objs.s, objs.off + f.Object.Funcs}]; ok {
				found = append(found, at)
			}
		}
	}
	if len(found) != 1 {
		return where{}, fmt.Errorf("%d places look like its struct klp_patch, 1 expected: was it built for another kernel?", len(found))
	}
	return found[0], nil
}

// word returns 8 bytes of a section as a number; they must be inside.
func word(at where) (uint64, error) {
	if at.off > at.s.Size || at.s.Size-at.off < 8 {
		return 0, fmt.Errorf("a livepatch structure at %s+%#x reaches beyond the section", at.s.Name, at.off)
	}
	if at.s.Data == nil {
		return 0, nil
	}
	return le.Uint64(at.s.Data[at.off:]), nil
}

// pointer returns where the pointer at a place goes. null is true if it is NULL.
func (p pointers) pointer(at where) (to where, null bool, err error) {
	v, err := word(at)
	if err != nil {
		return to, false, err
	}
	to, ok := p[at]
	if ok {
		if to.off > to.s.Size {
			return to, false, fmt.Errorf("the pointer at %s+%#x goes beyond section %s", at.s.Name, at.off, to.s.Name)
		}
		return to, false, nil
	}
	if v != 0 {
		return to, false, fmt.Errorf("the pointer at %s+%#x is the number %#x without a relocation", at.s.Name, at.off, v)
	}
	return to, true, nil
}

func (p pointers) text(at where) (string, bool, error) {
	to, null, err := p.pointer(at)
	if err != nil || null {
		return "", null, err
	}
	name := to.s.Data[min(to.off, uint64(len(to.s.Data))):]
	name = name[:min(len(name), maxName)]
	end := bytes.IndexByte(name, 0)
	if end < 0 {
		return "", false, fmt.Errorf("the name at %s+%#x has no end, or is longer than %d bytes", to.s.Name, to.off, maxName)
	}
	return string(name[:end]), false, nil
}

// states reads the array at a pointer: struct klp_state of linux/livepatch.h,
// an id, a version and a pointer that is for the livepatch itself. It ends with
// id 0 (klp_for_each_state).
func (p pointers) states(at where) ([]State, error) {
	to, null, err := p.pointer(at)
	if err != nil || null {
		return nil, err
	}
	var out []State
	for ; ; to.off += 24 {
		id, err := word(to)
		if err != nil {
			return nil, err
		}
		if id == 0 {
			return out, nil
		}
		version, err := word(where{to.s, to.off + 8})
		if err != nil {
			return nil, err
		}
		if out = append(out, State{id, uint32(version)}); len(out) > maxStates {
			return nil, fmt.Errorf("it has more than %d states", maxStates)
		}
	}
}

func (m *Module) decodeObject(p pointers, f *klp.Facts, at where) (*Object, bool, error) {
	field := func(off uint64) where { return where{at.s, at.off + off} }
	name, unnamed, err := p.text(field(f.Object.Name))
	if err != nil {
		return nil, false, err
	}
	funcs, none, err := p.pointer(field(f.Object.Funcs))
	if err != nil {
		return nil, false, err
	}
	if unnamed && none { // klp_for_each_object_static
		return nil, true, nil
	}
	if none {
		return nil, false, fmt.Errorf("object %q has no list of functions", name)
	}
	o := &Object{Name: name, Named: !unnamed}
	if unnamed {
		o.Name = vmlinux
	}
	for off := uint64(0); off+8 <= f.Object.CallbacksSize; off += 8 {
		if _, ok := p[field(f.Object.Callbacks+off)]; ok {
			o.Callbacks = true
		}
	}
	for {
		fn, end, err := m.decodeFunc(p, f, funcs)
		if err != nil {
			return nil, false, fmt.Errorf("object %q: %w", o.Name, err)
		}
		if end {
			return o, false, nil
		}
		if o.Funcs = append(o.Funcs, *fn); len(o.Funcs) > maxFuncs {
			return nil, false, errTooMany
		}
		funcs.off += f.Func.Size
	}
}

func (m *Module) decodeFunc(p pointers, f *klp.Facts, at where) (*Func, bool, error) {
	field := func(off uint64) where { return where{at.s, at.off + off} }
	name, unnamed, err := p.text(field(f.Func.OldName))
	if err != nil {
		return nil, false, err
	}
	code, none, err := p.pointer(field(f.Func.NewFunc))
	if err != nil {
		return nil, false, err
	}
	pos, err := word(field(f.Func.OldSympos))
	if err != nil {
		return nil, false, err
	}
	if unnamed && none && pos == 0 { // klp_for_each_func_static
		return nil, true, nil
	}
	if unnamed || none {
		return nil, false, fmt.Errorf("function entry at %s+%#x has no name or no replacement", at.s.Name, at.off)
	}
	fn := &Func{OldName: name, Sympos: pos, Section: code.s.Name, Offset: code.off, at: code.s}
	fn.New, fn.Size = m.kernelSize(code)
	return fn, false, nil
}

// kernelSize returns the symbol at a place and the distance to the next that
// the kernel would see in the section.
func (m *Module) kernelSize(at where) (name string, size uint64) {
	list := m.named()[at.s]
	i := sort.Search(len(list), func(i int) bool { return list[i].Value >= at.off })
	if i < len(list) && list[i].Value == at.off {
		name = list[i].Name
	}
	i += sort.Search(len(list)-i, func(n int) bool { return list[i+n].Value > at.off })
	end := at.s.Size
	if i < len(list) {
		end = min(end, list[i].Value)
	}
	return name, end - min(at.off, end)
}

// named returns, by section, the symbols that the kernel's lookup takes, by
// address and then in table order.
func (m *Module) named() map[*object.Section][]*object.Symbol {
	if m.bySection == nil {
		m.bySection = map[*object.Section][]*object.Symbol{}
		for _, s := range m.file.Symbols {
			if s.Section != nil && !s.IsSection() && !hiddenName(s.Name) {
				m.bySection[s.Section] = append(m.bySection[s.Section], s)
			}
		}
		for _, list := range m.bySection {
			sort.SliceStable(list, func(i, j int) bool { return list[i].Value < list[j].Value })
		}
	}
	return m.bySection
}
