// SPDX-License-Identifier: Apache-2.0

package klptest

import (
	"debug/elf"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/klp"
	"kmend/internal/object"
	"kmend/internal/special"
)

// Patch describes a livepatch of functions of one translation unit.
type Patch struct {
	Object string   // "vmlinux" or a module
	Funcs  []string // functions to replace
	Source Source
}

// Spec compiles patches and makes a Spec of them, in which every reference is
// resolved against the kernel.
func Spec(t testing.TB, k *kernel.Kernel, name string, patches ...Patch) klp.Spec {
	t.Helper()
	spec := klp.Spec{Name: name, Description: "test"}
	for _, p := range patches {
		c := newCutter(t, k, p)
		payload := c.payload()
		spec.Payloads = append(spec.Payloads, payload)
		i := slices.IndexFunc(spec.Objects, func(o klp.Object) bool { return o.Name == p.Object })
		if i < 0 {
			i = len(spec.Objects)
			spec.Objects = append(spec.Objects, klp.Object{Name: p.Object})
		}
		for _, f := range p.Funcs {
			spec.Objects[i].Funcs = append(spec.Objects[i].Funcs, klp.Func{OldName: f, Sympos: c.oldPos(f), New: c.function(f)})
		}
	}
	return spec
}

// cutter works on an object of its own, whose sections it changes freely.
type cutter struct {
	t      testing.TB
	k      *kernel.Kernel
	p      Patch
	f      *object.File
	keep   map[*object.Section]bool
	table  map[string][]bool // names of the patched object: is each entry code?
	undef  map[string]*object.Symbol
	refs   map[*object.Symbol]klp.Ref
	sample map[*object.Section]*object.Symbol // the symbol of a section that has just one
}

func newCutter(t testing.TB, k *kernel.Kernel, p Patch) *cutter {
	t.Helper()
	c := &cutter{t: t, k: k, p: p, f: Compile(t, k, p.Source), keep: map[*object.Section]bool{}, table: map[string][]bool{},
		undef: map[string]*object.Symbol{}, refs: map[*object.Symbol]klp.Ref{}, sample: map[*object.Section]*object.Symbol{}}
	if p.Object == klp.Vmlinux {
		im, err := k.Image()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range im.Symbols().All() {
			c.table[s.Name] = append(c.table[s.Name], strings.ContainsRune("tTwW", rune(s.Type)))
		}
	} else {
		for _, s := range c.module(p.Object).Symbols {
			if !s.IsUndefined() && !s.IsSection() {
				c.table[s.Name] = append(c.table[s.Name], s.IsFunc())
			}
		}
	}
	for _, s := range c.f.Symbols {
		if s.Section != nil && (s.IsFunc() || elf.SymType(s.Kind) == elf.STT_OBJECT) && c.sample[s.Section] == nil {
			c.sample[s.Section] = s
		}
	}
	return c
}

func (c *cutter) module(name string) *object.File {
	c.t.Helper()
	m, err := c.k.Module(name)
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := m.Data()
	if err != nil {
		c.t.Fatal(err)
	}
	f, err := object.Read(data)
	if err != nil {
		c.t.Fatal(err)
	}
	return f
}

func (c *cutter) function(name string) *object.Symbol {
	c.t.Helper()
	s, err := c.f.Symbol(name)
	if err != nil || s.Section == nil {
		c.t.Fatalf("compiled %s: function %s: %v", c.p.Source.Path, name, err)
	}
	return s
}

// oldPos is 0 for a unique name and else the place of the only function.
func (c *cutter) oldPos(name string) int {
	c.t.Helper()
	list := c.table[name]
	if len(list) == 1 {
		return 0
	}
	pos := -1
	for i, code := range list {
		if code {
			if pos >= 0 {
				c.t.Fatalf("%s has several functions %s", c.p.Object, name)
			}
			pos = i + 1
		}
	}
	if pos < 0 {
		c.t.Fatalf("%s has no function %s", c.p.Object, name)
	}
	return pos
}

// known reports whether the kernel has code or data of that name already.
func (c *cutter) known(s *object.Symbol) bool { return s != nil && len(c.table[s.Name]) == 1 }

// outside reports whether a section is left to the kernel: data and functions
// that it has. What it does not have is new and comes along.
func (c *cutter) outside(s *object.Section) bool {
	if c.keep[s] || strings.HasPrefix(s.Name, ".rodata") || strings.HasPrefix(s.Name, ".altinstr") || s.Name == special.DynDebug || s.Name == ".data.once" || special.Lookup(s.Name) != nil {
		return false
	}
	return strings.HasPrefix(s.Name, ".init") || strings.HasPrefix(s.Name, ".exit") || c.known(c.sample[s])
}

