// SPDX-License-Identifier: Apache-2.0

package index

import "strings"

// UnitOf finds the unit of a C file: the one whose path is the longest that the
// given one ends in.
func (q *Query) UnitOf(source string) (uint32, bool) {
	if q.bySource == nil {
		q.bySource = map[string]uint32{}
		for i := range uint32(q.x.Units()) {
			u := q.unit(i)
			q.bySource[q.str(u.source)] = i
		}
	}
	for s := source; ; {
		if n, ok := q.bySource[s]; ok {
			return n, true
		}
		_, rest, ok := strings.Cut(s, "/")
		if !ok {
			return 0, false
		}
		s = rest
	}
}

// Reaches reports whether a symbol of a unit depends on the body of a function,
// by whatever way but calls.
func (q *Query) Reaches(unit uint32, function, symbol string) bool {
	number, ok := q.lookup([]byte(function))
	if !ok {
		return false
	}
	u := q.unit(unit)
	var starts []uint32
	from, to := q.named(number)
	for i := from; i < to; i++ {
		if id := q.u32(secNameNodes, i); id-u.node0 < u.nodes {
			starts = append(starts, id)
		}
	}
	q.work = 0
	q.closure(unit, starts)
	for _, s := range q.syms {
		if y := q.symbol(s.sym); string(q.bytes(q.node(y.node).name)) == symbol {
			return true
		}
	}
	return false
}
