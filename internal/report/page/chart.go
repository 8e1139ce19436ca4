// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"math/bits"
)

// Bar is one row of a chart of bars: a table row whose picture is beside its
// numbers, so that it reads on a phone and without the picture.
type Bar struct {
	Label  string
	Link   string // anchor of the page, "" none
	Note   string
	Values []BarValue
}

// BarValue is one bar of a row.
type BarValue struct {
	Value float64
	Text  string
	Class string // colour: "a", "b" or "c"
	Width float64
}

// ScaleBars gives all bars their widths, of 100.
func ScaleBars(bars []Bar) []Bar {
	most := 0.0
	for _, b := range bars {
		for _, v := range b.Values {
			most = max(most, v.Value)
		}
	}
	for _, b := range bars {
		for i := range b.Values {
			if v := &b.Values[i]; most > 0 && v.Value > 0 {
				v.Width = max(100*v.Value/most, 0.5)
			}
		}
	}
	return bars
}

// Histogram is how many of a set have which size, in bins that double.
type Histogram struct {
	Title string
	Unit  string // what is counted, in the plural: "functions"
	Size  string // what their sizes are: "symbols that depend on it"
	Bins  []Bin
}

// Bin is the number of those with From to To.
type Bin struct {
	From, To, Count int
	Share           float64 // of all, in percent
	X, Y, Height    float64 // in the picture
}

// Label is the bin's range.
func (b Bin) Label() string {
	if b.From == b.To {
		return fmt.Sprint(b.From)
	}
	return fmt.Sprintf("%d–%d", b.From, b.To)
}

// Short is the label as it fits below a column.
func (b Bin) Short() string {
	if b.From >= 1024 {
		return fmt.Sprintf("from %dk", b.From/1024)
	}
	return b.Label()
}

// Middle and Above are where the texts of a column stand.
func (b Bin) Middle() float64 { return b.X + columnWidth/2 }
func (b Bin) Above() float64  { return b.Y - 5 }

// Sizes of the picture of a histogram, in its own units.
const (
	binWidth      = 68
	columnWidth   = binWidth - 4
	leastWidth    = 400 // so that what the axes are of fits
	columnsHeight = 180
	columnsTop    = 24
)

// NewHistogram counts sizes, which are not negative: 0, 1, 2–3, 4–7 and so on.
func NewHistogram(title, unit, size string, sizes []int) Histogram {
	h := Histogram{Title: title, Unit: unit, Size: size}
	most := 0
	for _, n := range sizes {
		i := bits.Len(uint(max(n, 0)))
		for len(h.Bins) <= i {
			k := len(h.Bins)
			b := Bin{From: 1 << k >> 1, To: 1<<k - 1}
			h.Bins = append(h.Bins, b)
		}
		h.Bins[i].Count++
		most = max(most, h.Bins[i].Count)
	}
	for i := range h.Bins {
		b := &h.Bins[i]
		b.Share = 100 * float64(b.Count) / float64(len(sizes))
		b.X = float64(i*binWidth) + 4
		b.Height = columnsHeight * float64(b.Count) / float64(most)
		if b.Count > 0 {
			b.Height = max(b.Height, 1)
		}
		b.Y = columnsTop + columnsHeight - b.Height
	}
	return h
}

// Column is the width of a column.
func (h Histogram) Column() int { return columnWidth }

// Width and Height are those of the picture.
func (h Histogram) Width() int  { return max(len(h.Bins)*binWidth+8, leastWidth) }
func (h Histogram) Height() int { return columnsTop + columnsHeight + 44 }

// Below is where the labels of the columns stand, Foot what they are of.
func (h Histogram) Below() int { return h.Base() + 18 }
func (h Histogram) Foot() int  { return h.Base() + 36 }

// Base is where the columns stand.
func (h Histogram) Base() int { return columnsTop + columnsHeight }
