// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"kmend/internal/delta"
	"kmend/internal/insn"
)

// halves looks for new variables that begin as 0, that replaced code uses, and
// that nothing sets which will run: the fix is half of one, whose other half is
// in another file. Where new code that may set such a variable is there, and
// nothing calls it, that is certain, and what was to be set (a work queue, a
// lock, a table) may be needed: it is refused. Where the variable is only read,
// the plan warns. Code that has a variable's address may set it or only use it:
// alone it is believed, beside code that nothing calls it is not.
func halves(p *Plan, works []*work) {
	live := reached(works)
	for _, w := range works {
		for _, v := range w.cl.Included {
			if v.Kind != delta.State || w.result.BeforeOf(v) != nil || !beginsAsZero(v) {
				continue
			}
			u := usesOf(works, w, v, live)
			switch {
			case u.written || !u.read && !u.addressed:
			case len(u.idle) > 0:
				p.refuse(Refusal{Code: CodeNeverCalled, File: w.source, Object: w.object, Symbol: v.Name,
					Why:    fmt.Sprintf("replaced code uses this new variable, which begins as 0, and what sets it up is %s, which nothing in the fix calls", strings.Join(u.idle, ", ")),
					Advice: "give the whole fix, with the file whose code calls that; if that is code that has run already (a module's init), reboot into a fixed kernel"})
			case !u.addressed:
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

// uses is what is done with a variable: by code that runs, and by code that
// nothing calls.
type uses struct {
	read, written bool     // by instructions that run
	addressed     bool     // code or data that is reached has its address
	idle          []string // other code that may set it
}

// usesOf tells what is done with v, a new variable of a unit.
func usesOf(works []*work, owner *work, v *delta.Item, live map[*delta.Item]bool) uses {
	var u uses
	for _, w := range works {
		if w.object != owner.object {
			continue
		}
		leads := func(r *delta.Ref) bool {
			return r.Target.Item == v || w != owner && v.IsGlobal() && r.Target.Extern == v.Name
		}
		for _, it := range w.result.After.Items {
			for i := range it.Refs {
				if r := &it.Refs[i]; leads(r) {
					u.add(it, accessAt(it, r.Offset), live[it])
				}
			}
			for _, refs := range it.EntryRefs { // a jump label's key, or what an alternative does
				for i := range refs {
					if leads(&refs[i]) {
						u.add(it, address, live[it])
					}
				}
			}
		}
	}
	return u
}

func (u *uses) add(it *delta.Item, a access, live bool) {
	switch {
	case live && a == reads:
		u.read = true
	case live && a == writes:
		u.written = true
	case live:
		u.addressed = true
	case a != reads && it.Kind.IsCode() && !slices.Contains(u.idle, it.Name):
		u.idle = append(u.idle, it.Name)
	}
}

// access is what an instruction does with what one of its fields leads to.
type access uint8

const (
	address access = iota // takes its address, or something else
	reads
	writes
)

// accessAt finds the instruction of an item with a field at off.
func accessAt(it *delta.Item, off uint64) access {
	if !it.Kind.IsCode() {
		return address
	}
	code := it.Data()
	for at := uint64(0); at < uint64(len(code)); {
		in, err := insn.Decode(code[at:])
		if err != nil {
			return address
		}
		if off < at+uint64(in.Len) {
			switch {
			case in.FieldAt(int(off-at), 4) != insn.FieldDisp || insn.IsLea(code[at:]):
				return address
			case insn.OnlyReads(code[at:]):
				return reads
			}
			return writes
		}
		at += uint64(in.Len)
	}
	return address
}
