// SPDX-License-Identifier: Apache-2.0

package impact

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"kmend/internal/insn"
	"kmend/internal/object"
)

// Func is a function symbol of an object.
type Func struct {
	Name    string
	Section string
	Value   uint64 // offset in the section
	Size    uint64
	Global  bool
	Fentry  bool     // begins with a call of __fentry__ (or a no-op in its place), which livepatch needs
	Init    bool     // freed after the start
	Twins   []string // other function symbols of the same address: aliases, or bodies that GCC folded (-fipa-icf)
}

// functions lists the function symbols of an object by name. The first of
// several local symbols of one name stands for all: a compiler makes no two.
func functions(obj *object.File) []Func {
	type place struct {
		section *object.Section
		value   uint64
	}
	fentry := fentryPlaces(obj)
	at := map[place][]string{}
	var out []Func
	for _, s := range obj.Symbols {
		if !s.IsFunc() || s.Section == nil || s.Name == "" || strings.HasSuffix(s.Name, ".cold") {
			continue
		}
		p := place{s.Section, s.Value}
		at[p] = append(at[p], s.Name)
		out = append(out, Func{
			Name: s.Name, Section: s.Section.Name, Value: s.Value, Size: s.Size, Global: !s.IsLocal(),
			Fentry: slices.Contains(fentry[s.Section], s.Value),
			Init:   strings.HasPrefix(s.Section.Name, ".init.") || strings.HasPrefix(s.Section.Name, ".exit."),
		})
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	out = slices.CompactFunc(out, func(a, b Func) bool { return a.Name == b.Name })
	byName := map[string]int{}
	for i := range out {
		byName[out[i].Name] = i
	}
	for _, names := range at {
		for _, n := range names {
			for _, m := range names {
				if i := byName[n]; m != n && !slices.Contains(out[i].Twins, m) {
					out[i].Twins = append(out[i].Twins, m)
				}
			}
		}
	}
	for i := range out {
		sort.Strings(out[i].Twins)
	}
	return out
}

// fentryPlaces lists where __fentry__ is called from. objtool leaves the place
// in __mcount_loc and makes the call a no-op (tools/objtool/check.c), so that
// section is read too.
func fentryPlaces(obj *object.File) map[*object.Section][]uint64 {
	out := map[*object.Section][]uint64{}
	for _, s := range obj.Sections {
		for _, r := range s.Relocs {
			switch {
			case r.Sym == nil:
			case s.IsExec() && r.Sym.Name == "__fentry__" && r.Offset > 0:
				out[s] = append(out[s], r.Offset-1)
			case s.Name == "__mcount_loc" && r.Sym.Section != nil:
				out[r.Sym.Section] = append(out[r.Sym.Section], r.Sym.Value+uint64(r.Addend))
			}
		}
	}
	return out
}

// isCloneName reports whether an assembler name is one that GCC gives to a
// clone (gcc/cgraphclones.cc: clone_function_name).
func isCloneName(name string) bool {
	return strings.Contains(name, ".isra.") || strings.Contains(name, ".constprop.") || strings.Contains(name, ".part.")
}

// cloneUsers lists for each clone that the object has the functions that call
// it or take its address, sorted. References are relocations, and branches
// within a section, which the assembler resolves by itself.
func cloneUsers(obj *object.File, funcs []Func) (map[string][]string, error) {
	f := &finder{obj: obj, starts: map[*object.Section][]*object.Symbol{}, users: map[string]map[string]bool{}}
	for i := range funcs {
		if isCloneName(funcs[i].Name) {
			f.users[funcs[i].Name] = map[string]bool{}
		}
	}
	if len(f.users) == 0 {
		return nil, nil
	}
	for _, s := range obj.Symbols {
		if s.IsFunc() && s.Section != nil {
			f.starts[s.Section] = append(f.starts[s.Section], s)
		}
	}
	for _, list := range f.starts {
		sort.SliceStable(list, func(i, j int) bool { return list[i].Value < list[j].Value })
	}
	for _, s := range obj.Sections {
		if !s.IsExec() {
			continue
		}
		if err := f.scan(s); err != nil {
			return nil, err
		}
	}
	out := map[string][]string{}
	for clone, set := range f.users {
		for user := range set {
			out[clone] = append(out[clone], user)
		}
		sort.Strings(out[clone])
	}
	return out, nil
}

type finder struct {
	obj    *object.File
	starts map[*object.Section][]*object.Symbol // functions by offset
	users  map[string]map[string]bool
}

// function is the name of the function that an offset lies in, cold parts as
// their function; "" if none.
func (f *finder) function(s *object.Section, off uint64) string {
	list := f.starts[s]
	i := sort.Search(len(list), func(i int) bool { return list[i].Value > off }) - 1
	if i < 0 || off >= list[i].Value+max(list[i].Size, 1) {
		return ""
	}
	return strings.TrimSuffix(list[i].Name, ".cold")
}

// use notes a reference from one place to another.
func (f *finder) use(from *object.Section, off uint64, to *object.Section, at uint64) {
	target := f.function(to, at)
	set, ok := f.users[target]
	if !ok {
		return
	}
	if user := f.function(from, off); user != "" && user != target {
		set[user] = true
	}
}

// scan notes the references of one section of code.
func (f *finder) scan(s *object.Section) error {
	relocated := map[uint64]bool{}
	for _, r := range s.Relocs {
		relocated[r.Offset] = true
		if r.Sym == nil || r.Sym.Section == nil || !r.Sym.Section.IsExec() {
			continue
		}
		at := r.Sym.Value
		if r.Sym.IsSection() {
			at += uint64(r.Addend)
			if object.PCRelative(r.Type) {
				at += 4 // a branch: the field ends the instruction
			}
		}
		f.use(s, r.Offset, r.Sym.Section, at)
	}
	for _, sym := range f.starts[s] {
		if sym.Size == 0 || sym.Value+sym.Size > uint64(len(s.Data)) {
			continue
		}
		for off := sym.Value; off < sym.Value+sym.Size; {
			i, err := insn.Decode(s.Data[off : sym.Value+sym.Size])
			if err != nil {
				return fmt.Errorf("find the callers of clones: %s+%#x: %w", sym.Name, off-sym.Value, err)
			}
			if to := int64(off) + i.Target; i.Rel && to >= 0 && !relocated[off+uint64(i.RelOff)] {
				f.use(s, off, s, uint64(to))
			}
			off += uint64(i.Len)
		}
	}
	return nil
}
