// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"fmt"
	"slices"
	"strings"
)

// Together says what happens if livepatches are loaded one after the other, in
// the order given: which of them replace the same functions, which disables
// which, and which the kernel will refuse. Reports must be of one Verifier, or
// of the same kernel.
func Together(reports []*Report) []Finding { return After(nil, reports) }

// After is Together on a kernel that has livepatches loaded already; nil is one
// of which nothing is known. Its functions should have been located in the
// kernel (Verifier.Locate).
//
// The rules are those of kernel/livepatch: of several replacements of one
// function the last one loaded is called (klp_ftrace_handler); one with
// klp_patch.replace takes the place of all that are there, and functions that
// it does not have go back to their original code (klp_add_nops); one that does
// not know the system states of those that are there is refused
// (klp_is_patch_compatible), and so is any while another is in transition
// (__klp_enable_patch). The order of unloading is free.
func After(loaded *Loaded, reports []*Report) []Finding {
	s := sequence{loaded: loaded, out: map[string]bool{}}
	s.begin()
	for _, r := range reports {
		s.next(r.Module)
	}
	return slices.Concat(s.r.Objections, s.r.Warnings, s.r.Notes)
}

// sequence plays loads through.
type sequence struct {
	loaded *Loaded
	active []present       // enabled, in the order of their loads
	out    map[string]bool // disabled, and in memory
	moving []*LoadedPatch  // in transition, and not told of yet
	r      Report
}

// present is a livepatch that is there before another one is loaded.
type present struct {
	*Module
	from *LoadedPatch // nil: one of the modules that are checked
}

func (p present) said() string {
	if p.from == nil {
		return p.Name
	}
	return p.from.said()
}

// begin takes what is loaded.
func (s *sequence) begin() {
	if s.loaded == nil {
		return
	}
	for i := range s.loaded.Patches {
		p := &s.loaded.Patches[i]
		if p.State == LoadedPatching || p.State == LoadedUnpatching {
			s.moving = append(s.moving, p)
		}
		if p.State == LoadedUnpatching || p.State == LoadedDisabled {
			s.out[p.Name] = true
			continue
		}
		if p.clears() {
			s.active = nil
		}
		s.active = append(s.active, present{p.module(), p})
	}
}

// next loads a module.
func (s *sequence) next(m *Module) {
	if !s.free(m) {
		return
	}
	for _, p := range s.moving {
		who := ""
		if p.Waits != "" {
			who = "; it waits for " + p.Waits
		}
		s.r.find(CodeMoving, p.Name, "wait for its end, as kmend load does; see kmend status", "it is in transition: until that is over the kernel refuses to load %s (EBUSY)%s", m.Name, who)
	}
	s.moving = nil
	has := functionsOf(m)
	for _, old := range s.active {
		s.states(old, m)
		s.overlap(old, m, has)
	}
	if m.Replace {
		s.replaced(m)
	}
	s.active = append(s.active, present{m, nil})
	s.absent(m)
}

// free looks whether the kernel has room for a module of that name; if not
// there is nothing more to say of it.
func (s *sequence) free(m *Module) bool {
	i := slices.IndexFunc(s.active, func(o present) bool { return o.Name == m.Name })
	switch {
	case i >= 0 && s.active[i].from == nil:
		s.r.find(CodeSameName, m.Name, "unload the first one before, or build one under another name", "two of the livepatches have this name: the kernel refuses the second (EEXIST)")
		return false
	case i >= 0:
		if why := s.active[i].from.differs(m); why != "" {
			s.r.find(CodeSameName, m.Name, "unload that before, or build this one under another name", "a live patch of this name is loaded, %s: the kernel refuses a second one (EEXIST)", why)
			return false
		}
		s.r.find(CodeAlready, m.Name, "", "it is loaded already: kmend load leaves it as it is")
		s.active[i].from.File = m // now it is known what is in it
		s.active[i].States = m.States
		return false
	case s.out[m.Name]:
		delete(s.out, m.Name)
		if s.held(m.Name) {
			s.r.find(CodeSameName, m.Name, "restart the machine, or build this one under another name",
				"a live patch of this name was disabled, and something holds its module in memory: the kernel refuses a second one (EEXIST), and cannot enable the first again")
			return false
		}
		s.r.find(CodeInMemory, m.Name, "load it with kmend load, which removes the other one first, or remove that before: kmend unload "+m.Name,
			"a live patch of this name is disabled, and still in memory: until it is removed the kernel refuses a second one (EEXIST)")
	case s.loaded != nil && s.loaded.has(m.Name):
		s.r.find(CodeSameName, m.Name, "choose another name", "a module of this name is loaded that is no live patch: the kernel refuses a second one (EEXIST)")
		return false
	}
	return true
}

