// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"kmend/internal/kernel"
)

func (c *checker) objects() {
	if len(c.m.Objects) == 0 {
		c.r.object(CodeLivepatch, "", "", "it patches no object")
	}
	seen := map[string]bool{}
	for _, o := range c.m.Objects {
		if seen[o.Name] {
			c.r.object(CodeLivepatch, o.Name, "", "the object is listed twice")
		}
		seen[o.Name] = true
		if len(o.Funcs) == 0 {
			c.r.warn(CodeLivepatch, o.Name, "", "no function of it is replaced")
		}
		if o.Named && o.Name == vmlinux {
			c.r.object(CodeObjectNull, o.Name, "the name of vmlinux is NULL", "it is called \"vmlinux\": the kernel waits for a module of that name and never patches it")
			continue
		}
		if o.Callbacks {
			c.r.warn(CodeLivepatch, o.Name, "", "it has callbacks, which are not judged")
		}
		if o.Named {
			if s := c.module(o.Name); s.err != nil {
				c.r.object(CodeObject, o.Name, "use the name that /sys/module has", "%v", s.err)
				continue
			}
		}
		c.functions(&o)
	}
}

func (c *checker) functions(o *Object) {
	type key struct {
		name string
		pos  uint64
	}
	seen := map[key]bool{}
	for _, f := range o.Funcs {
		at := o.Name + ":" + f.OldName
		k := key{f.OldName, max(f.Sympos, 1)}
		if seen[k] {
			c.r.object(CodeDoubly, at, "", "the function is replaced twice in one livepatch")
		}
		seen[k] = true
		ok := c.newFunction(at, &f)
		if o.Named {
			ok = c.oldInModule(at, o.Name, &f) && ok
		} else {
			ok = c.oldInVmlinux(at, &f) && ok
		}
		if ok {
			c.r.Checked.Functions++
		}
	}
}

// newFunction looks at the replacement: the kernel finds its size through the
// symbol table, and fails the load if it has none.
func (c *checker) newFunction(at string, f *Func) bool {
	s := c.m.file.Section(f.Section)
	switch {
	case s == nil || !s.IsExec():
		c.r.object(CodeNewFunction, at, "", "its replacement is in section %s, which is not executable", f.Section)
	case isInit(f.Section):
		c.r.object(CodeNewFunction, at, "", "its replacement is in section %s, which is freed after load", f.Section)
	case f.New == "":
		c.r.object(CodeNewFunction, at, "", "no symbol that the kernel sees is at its replacement, %s+%#x", f.Section, f.Offset)
	case f.Size == 0:
		c.r.object(CodeNewFunction, at, "", "its replacement %s is empty", f.New)
	default:
		return true
	}
	return false
}

func (c *checker) oldTrouble(at string, t *trouble) {
	switch {
	case t.missing:
		c.r.object(CodeOldMissing, at, "", "%s", t.text)
	case t.ambiguous:
		c.r.object(CodeOldAmbig, at, "give the position among all entries of that name", "%s", t.text)
	default:
		c.r.object(CodeOldPosition, at, "count all entries of that name, of any kind and binding", "%s", t.text)
	}
}

func (c *checker) oldInVmlinux(at string, f *Func) bool {
	list := c.im.Symbols().Lookup(f.OldName)
	i, bad := pick(len(list), f.Sympos)
	if bad != nil {
		c.oldTrouble(at, bad)
		return false
	}
	s := list[i]
	switch s.Type {
	case 't', 'T', 'w', 'W':
	default:
		c.r.object(CodeOldKind, at, "", "the kernel's symbol is no function (type %c)", s.Type)
		return false
	}
	if c.within(s.Addr, "__init_begin", "__init_end") || c.within(s.Addr, "_sinittext", "_einittext") {
		c.r.object(CodeOldInit, at, "", "it is init code, which is freed when the kernel has booted")
		return false
	}
	if err := c.fentryInImage(s); err != "" {
		c.r.object(CodeNoFentry, at, "a function without a traceable entry cannot be replaced; replace its callers", "%s", err)
		return false
	}
	return true
}

