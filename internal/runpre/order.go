// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"sort"
	"strings"

	"kmend/internal/object"
)

// Emission order. GCC emits the functions of a translation unit one after the
// other into .text, .text.unlikely and so on, in the same order whether or not
// each has a section of its own; the linker takes each such section of an
// object as a whole. So a function lies between its neighbours in that order,
// and no function of another object does.

// emissionOrder lists the object's functions by class, each in emission order.
func (u *unit) emissionOrder() [][]*object.Symbol {
	classes := map[string][]*object.Symbol{}
	var names []string
	for _, fn := range Functions(u.f) {
		c := textClass(fn.Section)
		if classes[c] == nil {
			names = append(names, c)
		}
		classes[c] = append(classes[c], fn)
	}
	out := make([][]*object.Symbol, 0, len(names))
	for _, name := range names {
		fns := classes[name]
		sort.SliceStable(fns, func(i, j int) bool {
			if a, b := fns[i].Section.Index, fns[j].Section.Index; a != b {
				return a < b
			}
			return fns[i].Value < fns[j].Value
		})
		out = append(out, fns)
	}
	return out
}

// textClass is the section that a function's section would be without
// -ffunction-sections.
func textClass(s *object.Section) string {
	for _, p := range []string{".text.unlikely", ".text.hot", ".text.startup", ".text.exit"} {
		if s.Name == p || strings.HasPrefix(s.Name, p+".") {
			return p
		}
	}
	if strings.HasPrefix(s.Name, ".text.") && !strings.HasPrefix(s.Name, ".text..") {
		return ".text"
	}
	return s.Name
}

// byOrder decides undecided functions by their place among decided ones; true
// if it decided one.
func (u *unit) byOrder(d *decision) bool {
	changed := false
	for _, fns := range d.order {
		changed = d.place(fns) || changed
	}
	return changed
}

// place decides functions of one class. Decided functions have to lie in
// emission order throughout, else nothing is concluded.
func (d *decision) place(fns []*object.Symbol) bool {
	next := make([]*attempt, len(fns)+1) // the first decided one from i on
	for i := len(fns) - 1; i >= 0; i-- {
		next[i] = next[i+1]
		if a := d.sure(fns[i]); a != nil {
			if next[i] != nil && next[i].cand.place < a.cand.place {
				return false
			}
			next[i] = a
		}
	}
	var prev *attempt
	changed := false
	for i, fn := range fns {
		if a := d.sure(fn); a != nil {
			prev = a
			continue
		}
		var keep []*attempt
		for _, a := range d.live[fn] {
			if d.fault[fn] == nil && between(prev, a, next[i+1]) {
				keep = append(keep, a)
			}
		}
		if len(keep) == 1 {
			keep[0].rules[RuleOrder]++
			d.decided[fn], prev, changed = keep[0], keep[0], true
		}
	}
	return changed
}

func (d *decision) sure(fn *object.Symbol) *attempt {
	if d.fault[fn] != nil {
		return nil
	}
	return d.decided[fn]
}

// between reports whether a lies between its decided neighbours in emission
// order. Where it has one only, the first and the last of a translation unit,
// the two have to touch, apart from alignment.
func between(prev, a, next *attempt) bool {
	switch {
	case prev == nil && next == nil:
		return false
	case prev == nil:
		return touch(a, next)
	case next == nil:
		return touch(prev, a)
	}
	return a.cand.place > prev.cand.place && a.cand.place < next.cand.place
}

func touch(a, b *attempt) bool {
	if a.fn.Section == b.fn.Section { // both builds keep them together
		return b.cand.place-a.cand.place == b.fn.Value-a.fn.Value
	}
	align := max(b.fn.Section.Align, 1)
	end := a.end
	if r := end % align; r != 0 {
		end += align - r
	}
	return end == b.cand.place
}
