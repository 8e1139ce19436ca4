// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// moduleSymbols is a shipped module as the livepatch core sees it.
type moduleSymbols struct {
	err  error
	file *object.File
	// The kernel counts over the whole symbol table while the module is being
	// loaded, and over the part that survives once it is live
	// (kernel/module/kallsyms.c, add_kallsyms and is_core_symbol).
	coming, live map[string][]*object.Symbol
	fentry       map[where]bool     // places that __mcount_loc names
	byPlace      map[where][]string // names of live symbols; see place
}

// module returns a module of the kernel, read once.
func (c *checker) module(name string) *moduleSymbols {
	if !c.asked[name] {
		if len(c.asked) == maxModules {
			return &moduleSymbols{err: fmt.Errorf("it is one of more than %d modules of this livepatch, and was not looked at", maxModules)}
		}
		c.asked[name] = true
	}
	if s := c.mods[name]; s != nil {
		return s
	}
	s := c.readModule(name)
	c.mods[name] = s
	return s
}

func (c *checker) readModule(name string) *moduleSymbols {
	m, err := c.k.Module(name)
	if err != nil {
		return &moduleSymbols{err: err}
	}
	if m.Name != name {
		return &moduleSymbols{err: fmt.Errorf("the kernel knows module %s by the name %s", name, m.Name)}
	}
	data, err := m.Data()
	if err != nil {
		return &moduleSymbols{err: err}
	}
	f, err := object.Read(data)
	if err != nil {
		return &moduleSymbols{err: fmt.Errorf("read module %s: %w", name, err)}
	}
	s := &moduleSymbols{file: f, coming: map[string][]*object.Symbol{}, live: map[string][]*object.Symbol{}, fentry: map[where]bool{}}
	for _, y := range f.Symbols {
		if y.IsUndefined() || y.IsSection() { // section symbols have no name in the file
			continue
		}
		s.coming[y.Name] = append(s.coming[y.Name], y)
		if y.Section != nil && y.Section.IsAlloc() && !isInit(y.Section.Name) && !dropped(y.Section.Name) {
			s.live[y.Name] = append(s.live[y.Name], y)
		}
	}
	if loc := f.Section("__mcount_loc"); loc != nil {
		for _, r := range loc.Relocs {
			if r.Sym != nil && r.Sym.Section != nil {
				s.fentry[where{r.Sym.Section, r.Sym.Value + uint64(r.Addend)}] = true
			}
		}
	}
	return s
}

// isInit reports whether the loader frees a section after a module's init
// (module_init_section of kernel/module/main.c).
func isInit(name string) bool { return strings.HasPrefix(name, ".init") }

// trouble says why a name and position do not lead to one symbol.
type trouble struct {
	missing, ambiguous bool // else: position
	text               string
}

// pick chooses among n entries of a name as klp_find_object_symbol does.
func pick(n int, sympos uint64) (int, *trouble) {
	switch {
	case n == 0:
		return 0, &trouble{missing: true, text: "it is not in the symbol table"}
	case sympos == 0 && n > 1:
		return 0, &trouble{ambiguous: true, text: fmt.Sprintf("there are %d of that name and position 0 asks for a unique one", n)}
	case sympos > uint64(n):
		return 0, &trouble{text: fmt.Sprintf("position %d of %d", sympos, n)}
	case sympos == 0:
		return 0, nil
	}
	return int(sympos - 1), nil
}

// find finds a symbol as the kernel does at both times it may look.
func (s *moduleSymbols) find(name string, sympos uint64) (*object.Symbol, *trouble) {
	live := s.live[name]
	i, bad := pick(len(live), sympos)
	if bad != nil {
		if bad.missing && len(s.coming[name]) > 0 {
			bad.text = "it is only there until the module's init is done"
		}
		return nil, bad
	}
	coming := s.coming[name]
	j, bad := pick(len(coming), sympos)
	if bad != nil || coming[j] != live[i] {
		return nil, &trouble{ambiguous: true, text: "init code has the name too, so which one is meant depends on whether the module is live yet"}
	}
	return live[i], nil
}

// place describes a symbol of the module.
func (s *moduleSymbols) place(module string, y *object.Symbol) *Place {
	p := &Place{Object: module, Type: "d", Size: y.Size}
	if isText(y) {
		p.Type = "t"
	}
	if y.Section == nil {
		p.Section, p.Offset = "*ABS*", y.Value
		return p
	}
	p.Section, p.Offset = y.Section.Name, y.Value
	if s.byPlace == nil {
		s.byPlace = map[where][]string{}
		for _, list := range s.live {
			for _, o := range list {
				if o.Section != nil && !hiddenName(o.Name) && elf.SymType(o.Kind) != elf.STT_FILE {
					at := where{o.Section, o.Value}
					s.byPlace[at] = append(s.byPlace[at], o.Name)
				}
			}
		}
	}
	p.Twins = others(s.byPlace[where{y.Section, y.Value}], y.Name)
	return p
}

// placeInImage describes a symbol of vmlinux.
func (v *Verifier) placeInImage(s kernel.Symbol) *Place {
	p := &Place{Object: vmlinux, Address: fmt.Sprintf("%#x", s.Addr), Type: string(s.Type), Size: v.im.Symbols().Size(s)}
	if s.Type == 'A' || s.Type == 'a' {
		return p // per-CPU offsets: what is at the same number need not be the same thing
	}
	var names []string
	for _, o := range v.im.Symbols().At(s.Addr) {
		if (o.Type|0x20 == 't') == (s.Type|0x20 == 't') {
			names = append(names, o.Name)
		}
	}
	p.Twins = others(names, s.Name)
	return p
}

// others returns the names that are not the one given, sorted, each once.
func others(names []string, name string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
	slices.Sort(names)
	return slices.Compact(names)
}

// isText reports whether a shipped module's symbol is a function.
func isText(s *object.Symbol) bool {
	return s.Section != nil && s.Section.IsExec() && (s.IsFunc() || elf.SymType(s.Kind) == elf.STT_NOTYPE)
}
