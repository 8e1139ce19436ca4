// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"math/bits"
	"strings"
)

// Curves are several sets of sizes over each other: for each the share of those
// that are at most so large, at limits that double.
type Curves struct{ Sets []Curve }

// Curve is one set.
type Curve struct {
	Name   string
	Shares []float64 // in percent, at 0, 1, 3, 7 and so on; the last is 100
	Dash   string
	Class  string
}

const (
	curveStep   = 52
	curveHeight = 200
	curveTop    = 20
	curveLeft   = 48
)

// Add adds a set.
func (c *Curves) Add(name string, sizes []int) {
	var counts []int
	for _, n := range sizes {
		i := bits.Len(uint(max(n, 0)))
		for len(counts) <= i {
			counts = append(counts, 0)
		}
		counts[i]++
	}
	// Colours alone would not tell them apart for everybody.
	look := len(c.Sets) % 6
	set := Curve{Name: name, Class: []string{"a", "b", "c"}[look%3], Dash: []string{"", "7 4", "2 3", "9 3 2 3", "1 5", "12 5"}[look]}
	sum := 0
	for _, n := range counts {
		sum += n
		set.Shares = append(set.Shares, 100*float64(sum)/float64(len(sizes)))
	}
	c.Sets = append(c.Sets, set)
}

// Limits are the limits of the widest set.
func (c Curves) Limits() []int {
	var out []int
	for _, s := range c.Sets {
		for i := len(out); i < len(s.Shares); i++ {
			out = append(out, 1<<i-1)
		}
	}
	return out
}

// Share is the share of a set at a limit by its place, as text.
func (c Curves) Share(set, limit int) string {
	s := c.Sets[set].Shares
	if limit >= len(s) {
		return "100.0 %"
	}
	return fmt.Sprintf("%.1f %%", s[limit])
}

// Path is a set as an SVG path.
func (c Curves) Path(set int) string {
	var b strings.Builder
	for i := range c.Limits() {
		share := 100.0
		if i < len(c.Sets[set].Shares) {
			share = c.Sets[set].Shares[i]
		}
		fmt.Fprintf(&b, "%c%d %.1f", "ML"[min(i, 1)], c.X(i), curveTop+curveHeight*(1-share/100))
	}
	return b.String()
}

// X is where a limit stands.
func (c Curves) X(i int) int { return curveLeft + 20 + i*curveStep }

// Width, Height, Base and Left are those of the picture.
func (c Curves) Width() int  { return c.X(max(len(c.Limits()), 1)) }
func (c Curves) Height() int { return curveTop + curveHeight + 32 }
func (c Curves) Base() int   { return curveTop + curveHeight }
func (c Curves) Left() int   { return curveLeft }

// Grid are the lines for 0, 25, 50, 75 and 100 percent.
func (c Curves) Grid() (out []struct{ Y, Percent int }) {
	for p := 0; p <= 100; p += 25 {
		out = append(out, struct{ Y, Percent int }{curveTop + curveHeight*(100-p)/100, p})
	}
	return out
}
