// SPDX-License-Identifier: Apache-2.0

package debuginfo

import (
	"context"
	"path"
	"strings"

	"kmend/internal/dwarfscan"
	"kmend/internal/impact/index"
)

// Missing is an inlined copy of which the dumps do not tell.
type Missing struct {
	Unit             string
	Function, Symbol string
}

// Comparison is debug information held against an index.
type Comparison struct {
	Units   int // compared
	Unknown int // not in the index
	Copies  int // of functions into others
	Missing []Missing
}

// Compare checks that every inlined copy of the debug information is an edge, or
// a chain of edges, of the index. If it is not, dumps and debug information are
// of different builds, or a dump is not complete.
func Compare(ctx context.Context, name string, x *index.Index) (*Comparison, error) {
	q := x.NewQuery()
	c := &Comparison{}
	err := scan(ctx, name, func(u *dwarfscan.Unit) {
		if len(u.Inlines) == 0 {
			return
		}
		unit, ok := q.UnitOf(path.Clean(u.Name))
		if !ok {
			unit, ok = q.UnitOf(strings.TrimPrefix(path.Clean(path.Join(u.CompDir, u.Name)), "/"))
		}
		if !ok {
			c.Unknown++
			return
		}
		c.Units++
		for i := range u.Inlines {
			in := &u.Inlines[i]
			symbol := in.Symbol
			if symbol == "" {
				continue // the copy is in code that the link dropped
			}
			// A split function has its own head inlined; GCC logs no copy for that.
			if in.Callee == in.Host {
				continue
			}
			c.Copies++
			if !q.Reaches(unit, in.Callee, symbol) {
				c.Missing = append(c.Missing, Missing{u.Name, in.Callee, symbol})
			}
		}
	})
	if err == nil {
		err = q.Err()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}
