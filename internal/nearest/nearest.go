// SPDX-License-Identifier: Apache-2.0

package nearest

import (
	"slices"
	"strings"
)

// Names returns up to n of the choices that look most like want, by edit
// distance; only those that are not too far away.
func Names(want string, choices []string, n int) []string {
	s := NewSearch(want, n)
	for _, c := range choices {
		s.Offer([]byte(c))
	}
	return s.Names()
}

// Search finds the nearest of many names, which are offered one by one.
type Search struct {
	want  string
	n     int
	limit int         // names farther away are not taken
	peq   [256]uint64 // the places of each byte in want, as a bit set
	list  []scored
}

type scored struct {
	s string
	d int
}

// NewSearch begins a search for the n names that look most like want.
func NewSearch(want string, n int) *Search {
	s := &Search{want: want, n: n, limit: max(2, len(want)/3)}
	for i := range min(len(want), 64) {
		s.peq[want[i]] |= 1 << i
	}
	return s
}

// Offer is one of the names to choose from. It is copied if it is taken.
func (s *Search) Offer(name []byte) {
	if diff := len(name) - len(s.want); (diff > s.limit || -diff > s.limit) && !strings.HasPrefix(string(name), s.want) {
		return
	}
	d := s.distance(name)
	if strings.HasPrefix(string(name), s.want) {
		d = min(d, 1)
	}
	if d > s.limit {
		return
	}
	at, _ := slices.BinarySearchFunc(s.list, scored{string(name), d}, func(a, b scored) int {
		if a.d != b.d {
			return a.d - b.d
		}
		return strings.Compare(a.s, b.s)
	})
	if at >= s.n || at < len(s.list) && s.list[at] == (scored{string(name), d}) {
		return
	}
	s.list = slices.Insert(s.list, at, scored{string(name), d})
	s.list = s.list[:min(len(s.list), s.n)]
	if len(s.list) == s.n {
		s.limit = s.list[s.n-1].d
	}
}

// Names are the nearest of the names offered, best first; those that are
// clearly farther away than the best are left out.
func (s *Search) Names() []string {
	var out []string
	for _, c := range s.list {
		if c.d <= s.list[0].d+1 {
			out = append(out, c.s)
		}
	}
	return out
}

// distance is editDistance, for a short name in one step for each byte of the
// other (G. Myers, A fast bit-vector algorithm for approximate string matching,
// J. ACM 46, 1999).
func (s *Search) distance(name []byte) int {
	m := len(s.want)
	if m == 0 || m > 64 || len(name) > 128 {
		return editDistance(s.want, string(name))
	}
	pv, mv, d := ^uint64(0), uint64(0), m
	last := uint64(1) << (m - 1)
	for _, c := range name {
		eq := s.peq[c]
		xv := eq | mv
		xh := (eq&pv + pv ^ pv) | eq
		ph, mh := mv|^(xh|pv), pv&xh
		if ph&last != 0 {
			d++
		}
		if mh&last != 0 {
			d--
		}
		ph = ph<<1 | 1
		mh <<= 1
		pv, mv = mh|^(xv|ph), ph&xv
	}
	return d
}

// DidYouMean is "; did you mean a, b?" or nothing.
func DidYouMean(want string, choices []string) string {
	near := Names(want, choices, 3)
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, ", ") + "?"
}

// editDistance is Levenshtein's, on bytes; names longer than 128 bytes are cut.
func editDistance(a, b string) int {
	a, b = a[:min(len(a), 128)], b[:min(len(b), 128)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diag
			if a[i-1] != b[j-1] {
				cost++
			}
			diag = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
