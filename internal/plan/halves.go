// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"kmend/internal/delta"
	"kmend/internal/insn"
)

// halves looks for new variables that begin as 0, that replaced code reads, and
// that nothing sets which will run: the fix is half of one, whose other half is
// in another file. Where the code that would set such a variable is there, and
// nothing calls it, that is certain, and what was to be set (a work queue, a
// table) may be needed: it is refused. Where nothing sets it at all, the plan
// warns. A variable whose address is taken may be set by whoever has that.
func halves(p *Plan, works []*work) {
	live := reached(works)
	for _, w := range works {
		for _, v := range w.cl.Included {
			if v.Kind != delta.State || w.result.BeforeOf(v) != nil || !beginsAsZero(v) {
				continue
			}
			read, set, idle := uses(works, w, v, live)
			switch {
			case !read || set:
			case len(idle) > 0:
				p.refuse(Refusal{Code: CodeNeverCalled, File: w.source, Object: w.object, Symbol: v.Name,
					Why:    fmt.Sprintf("replaced code reads this new variable, which begins as 0, and only %s sets it, which nothing in the fix calls", strings.Join(idle, ", ")),
					Advice: "give the whole fix, with the file whose code calls that; if that is code that has run already (a module's init), reboot into a fixed kernel"})
			default:
				p.warn("never-set", fmt.Sprintf("%s: the new variable %s begins as 0, and the live patch only reads it: if other code is to set it, that code is missing from the fix", w.source, v.Name))
			}
		}
	}
}

func beginsAsZero(v *delta.Item) bool {
	return len(v.Refs) == 0 && !slices.ContainsFunc(v.Data(), func(b byte) bool { return b != 0 })
}

// reached are the items of all units that the replaced functions lead to.
func reached(works []*work) map[*delta.Item]bool {
	live := map[*delta.Item]bool{}
	type place struct {
		w  *work
		it *delta.Item
	}
	var todo []place
	reach := func(w *work, it *delta.Item) {
		if it != nil && !live[it] {
			live[it] = true
			todo = append(todo, place{w, it})
		}
	}
	for _, w := range works {
		for _, ch := range w.result.Changed {
			reach(w, ch.After)
		}
	}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		reach(at.w, at.it.Cold)
		eachRef(at.it, func(r *delta.Ref) {
			reach(at.w, r.Target.Item)
			if r.Target.Extern == "" {
				return
			}
			for _, w := range works {
				if w != at.w && w.object == at.w.object {
					reach(w, w.result.After.Item(r.Target.Extern))
				}
			}
		})
	}
	return live
}

// uses tells what is done with v, a new variable of a unit: whether code that
// runs reads it, whether such code may set it, and which other code may.
func uses(works []*work, owner *work, v *delta.Item, live map[*delta.Item]bool) (read, set bool, idle []string) {
	for _, w := range works {
		if w.object != owner.object {
			continue
		}
		for _, it := range w.result.After.Items {
			does := func(r *delta.Ref, reads bool) {
				switch {
				case r.Target.Item != v && !(w != owner && v.IsGlobal() && r.Target.Extern == v.Name):
				case reads:
					read = read || live[it]
				case live[it]:
					set = true
				case it.Kind.IsCode() && !slices.Contains(idle, it.Name):
					idle = append(idle, it.Name)
				}
			}
			for i := range it.Refs {
				does(&it.Refs[i], it.Kind.IsCode() && readsAt(it.Data(), it.Refs[i].Offset))
			}
			for _, refs := range it.EntryRefs { // a jump label's key, or what an alternative does
				for i := range refs {
					does(&refs[i], false)
				}
			}
		}
	}
	return read, set, idle
}

// readsAt reports whether the instruction with a field at off only reads what
// that leads to.
func readsAt(code []byte, off uint64) bool {
	for at := uint64(0); at < uint64(len(code)); {
		in, err := insn.Decode(code[at:])
		if err != nil {
			return false
		}
		if off < at+uint64(in.Len) {
			return in.FieldAt(int(off-at), 4) == insn.FieldDisp && insn.OnlyReads(code[at:])
		}
		at += uint64(in.Len)
	}
	return false
}
