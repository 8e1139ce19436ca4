// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"kmend/internal/delta"
	"kmend/internal/runpre"
)

// carry deals with functions that differ and have no fentry, so that the
// kernel cannot redirect them. The kernel's inline is notrace (compiler_types.h):
// what GCC does not inline of it, such as the body of many a system call, is
// of that kind. Where every use of such a function is a call in this unit, its
// callers are replaced instead and call the new copy: nothing that runs calls
// the old code any more. Anything else stays for replaceable to refuse.
func (w *work) carry() {
	w.calls = map[*delta.Item]string{}
	w.carryThose(w.noFentry, "has no fentry")
}

// noFentry reports whether a function is what runs, and cannot be redirected.
func (w *work) noFentry(ch delta.Change) bool {
	m, _ := w.matchOf(ch.Before)
	return m != nil && m.Verdict == runpre.Equal && !m.Fentry
}

// carryThose has the callers of changed functions replaced in their place. why
// ends a sentence about such a function.
func (w *work) carryThose(which func(delta.Change) bool, why string) {
	r := *w.result
	r.Changed = slices.Clone(r.Changed)
	for i := 0; i < len(r.Changed); i++ { // callers are appended, and may be of that kind themselves
		ch := r.Changed[i]
		if slices.Contains(w.carried, ch.After) || !which(ch) {
			continue
		}
		callers := w.onlyCallers(&r, ch)
		if callers == nil {
			continue
		}
		w.carried = append(w.carried, ch.After)
		for _, b := range callers {
			if slices.ContainsFunc(r.Changed, func(c delta.Change) bool { return c.Before == b }) {
				continue
			}
			what := fmt.Sprintf("it calls %s, which changes and %s", ch.Before.Name, why)
			w.calls[r.AfterOf(b)] = what
			r.Changed = append(r.Changed, delta.Change{Before: b, After: r.AfterOf(b), Where: b, What: what})
		}
	}
	w.result = &r
}

// onlyCallers lists the functions before the fix that use a function, if each
// of them calls it and does nothing else with it, and is there after the fix;
// else nil. A global function may have callers in other units.
func (w *work) onlyCallers(r *delta.Result, ch delta.Change) []*delta.Item {
	var out []*delta.Item
	for _, it := range []*delta.Item{ch.Before, ch.After} {
		// Code in a section of its own kind (.noinstr.text, .kprobes.text) is
		// there for what may not happen in it; a copy would lose that.
		if it.IsGlobal() || it.Section.Name != ".text."+it.Name {
			return nil
		}
		for _, u := range it.Users {
			f := u
			if f.Parent != nil {
				f = f.Parent
			}
			switch {
			case u.Kind == delta.AltAux: // jumps back to where it came from
				continue
			case f.Kind != delta.Func || !onlyCalls(u, it, f == it):
				return nil
			case f == it || it == ch.After:
				continue
			}
			if a := r.AfterOf(f); a == nil || a.Kind != delta.Func {
				return nil
			}
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// onlyCalls reports whether u does nothing with the address of f but branch to
// its start; within f itself, branches and addresses inside it are its own.
func onlyCalls(u, f *delta.Item, own bool) bool {
	fits := func(r *delta.Ref) bool {
		if r.Target.Item != f {
			return true
		}
		return r.Branch && r.Add == 0 || own && r.Add != 0
	}
	for i := range u.Refs {
		if !fits(&u.Refs[i]) {
			return false
		}
	}
	for _, refs := range u.EntryRefs {
		for i := range refs {
			if !own && !fits(&refs[i]) {
				return false
			}
		}
	}
	return true
}
