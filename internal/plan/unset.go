// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"

	"kmend/internal/delta"
	"kmend/internal/insn"
)

// warnUnset warns of new variables that begin as 0 and that nothing in the live
// patch sets: half of a fix, the other half of which is in another file, builds
// and does nothing. Where something takes a variable's address it may be set.
func warnUnset(p *Plan, works []*work) {
	for _, w := range works {
		for _, v := range w.cl.Included {
			if v.Kind == delta.State && w.result.BeforeOf(v) == nil && beginsAsZero(v) && onlyRead(works, w, v) {
				p.warn("never-set", fmt.Sprintf("%s: the new variable %s begins as 0, and the live patch only reads it: if other code is to set it, that code is missing from the fix", w.source, v.Name))
			}
		}
	}
}

func beginsAsZero(v *delta.Item) bool {
	return len(v.Refs) == 0 && !slices.ContainsFunc(v.Data(), func(b byte) bool { return b != 0 })
}

// onlyRead reports whether code of the live patch reads v, a variable of owner,
// and nothing does anything else with it.
func onlyRead(works []*work, owner *work, v *delta.Item) bool {
	read := false
	for _, w := range works {
		if w.object != owner.object {
			continue
		}
		leads := func(r *delta.Ref) bool {
			return r.Target.Item == v || w != owner && v.IsGlobal() && r.Target.Extern == v.Name
		}
		for _, it := range w.cl.Included {
			for _, refs := range it.EntryRefs {
				for i := range refs {
					if leads(&refs[i]) { // a jump label's key, or what an alternative does
						return false
					}
				}
			}
			for i := range it.Refs {
				if !leads(&it.Refs[i]) {
					continue
				}
				if !it.Kind.IsCode() || !readsAt(it.Data(), it.Refs[i].Offset) {
					return false
				}
				read = true
			}
		}
	}
	return read
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
