// SPDX-License-Identifier: Apache-2.0

package nearest

import (
	"slices"
	"strings"
)

// Names returns up to n of the choices that look most like want, by edit
// distance; only those that are not too far away.
func Names(want string, choices []string, n int) []string {
	type scored struct {
		s string
		d int
	}
	var list []scored
	limit := max(2, len(want)/3)
	for _, c := range choices {
		d := editDistance(want, c)
		if strings.HasPrefix(c, want) {
			d = min(d, 1)
		}
		if d <= limit {
			list = append(list, scored{c, d})
		}
	}
	slices.SortStableFunc(list, func(a, b scored) int {
		if a.d != b.d {
			return a.d - b.d
		}
		return strings.Compare(a.s, b.s)
	})
	var out []string
	for i := 0; i < len(list) && i < n; i++ {
		out = append(out, list[i].s)
	}
	return out
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
