// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"cmp"
	"path"
	"slices"

	"kmend/internal/impact/index"
	"kmend/internal/report/page"
)

// comparison is another build beside the first one, function by function.
type comparison struct {
	First, Other      string
	Both              int // functions that both have, by name and file
	Fewer, More, Same int // of them: on which fewer, more, as many depend in the other build
	Changes           []change
}

// change is a function on which another number depends.
type change struct {
	Name, File  string
	Before, Now int
}

// maxChanges is how many of the largest changes are listed.
const maxChanges = 20

// compare holds two builds together. A name that one file defines several times
// is left out: which one is which cannot be told once lines have moved.
func compare(first, other string, a, b *index.Graph) comparison {
	type key struct{ name, file string }
	byKey := func(g *index.Graph) map[key]int {
		out := map[key]int{}
		for i, f := range g.Functions {
			k := key{f.Name, path.Clean(f.File)}
			if _, twice := out[k]; twice {
				i = -1
			}
			out[k] = i
		}
		return out
	}
	before, now := byKey(a), byKey(b)
	c := comparison{First: page.Clean(first, 200), Other: page.Clean(other, 200)}
	for k, i := range before {
		j, ok := now[k]
		if !ok || i < 0 || j < 0 {
			continue
		}
		c.Both++
		switch n := b.Counts[j] - a.Counts[i]; {
		case n < 0:
			c.Fewer++
		case n > 0:
			c.More++
		default:
			c.Same++
			continue
		}
		c.Changes = append(c.Changes, change{page.Clean(k.name, 4096), page.Clean(k.file, 4096), a.Counts[i], b.Counts[j]})
	}
	size := func(x change) int { return max(x.Now-x.Before, x.Before-x.Now) }
	slices.SortFunc(c.Changes, func(x, y change) int {
		return cmp.Or(cmp.Compare(size(y), size(x)), cmp.Compare(x.Name, y.Name), cmp.Compare(x.File, y.File))
	})
	c.Changes = c.Changes[:min(len(c.Changes), maxChanges)]
	return c
}
