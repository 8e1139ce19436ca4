// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"slices"
	"strings"

	"kmend/internal/insn"
	"kmend/internal/klp"
	"kmend/internal/object"
)

// A module of kpatch has no struct klp_patch in its data: its init function
// makes one, out of lists in sections of its own (kpatch, kmod/patch/
// livepatch-patch-hook.c and kpatch-patch.h). An entry of .kpatch.funcs has
// seven words: the new function, its size, the old one's address and size at
// build time, sympos, and pointers to the old function's name and its object's.
const (
	kpatchFuncs     = ".kpatch.funcs"
	kpatchCallbacks = ".kpatch.callbacks." // pre_patch and so on: entries of a function and an object's name

	kpatchNew     = 0
	kpatchSympos  = 32
	kpatchName    = 40
	kpatchObject  = 48
	kpatchSize    = 56
	callbackName  = 8
	callbackEntry = 16
)

// decodeKpatch reads the lists as the init function will.
func (m *Module) decodeKpatch(p pointers, f *klp.Facts, list *object.Section) error {
	if _, err := m.findPatch(p, f); err == nil {
		return fmt.Errorf("it has a struct klp_patch and a section %s: which of them counts is not known", kpatchFuncs)
	}
	if list.Size == 0 || list.Size%kpatchSize != 0 {
		return fmt.Errorf("section %s has %d bytes, no whole number of entries of %d", kpatchFuncs, list.Size, kpatchSize)
	}
	if list.Size/kpatchSize > maxFuncs {
		return errTooMany
	}
	at := map[string]int{}
	for off := uint64(0); off < list.Size; off += kpatchSize {
		fn, name, err := m.kpatchFunc(p, where{list, off})
		if err != nil {
			return err
		}
		o, err := m.kpatchObject(at, name)
		if err != nil {
			return err
		}
		o.Funcs = append(o.Funcs, *fn)
	}
	if err := m.kpatchCallbacks(p, at); err != nil {
		return err
	}
	m.MadeAtInit = true
	m.Replace, m.replaceUnknown = m.storesReplace(f)
	return nil
}

func (m *Module) kpatchFunc(p pointers, at where) (*Func, string, error) {
	code, none, err := p.pointer(where{at.s, at.off + kpatchNew})
	if err != nil {
		return nil, "", err
	}
	name, unnamed, err := p.text(where{at.s, at.off + kpatchName})
	if err != nil {
		return nil, "", err
	}
	obj, nowhere, err := p.text(where{at.s, at.off + kpatchObject})
	if err != nil {
		return nil, "", err
	}
	pos, err := word(where{at.s, at.off + kpatchSympos})
	if err != nil {
		return nil, "", err
	}
	if none || unnamed || nowhere {
		return nil, "", fmt.Errorf("the entry at %s+%#x has no name, no object or no replacement", at.s.Name, at.off)
	}
	fn := &Func{OldName: name, Sympos: pos, Section: code.s.Name, Offset: code.off, at: code.s}
	fn.New, fn.Size = m.kernelSize(code)
	return fn, obj, nil
}

// kpatchObject is the object of a name, where vmlinux stands for NULL.
func (m *Module) kpatchObject(at map[string]int, name string) (*Object, error) {
	i, ok := at[name]
	if !ok {
		if len(m.Objects) == maxObjects {
			return nil, errTooMany
		}
		i, at[name] = len(m.Objects), len(m.Objects)
		m.Objects = append(m.Objects, Object{Name: name, Named: name != vmlinux})
	}
	return &m.Objects[i], nil
}

func (m *Module) kpatchCallbacks(p pointers, at map[string]int) error {
	for _, s := range m.file.Sections {
		if !strings.HasPrefix(s.Name, kpatchCallbacks) {
			continue
		}
		// The linker script puts a zero word behind the entries.
		for off := uint64(0); off+callbackEntry <= s.Size; off += callbackEntry {
			name, none, err := p.text(where{s, off + callbackName})
			if err != nil {
				return err
			}
			if none {
				continue
			}
			o, err := m.kpatchObject(at, name)
			if err != nil {
				return err
			}
			o.Callbacks = true
		}
	}
	return nil
}

// storesReplace reads out of the init code what it stores in klp_patch.replace:
// movb $VALUE, OFFSET(register). unknown: there is no one answer; replace is
// true then, which is kpatch's default and worse for what is loaded.
func (m *Module) storesReplace(f *klp.Facts) (replace, unknown bool) {
	var values []byte
	for _, s := range m.file.Sections {
		if !s.IsExec() || !strings.HasPrefix(s.Name, ".init.text") {
			continue
		}
		for code := s.Data; len(code) > 0; {
			in, err := insn.Decode(code)
			if err != nil {
				return true, true
			}
			op := code[in.OpcodeOff:in.Len]
			if op[0] == 0xc6 && in.DispLen > 0 && !in.RIPRel && in.ImmLen == 1 && displacement(code, in) == f.Patch.Replace {
				values = append(values, code[in.ImmOff])
			}
			code = code[in.Len:]
		}
	}
	slices.Sort(values)
	if values = slices.Compact(values); len(values) != 1 || values[0] > 1 {
		return true, true
	}
	return values[0] == 1, false
}

// displacement of a memory operand; 2^64-1 if it is negative.
func displacement(code []byte, in insn.Inst) uint64 {
	d := int64(int8(code[in.DispOff]))
	if in.DispLen == 4 {
		d = int64(int32(le.Uint32(code[in.DispOff:])))
	}
	return uint64(max(d, -1))
}
