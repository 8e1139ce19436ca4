// SPDX-License-Identifier: Apache-2.0

package index

import (
	"cmp"
	"context"
	"path"
	"slices"
)

// Distribution says how many symbols depend on the body of one function, over
// many functions.
type Distribution struct {
	Functions          int
	None               int // of them, that no symbol depends on
	Mean               float64
	P50, P90, P99, Max int
}

// Worst is a function that many depend on.
type Worst struct {
	Name, File string
	Line       int
	Impacted   int
}

// Summary is the impact of every function of an index.
type Summary struct {
	All     Distribution // functions of headers too
	OfUnits Distribution // functions that are defined in C files
	Worst   []Worst      // the worst twenty of All
}

// Summary asks for every function.
func (q *Query) Summary(ctx context.Context) (*Summary, error) {
	const worst = 20
	var all, own []int
	s := &Summary{}
	err := q.Each(func(f *Function) bool {
		n := q.Count(f)
		all = append(all, n)
		if path.Ext(f.File) == ".c" {
			own = append(own, n)
		}
		if len(s.Worst) < worst || n > s.Worst[worst-1].Impacted {
			w := Worst{f.Name, f.File, f.Line, n}
			at, _ := slices.BinarySearchFunc(s.Worst, w, func(a, b Worst) int {
				return cmp.Or(cmp.Compare(b.Impacted, a.Impacted), cmp.Compare(a.Name, b.Name), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
			})
			s.Worst = slices.Insert(s.Worst, at, w)
			s.Worst = s.Worst[:min(len(s.Worst), worst)]
		}
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	s.All, s.OfUnits = distribution(all), distribution(own)
	return s, nil
}

// distribution sorts the counts. A percentile is the least count that so many
// of a hundred do not exceed.
func distribution(counts []int) Distribution {
	d := Distribution{Functions: len(counts)}
	if len(counts) == 0 {
		return d
	}
	slices.Sort(counts)
	sum := 0
	for _, n := range counts {
		sum += n
		if n == 0 {
			d.None++
		}
	}
	at := func(p int) int { return counts[max((len(counts)*p+99)/100-1, 0)] }
	d.Mean = float64(sum) / float64(len(counts))
	d.P50, d.P90, d.P99, d.Max = at(50), at(90), at(99), counts[len(counts)-1]
	return d
}
