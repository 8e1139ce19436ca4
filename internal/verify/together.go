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
//
// The rules are those of kernel/livepatch: of several replacements of one
// function the last one loaded is called (klp_ftrace_handler); one with
// klp_patch.replace takes the place of all that are there, and functions that
// it does not have go back to their original code (klp_add_nops); one that does
// not know the system states of those that are there is refused
// (klp_is_patch_compatible). The order of unloading is free.
func Together(reports []*Report) []Finding {
	all := &Report{}
	var active []*Report
	for _, r := range reports {
		m := r.Module
		if i := slices.IndexFunc(active, func(o *Report) bool { return o.Module.Name == m.Name }); i >= 0 {
			all.find(CodeSameName, m.Name, "unload the first one before, or build one under another name", "two of the livepatches have this name: the kernel refuses the second (EEXIST)")
			continue
		}
		for _, old := range active {
			all.statesOf(old.Module, m)
			all.overlap(old.Module, m)
		}
		if m.Replace {
			active = nil
		}
		active = append(active, r)
	}
	return slices.Concat(all.Objections, all.Warnings, all.Notes)
}

// statesOf is klp_is_state_compatible (kernel/livepatch/state.c).
func (r *Report) statesOf(old, m *Module) {
	for _, s := range old.States {
		i := slices.IndexFunc(m.States, func(n State) bool { return n.ID == s.ID })
		switch {
		case i < 0 && m.Replace:
			r.find(CodeStates, m.Name, "make it handle that state", "it replaces %s and does not have its system state %d: the kernel refuses it", old.Name, s.ID)
		case i >= 0 && m.States[i].Version < s.Version:
			r.find(CodeStates, m.Name, "make it handle that version", "it has system state %d in version %d, %s in version %d: the kernel refuses it", s.ID, m.States[i].Version, old.Name, s.Version)
		}
	}
}

// maxNamed bounds the functions that one finding names.
const maxNamed = 12

// overlap compares the functions of a livepatch with those of one before it.
func (r *Report) overlap(old, m *Module) {
	have := map[string]bool{}
	for _, o := range m.Objects {
		for i := range o.Funcs {
			have[identity(&o, &o.Funcs[i])] = true
		}
	}
	var both, gone []string
	for _, o := range old.Objects {
		for i := range o.Funcs {
			name := o.Name + ":" + o.Funcs[i].OldName
			if have[identity(&o, &o.Funcs[i])] {
				both = append(both, name)
			} else {
				gone = append(gone, name)
			}
		}
	}
	pair := old.Name + ", " + m.Name
	if m.Replace && len(gone) > 0 {
		r.find(CodeDropped, pair, "build a livepatch with both fixes",
			"loading %s disables %s, and these functions then run without a fix: %s", m.Name, old.Name, listed(gone))
	}
	if !m.Replace && len(both) > 0 {
		r.find(CodeFunctions, pair, "see that the later one was made from source that has the fix of the earlier one",
			"both replace %s: what %s has of them runs, and that of %s is not called", listed(both), m.Name, old.Name)
	}
}

// identity names a replaced function: by where it is, else by its name.
func identity(o *Object, f *Func) string {
	if f.Old != nil {
		return o.Name + " " + f.Old.String()
	}
	return fmt.Sprintf("%s %s,%d", o.Name, f.OldName, max(f.Sympos, 1))
}

func listed(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}