// held reports whether a disabled live patch cannot be removed.
func (s *sequence) held(name string) bool {
	return s.loaded != nil && slices.ContainsFunc(s.loaded.Patches, func(p LoadedPatch) bool { return p.Name == name && p.State == LoadedDisabled && p.Held })
}

// states is klp_is_state_compatible (kernel/livepatch/state.c).
func (s *sequence) states(old present, m *Module) {
	if old.from != nil && old.from.File == nil {
		if m.Replace || len(m.States) > 0 { // else the kernel takes it whatever the other one has
			s.r.find(CodeStatesUnknown, old.Name, "give its file before the module, if you have it",
				"which system states (klp_state) it has is not known, and the kernel compares them with those of %s: %s", m.Name, orElse(old.from.NotRead, "it is loaded, and its file is not here"))
		}
		return
	}
	for _, st := range old.States {
		i := slices.IndexFunc(m.States, func(n State) bool { return n.ID == st.ID })
		switch {
		case i < 0 && m.Replace:
			s.r.find(CodeStates, m.Name, "make it handle that state", "it replaces %s and does not have its system state %d: the kernel refuses it", old.Name, st.ID)
		case i >= 0 && m.States[i].Version < st.Version:
			s.r.find(CodeStates, m.Name, "make it handle that version", "it has system state %d in version %d, %s in version %d: the kernel refuses it", st.ID, m.States[i].Version, old.Name, st.Version)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// maxNamed bounds the functions that one finding names.
const maxNamed = 12

// overlap compares the functions of a livepatch with those of one before it.
func (s *sequence) overlap(old present, m *Module, has map[string]bool) {
	both, gone := shared(old.Module, has)
	pair := old.Name + ", " + m.Name
	if m.Replace && len(gone) > 0 {
		s.r.find(CodeDropped, pair, "build a livepatch with both fixes",
			"loading %s disables %s, and these functions then run without a fix: %s", m.Name, old.said(), listed(gone))
	}
	if !m.Replace && len(both) > 0 {
		s.r.find(CodeFunctions, pair, "see that the later one was made from source that has the fix of the earlier one",
			"both replace %s: what %s has of them runs, and that of %s is not called", listed(both), m.Name, old.said())
	}
}

// replaced takes out all that is there.
func (s *sequence) replaced(m *Module) {
	var names, both []string
	has := functionsOf(m)
	for _, old := range s.active {
		if old.from != nil {
			names = append(names, old.said())
			more, _ := shared(old.Module, has)
			both = append(both, more...)
		}
		s.out[old.Name] = true
	}
	s.active = nil
	if len(names) == 0 {
		return
	}
	own := "; it replaces none of their functions itself"
	if len(both) > 0 {
		slices.Sort(both)
		own = "; of their functions it has its own version of " + listed(slices.Compact(both))
	}
	s.r.find(CodeDisables, m.Name, "see that it was made from source that has their fixes", "loading it disables what is loaded: %s. Their modules stay in memory until they are unloaded%s", listed(names), own)
}

// absent notes modules that a livepatch changes and that are not loaded.
func (s *sequence) absent(m *Module) {
	if s.loaded == nil || s.loaded.Modules == nil {
		return
	}
	var names []string
	for _, o := range m.Objects {
		if o.Named && !s.loaded.has(o.Name) {
			names = append(names, o.Name)
		}
	}
	if len(names) > 0 {
		s.r.find(CodeAbsent, m.Name, "", "not loaded now, and changed when they are: %s", listed(names))
	}
}

// functionsOf are the functions that a module replaces, by all their names.
func functionsOf(m *Module) map[string]bool {
	has := map[string]bool{}
	for i := range m.Objects {
		o := &m.Objects[i]
		for j := range o.Funcs {
			for _, id := range identities(o, &o.Funcs[j]) {
				has[id] = true
			}
		}
	}
	return has
}

// shared parts the functions of a livepatch by whether another one has them.
func shared(old *Module, has map[string]bool) (both, gone []string) {
	for i := range old.Objects {
		o := &old.Objects[i]
		for j := range o.Funcs {
			f := &o.Funcs[j]
			name := o.Name + ":" + f.OldName
			if slices.ContainsFunc(identities(o, f), func(id string) bool { return has[id] }) {
				both = append(both, name)
			} else {
				gone = append(gone, name)
			}
		}
	}
	return both, gone
}

// identities of a replaced function: its name and position, and, if it was
// found, where it is.
func identities(o *Object, f *Func) []string {
	ids := []string{fmt.Sprintf("%s %s,%d", o.Name, f.OldName, max(f.Sympos, 1))}
	if f.Old != nil {
		ids = append(ids, o.Name+" at "+f.Old.String())
	}
	return ids
}

func listed(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}