// within reports whether an address lies between two symbols of the image.
func (c *checker) within(addr uint64, from, to string) bool {
	a, b := c.im.Symbols().Lookup(from), c.im.Symbols().Lookup(to)
	return len(a) == 1 && len(b) == 1 && addr >= a[0].Addr && addr < b[0].Addr
}

// fentryInImage says why ftrace has no hold on a function of the image; ""
// means that it does. Two witnesses: the call __fentry__ at its start, and the
// record of it in __mcount_loc.
func (c *checker) fentryInImage(s kernel.Symbol) string {
	at := s.Addr
	code, err := c.im.Bytes(at, 9)
	if err != nil {
		return "its code cannot be read: " + err.Error()
	}
	if string(code[:4]) == "\xf3\x0f\x1e\xfa" { // endbr64
		at, code = at+4, code[4:]
	}
	fentry := c.im.Symbols().Lookup("__fentry__")
	if len(fentry) != 1 {
		return "the kernel has no __fentry__"
	}
	if code[0] != 0xe8 || at+5+uint64(int64(int32(le.Uint32(code[1:])))) != fentry[0].Addr {
		return "it does not begin with a call of __fentry__ (notrace, noinstr or assembly)"
	}
	locs, err := c.mcountLocs()
	if err != nil {
		return err.Error()
	}
	i := sort.Search(len(locs), func(i int) bool { return locs[i] >= at })
	if i == len(locs) || locs[i] != at {
		return "its call of __fentry__ is not recorded in __mcount_loc"
	}
	return ""
}

// mcountLocs returns the addresses that the kernel's boot-time ftrace knows,
// sorted.
func (c *checker) mcountLocs() ([]uint64, error) {
	if c.locs != nil {
		return c.locs, nil
	}
	a, b := c.im.Symbols().Lookup("__start_mcount_loc"), c.im.Symbols().Lookup("__stop_mcount_loc")
	if len(a) != 1 || len(b) != 1 || b[0].Addr <= a[0].Addr || b[0].Addr-a[0].Addr > 64<<20 {
		return nil, errors.New("the kernel has no __mcount_loc")
	}
	data, err := c.im.Bytes(a[0].Addr, int(b[0].Addr-a[0].Addr))
	if err != nil {
		return nil, fmt.Errorf("__mcount_loc cannot be read: %w", err)
	}
	for ; len(data) >= 8; data = data[8:] {
		c.locs = append(c.locs, le.Uint64(data))
	}
	slices.Sort(c.locs)
	return c.locs, nil
}

func (c *checker) oldInModule(at, obj string, f *Func) bool {
	m := c.module(obj)
	s, bad := m.find(f.OldName, f.Sympos)
	if bad != nil {
		c.oldTrouble(at, bad)
		return false
	}
	if !isText(s) {
		c.r.object(CodeOldKind, at, "", "the module's symbol is no function")
		return false
	}
	if !m.fentry[where{s.Section, s.Value}] && !m.fentry[where{s.Section, s.Value + 4}] {
		c.r.object(CodeNoFentry, at, "a function without a traceable entry cannot be replaced; replace its callers", "__mcount_loc of the module has no record of its start")
		return false
	}
	relocs := s.Section.Relocs // sorted by offset
	for i := sort.Search(len(relocs), func(i int) bool { return relocs[i].Offset > s.Value }); i < len(relocs) && relocs[i].Offset <= s.Value+5; i++ {
		if r := relocs[i]; (r.Offset == s.Value+1 || r.Offset == s.Value+5) && r.Sym != nil && r.Sym.Name == "__fentry__" {
			return true
		}
	}
	c.r.object(CodeNoFentry, at, "a function without a traceable entry cannot be replaced; replace its callers", "it does not begin with a call of __fentry__")
	return false
}
