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
	Lists             []changeList
	// Counts are those of the other build for each function of the first: -1 if
	// it has no such function, or several.
	Counts []int
}

// changeList are the largest changes among functions of one sort. Those of
// headers change most, since many units have them; fixes are of C files.
type changeList struct {
	Title   string
	Changes []change
}

// change is a function on which another number depends.
type change struct {
	Name, File   string
	Line         int // in the first build
	First, Other int
}

// maxChanges is how many of the largest changes are listed.
const maxChanges = 20

// compare holds two builds together. A name that one file defines several times
// is left out: which one is which cannot be told once lines have moved.
func compare(first, other string, a, b *index.Graph) comparison {
	before, now := byName(a), byName(b)
	c := comparison{First: page.Clean(first, 200), Other: page.Clean(other, 200), Counts: make([]int, len(a.Functions)),
		Lists: []changeList{{Title: "Largest changes of functions in C files"}, {Title: "Largest changes of functions in headers"}}}
	for i := range c.Counts {
		c.Counts[i] = -1
	}
	for k, i := range before {
		j, ok := now[k]
		if !ok || i < 0 || j < 0 {
			continue
		}
		c.Both++
		c.Counts[i] = b.Counts[j]
		switch n := b.Counts[j] - a.Counts[i]; {
		case n < 0:
			c.Fewer++
		case n > 0:
			c.More++
		default:
			c.Same++
			continue
		}
		f, list := a.Functions[i], &c.Lists[1]
		if path.Ext(k.file) == ".c" {
			list = &c.Lists[0]
		}
		list.Changes = append(list.Changes, change{page.Clean(f.Name, 4096), page.Clean(f.File, 4096), f.Line, a.Counts[i], b.Counts[j]})
	}
	size := func(x change) int { return max(x.Other-x.First, x.First-x.Other) }
	for i := range c.Lists {
		l := c.Lists[i].Changes
		slices.SortFunc(l, func(x, y change) int {
			return cmp.Or(cmp.Compare(size(y), size(x)), cmp.Compare(x.Name, y.Name), cmp.Compare(x.File, y.File))
		})
		c.Lists[i].Changes = l[:min(len(l), maxChanges)]
	}
	return c
}

// nameAndFile are what a function keeps from one build to another.
type nameAndFile struct{ name, file string }

// byName numbers the functions of a build; -1: several have that name.
func byName(g *index.Graph) map[nameAndFile]int {
	out := map[nameAndFile]int{}
	for i, f := range g.Functions {
		k := nameAndFile{f.Name, path.Clean(f.File)}
		if _, twice := out[k]; twice {
			i = -1
		}
		out[k] = i
	}
	return out
}
