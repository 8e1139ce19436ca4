// SPDX-License-Identifier: Apache-2.0

package delta

// MovedInSection reports whether a data item of a section that holds several,
// such as .data..read_mostly, has other neighbours than before the fix. A
// reference by section and offset to such a place cannot be trusted: the end of
// one variable is the start of the next, and which was meant cannot be seen.
// With the same neighbours both are the same place in the running kernel, too.
func (r *Result) MovedInSection(after *Item) bool {
	switch after.Kind {
	case State, Rodata, PerCPU, Registration:
	default:
		return false // code is not used so, flags and debug sites neither
	}
	items := r.After.bySection[after.Section]
	if len(items) < 2 {
		return false
	}
	for i, a := range items {
		b := r.toBefore[a]
		if b == nil || b.Start != a.Start || b.Size != a.Size {
			return true
		}
		if was := r.Before.bySection[b.Section]; len(was) != len(items) || was[i] != b {
			return true
		}
	}
	return false
}
