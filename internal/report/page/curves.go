// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"math/bits"
	"strings"
)

// Curves are several sets of sizes over each other: for each the share of those
// that are at most so large, at limits that double.
type Curves struct {
	Title      string
	Unit, Size string // as of a Histogram
	Sets       []Curve
}

// Curve is one set.
type Curve struct {
	Name   string
	Shares []float64 // in percent, at 0, 1, 3, 7 and so on; the last is 100
	Dash   string
	Class  string
}

const (
	curveStep   = 52
	curveHeight = 220
	curveTop    = 32
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

// Say is all shares at a limit by its place, as a sentence.
func (c Curves) Say(limit int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "At most %d (%s): ", c.Limits()[limit], c.Size)
	for i, s := range c.Sets {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s of the %s of %s", c.Share(i, limit), c.Unit, s.Name)
	}
	return b.String()
}

// least is the share that the picture begins with: no curve is below it, and it
// does not spend its height on what no curve has.
func (c Curves) least() int {
	least := 100.0
	for _, s := range c.Sets {
		if len(s.Shares) > 0 {
			least = min(least, s.Shares[0])
		}
	}
	return min(int(least)/10*10, 90)
}

// y is where a share stands.
func (c Curves) y(share float64) float64 {
	least := float64(c.least())
	return curveTop + curveHeight*(100-share)/(100-least)
}

// Path is a set as an SVG path.
func (c Curves) Path(set int) string {
	var b strings.Builder
	for i := range c.Limits() {
		share := 100.0
		if i < len(c.Sets[set].Shares) {
			share = c.Sets[set].Shares[i]
		}
		fmt.Fprintf(&b, "%c%d %.1f", "ML"[min(i, 1)], c.X(i), c.y(share))
	}
	return b.String()
}

// X is where a limit stands.
func (c Curves) X(i int) int { return curveLeft + 20 + i*curveStep }

// Column and Step are the place of a limit in which the pointer asks for it.
func (c Curves) Column(i int) int { return c.X(i) - curveStep/2 }
func (c Curves) Step() int        { return curveStep }

// Width, Height, Base, Left and Foot are those of the picture.
func (c Curves) Width() int  { return max(c.X(len(c.Limits())), leastWidth) }
func (c Curves) Height() int { return c.Foot() + 8 }
func (c Curves) Foot() int   { return c.Base() + 38 }
func (c Curves) Base() int   { return curveTop + curveHeight }
func (c Curves) Left() int   { return curveLeft }

// Grid are lines at round shares from 100 percent down, at most six.
func (c Curves) Grid() (out []struct{ Y, Percent int }) {
	least := c.least()
	step := 2
	for _, s := range []int{5, 10, 20, 25} {
		if (100-least)/step > 5 {
			step = s
		}
	}
	for p := 100; p >= least; p -= step {
		out = append(out, struct{ Y, Percent int }{int(c.y(float64(p))), p})
	}
	return out
}
