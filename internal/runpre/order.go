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

// byOrder decides functions with several equal candidates by their place among
// decided ones; true if it decided one.
func (u *unit) byOrder(d *decision, live map[*object.Symbol][]*attempt) bool {
	classes := map[string][]*object.Symbol{}
	for _, fn := range Functions(u.f) {
		c := textClass(fn.Section)
		classes[c] = append(classes[c], fn)
	}
	names := make([]string, 0, len(classes))
	for name := range classes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fns := classes[name]
		sort.SliceStable(fns, func(i, j int) bool {
			if a, b := fns[i].Section.Index, fns[j].Section.Index; a != b {
				return a < b
			}
			return fns[i].Value < fns[j].Value
		})
		if u.orderOne(fns, d, live) {
			return true
		}
	}
	return false
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

// orderOne decides one function of a class. Decided functions have to lie in
// emission order throughout, else nothing is concluded.
func (u *unit) orderOne(fns []*object.Symbol, d *decision, live map[*object.Symbol][]*attempt) bool {
	decided := func(fn *object.Symbol) *attempt {
		if len(live[fn]) == 1 && d.fault[fn] == nil {
			return live[fn][0]
		}
		return nil
	}
	last := uint64(0)
	for _, fn := range fns {
		if a := decided(fn); a != nil {
			if a.cand.place < last {
				return false
			}
			last = a.cand.place
		}
	}
	for i, fn := range fns {
		if len(live[fn]) < 2 || d.fault[fn] != nil {
			continue
		}
		var prev, next *attempt
		for j := i - 1; j >= 0 && prev == nil; j-- {
			prev = decided(fns[j])
		}
		for j := i + 1; j < len(fns) && next == nil; j++ {
			next = decided(fns[j])
		}
		var keep []*attempt
		for _, a := range live[fn] {
			if between(prev, a, next) {
				keep = append(keep, a)
			}
		}
		if len(keep) == 1 {
			keep[0].rules[RuleOrder]++
			live[fn] = keep
			return true
		}
	}
	return false
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