func (c *cutter) add(s *object.Section) {
	if s == nil || c.keep[s] || special.Lookup(s.Name) != nil || s.Name == special.OrcUnwind || c.outside(s) {
		return
	}
	c.keep[s] = true
	for _, r := range s.Relocs {
		if r.Sym != nil {
			c.add(r.Sym.Section)
		}
	}
}

func (c *cutter) payload() klp.Payload {
	c.t.Helper()
	entries, err := special.Split(c.f)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, name := range c.p.Funcs {
		s := c.function(name).Section
		c.keep[s] = true
		for _, r := range s.Relocs {
			c.add(r.Sym.Section)
		}
	}
	for range 2 { // code that entries bring along has entries of its own
		for _, e := range entries {
			for _, r := range e.Relocs {
				if c.keep[e.Code] {
					c.add(r.Sym.Section)
				}
			}
		}
	}
	out := &object.File{Symbols: c.f.Symbols}
	for _, s := range c.f.Sections {
		if c.keep[s] {
			s.Relocs = c.redirect(s.Relocs)
			out.Sections = append(out.Sections, s)
		}
	}
	out.Sections = append(out.Sections, c.tables(entries)...)
	return klp.Payload{Object: c.p.Object, File: out, Refs: c.refs}
}

// tables strings the entries of the kept code together again.
func (c *cutter) tables(entries []special.Entry) []*object.Section {
	var out []*object.Section
	put := func(name string, flags uint64, data []byte, relocs []object.Reloc) {
		i := slices.IndexFunc(out, func(s *object.Section) bool { return s.Name == name })
		if i < 0 {
			i = len(out)
			out = append(out, &object.Section{Name: name, Type: uint32(elf.SHT_PROGBITS), Flags: flags, Align: 1})
		}
		s := out[i]
		for _, r := range c.redirect(relocs) {
			r.Offset += s.Size
			s.Relocs = append(s.Relocs, r)
		}
		s.Data = append(s.Data, data...)
		s.Size = uint64(len(s.Data))
	}
	for _, e := range entries {
		if !c.keep[e.Code] {
			continue
		}
		put(e.Section.Name, e.Section.Flags, e.Data, e.Relocs)
		if e.Orc != nil {
			put(special.OrcUnwind, e.Section.Flags, e.Orc, nil)
		}
	}
	return out
}

// redirect makes relocations name undefined symbols where what they refer to is
// left to the kernel, and finds every undefined symbol.
func (c *cutter) redirect(relocs []object.Reloc) []object.Reloc {
	c.t.Helper()
	relocs = slices.Clone(relocs)
	for i := range relocs {
		r := &relocs[i]
		if r.Sym.IsUndefined() {
			c.find(r.Sym, r.Sym.Name)
			continue
		}
		s := r.Sym.Section
		if s == nil || c.keep[s] {
			continue
		}
		named := c.sample[s]
		if named == nil || !c.known(named) {
			c.t.Fatalf("%s: a reference into %s, which is neither kept nor known", c.p.Source.Path, s.Name)
		}
		u := c.undef[named.Name]
		if u == nil {
			u = &object.Symbol{Name: named.Name, Bind: byte(elf.STB_GLOBAL)}
			c.undef[named.Name] = u
			c.find(u, named.Name)
		}
		r.Addend += int64(r.Sym.Value) - int64(named.Value)
		r.Sym = u
	}
	return relocs
}

func (c *cutter) find(u *object.Symbol, name string) {
	c.t.Helper()
	if _, done := c.refs[u]; done {
		return
	}
	e, exported := c.k.Export(name)
	switch {
	case exported && e.Object == klp.Vmlinux:
		c.refs[u] = klp.Ref{Kind: klp.RefExport, Object: e.Object, Name: name, CRC: e.CRC, Namespace: e.Namespace}
	case len(c.table[name]) == 1:
		c.refs[u] = klp.Ref{Kind: klp.RefKlp, Object: c.p.Object, Name: name}
	default:
		c.refs[u] = c.elsewhere(name, e, exported)
	}
}

// elsewhere handles symbols that are not of the patched object itself.
func (c *cutter) elsewhere(name string, e kernel.Export, exported bool) klp.Ref {
	c.t.Helper()
	if exported {
		return klp.Ref{Kind: klp.RefKlp, Object: e.Object, Name: name}
	}
	im, err := c.k.Image()
	if err != nil {
		c.t.Fatal(err)
	}
	if n := len(im.Symbols().Lookup(name)); n != 1 {
		c.t.Fatalf("%s: symbol %s: %d of them", c.p.Source.Path, name, n)
	}
	return klp.Ref{Kind: klp.RefKlp, Object: klp.Vmlinux, Name: name}
}
