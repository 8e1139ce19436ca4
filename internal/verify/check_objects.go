// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode"

	"kmend/internal/kernel"
)

func (c *checker) objects() {
	if len(c.m.Objects) == 0 {
		c.r.find(CodeLivepatch, "", "", "it patches no object")
	}
	seen := map[string]bool{}
	for i := range c.m.Objects {
		o := &c.m.Objects[i]
		if seen[o.Name] {
			c.r.find(CodeLivepatch, o.Name, "", "the object is listed twice")
		}
		seen[o.Name] = true
		if len(o.Funcs) == 0 {
			c.r.find(CodeNoFunction, o.Name, "leave it out", "no function of it is replaced")
		}
		if o.Named && o.Name == vmlinux {
			c.r.find(CodeObjectNull, o.Name, "the name of vmlinux is NULL", "it is called \"vmlinux\": the kernel waits for a module of that name and never patches it")
			continue
		}
		if o.Callbacks {
			c.r.find(CodeCallbacks, o.Name, "read their source", "it has callbacks, which are not judged")
		}
		if o.Named {
			if why := nameTrouble(o.Name); why != "" {
				c.r.find(CodeObjectName, o.Name, "use the name that /sys/module has", "no module can have this name (%s)", why)
				continue
			}
			if c.builtIn(o.Name) {
				c.r.find(CodeObject, o.Name, "its functions are vmlinux's", "it is built into this kernel: the kernel waits for a module of that name and never patches it")
				continue
			}
			if s := c.module(o.Name); s.err != nil {
				c.r.find(CodeObject, o.Name, "use the name that /sys/module has", "%v", s.err)
				continue
			}
		}
		c.functions(o)
	}
}

// nameTrouble says why no module has a name, "" if one can: KBUILD_MODNAME is a
// file's name with - and , made _ (scripts/Makefile.lib), and struct module has
// room for 55 characters.
func nameTrouble(name string) string {
	switch {
	case name == "":
		return "it is empty, and the load fails"
	case len(name) > maxObjectName:
		return fmt.Sprintf("it has more than %d characters, and the load fails", maxObjectName)
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !(r == '_' || r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r))) }); i >= 0 {
		return fmt.Sprintf("%q is in it; the kernel loads the livepatch, and waits for ever for the module", name[i:i+1])
	}
	return ""
}

// builtIn reports whether the kernel has a module of a name as part of itself.
func (c *checker) builtIn(name string) bool {
	return !c.names[name] && c.facts.Taken[name]
}

func (c *checker) functions(o *Object) {
	type key struct {
		name string
		pos  uint64
	}
	seen, places := map[key]bool{}, map[string]string{}
	for i := range o.Funcs {
		f := &o.Funcs[i]
		at := o.Name + ":" + f.OldName
		k := key{f.OldName, max(f.Sympos, 1)}
		if seen[k] {
			c.r.find(CodeDoubly, at, "", "the function is replaced twice in one livepatch")
		}
		seen[k] = true
		good := c.newFunction(at, f)
		if o.Named {
			f.Old = c.oldInModule(at, o.Name, f)
		} else {
			f.Old = c.oldInVmlinux(at, f)
		}
		if f.Old == nil {
			continue
		}
		if good {
			c.r.Checked.Functions++
		}
		if first, ok := places[f.Old.String()]; ok && first != f.OldName {
			c.r.find(CodeDoubly, at, "", "%s, which is replaced too, is the same function", first)
		}
		places[f.Old.String()] = f.OldName
		if len(f.Old.Twins) > 0 {
			c.r.find(CodeTwin, at, "see that all of them are meant", "the function has other names, by which it is replaced too: %s", strings.Join(f.Old.Twins[:min(8, len(f.Old.Twins))], ", "))
		}
	}
}

// newFunction looks at the replacement: the kernel finds its size through the
// symbol table, and fails the load if it has none.
func (c *checker) newFunction(at string, f *Func) bool {
	switch {
	case !f.at.IsExec():
		c.r.find(CodeNewFunction, at, "", "its replacement is in section %s, which is not executable", f.Section)
	case isInit(f.Section):
		c.r.find(CodeNewFunction, at, "", "its replacement is in section %s, which is freed after load", f.Section)
	case f.New == "":
		c.r.find(CodeNewFunction, at, "", "no symbol that the kernel sees is at its replacement, %s+%#x", f.Section, f.Offset)
	case f.Size == 0:
		c.r.find(CodeNewFunction, at, "", "its replacement %s is empty", f.New)
	default:
		return true
	}
	return false
}

func (c *checker) oldTrouble(at string, t *trouble) {
	switch {
	case t.missing:
		c.r.find(CodeOldMissing, at, "", "%s", t.text)
	case t.ambiguous:
		c.r.find(CodeOldAmbig, at, "give the position among all entries of that name", "%s", t.text)
	default:
		c.r.find(CodeOldPosition, at, "count all entries of that name, of any kind and binding", "%s", t.text)
	}
}

func (c *checker) oldInVmlinux(at string, f *Func) *Place {
	list := c.im.Symbols().Lookup(f.OldName)
	i, bad := pick(len(list), f.Sympos)
	if bad != nil {
		c.oldTrouble(at, bad)
		return nil
	}
	s := list[i]
	switch s.Type {
	case 't', 'T', 'w', 'W':
	default:
		c.r.find(CodeOldKind, at, "", "the kernel's symbol is no function (type %c)", s.Type)
		return nil
	}
	if c.within(s.Addr, "__init_begin", "__init_end") || c.within(s.Addr, "_sinittext", "_einittext") {
		c.r.find(CodeOldInit, at, "", "it is init code, which is freed when the kernel has booted")
		return nil
	}
	if err := c.fentryInImage(s); err != "" {
		c.r.find(CodeNoFentry, at, "a function without a traceable entry cannot be replaced; replace its callers", "%s", err)
		return nil
	}
	return c.placeInImage(s)
}

// within reports whether an address lies between two symbols of the image.
func (v *Verifier) within(addr uint64, from, to string) bool {
	a, b := v.im.Symbols().Lookup(from), v.im.Symbols().Lookup(to)
	return len(a) == 1 && len(b) == 1 && addr >= a[0].Addr && addr < b[0].Addr
}

// fentryInImage says why ftrace has no hold on a function of the image; ""
// means that it does. Two witnesses: the call __fentry__ at its start, and the
// record of it in __mcount_loc.
func (v *Verifier) fentryInImage(s kernel.Symbol) string {
	at := s.Addr
	code, err := v.im.Bytes(at, 9)
	if err != nil {
		return "its code cannot be read: " + err.Error()
	}
	if string(code[:4]) == "\xf3\x0f\x1e\xfa" { // endbr64
		at, code = at+4, code[4:]
	}
	fentry := v.im.Symbols().Lookup("__fentry__")
	if len(fentry) != 1 {
		return "the kernel has no __fentry__"
	}
	if code[0] != 0xe8 || at+5+uint64(int64(int32(le.Uint32(code[1:])))) != fentry[0].Addr {
		return "it does not begin with a call of __fentry__ (notrace, noinstr or assembly)"
	}
	locs, err := v.mcountLocs()
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
func (v *Verifier) mcountLocs() ([]uint64, error) {
	if v.locs != nil {
		return v.locs, nil
	}
	a, b := v.im.Symbols().Lookup("__start_mcount_loc"), v.im.Symbols().Lookup("__stop_mcount_loc")
	if len(a) != 1 || len(b) != 1 || b[0].Addr <= a[0].Addr || b[0].Addr-a[0].Addr > 64<<20 {
		return nil, errors.New("the kernel has no __mcount_loc")
	}
	data, err := v.im.Bytes(a[0].Addr, int(b[0].Addr-a[0].Addr))
	if err != nil {
		return nil, fmt.Errorf("__mcount_loc cannot be read: %w", err)
	}
	for ; len(data) >= 8; data = data[8:] {
		v.locs = append(v.locs, le.Uint64(data))
	}
	slices.Sort(v.locs)
	return v.locs, nil
}

func (c *checker) oldInModule(at, obj string, f *Func) *Place {
	m := c.module(obj)
	s, bad := m.find(f.OldName, f.Sympos)
	if bad != nil {
		c.oldTrouble(at, bad)
		return nil
	}
	if !isText(s) {
		c.r.find(CodeOldKind, at, "", "the module's symbol is no function")
		return nil
	}
	if !m.fentry[where{s.Section, s.Value}] && !m.fentry[where{s.Section, s.Value + 4}] {
		c.r.find(CodeNoFentry, at, "a function without a traceable entry cannot be replaced; replace its callers", "__mcount_loc of the module has no record of its start")
		return nil
	}
	relocs := s.Section.Relocs // sorted by offset
	for i := sort.Search(len(relocs), func(i int) bool { return relocs[i].Offset > s.Value }); i < len(relocs) && relocs[i].Offset <= s.Value+5; i++ {
		if r := relocs[i]; (r.Offset == s.Value+1 || r.Offset == s.Value+5) && r.Sym != nil && r.Sym.Name == "__fentry__" {
			return m.place(obj, s)
		}
	}
	c.r.find(CodeNoFentry, at, "a function without a traceable entry cannot be replaced; replace its callers", "it does not begin with a call of __fentry__")
	return nil
}
