// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"text/template"
)

//go:embed picture.svg.tmpl
var pictureText string

var pictureTemplate = template.Must(template.New("picture").Parse(pictureText))

// Sizes of a panel in the picture, in pixels.
const (
	panelWidth  = 600
	panelHeight = 320
	plotLeft    = 64
	plotRight   = 400 // right of it are the labels
	plotTop     = 44
	plotBottom  = 264
	labelGap    = 17
)

type panel struct {
	Left     int
	Title    string
	Subtitle string
	XLabel   string
	XTicks   []mark
	YTicks   []mark
	Points   []point
}

type mark struct {
	At   float64
	Text string
}

type point struct {
	X, Y   float64
	LabelY float64
	Text   string
	x, y   float64 // values
}

// Picture draws as SVG what each level costs against how much must be replaced
// along with a function: text size, and instructions where they were counted.
func Picture(u *Units, runtimes []Runtime) ([]byte, error) {
	if u == nil || u.Counted == 0 {
		return nil, errors.New("draw the levels: nothing was counted in translation units, which one axis shows; name some that compile at every level")
	}
	mean := map[string]float64{}
	text := panel{Title: "Code size", Subtitle: fmt.Sprintf("text of %d units against plain", u.Counted), XLabel: "functions to replace along with one, mean"}
	for _, l := range u.Levels {
		mean[l.Level.String()] = l.Impacted.Mean
		text.add(l.Level.String(), l.Impacted.Mean, l.TextRatio)
	}
	panels := []panel{text}
	speed := panel{Left: panelWidth, Title: "Instructions of system calls", Subtitle: "geometric mean of the workload against plain", XLabel: text.XLabel}
	for _, r := range runtimes {
		if m, ok := mean[r.Level.String()]; ok && r.Error == "" {
			speed.add(r.Level.String(), m, r.Ratio)
		}
	}
	if len(speed.Points) > 0 {
		panels = append(panels, speed)
	}
	for i := range panels {
		panels[i].place()
	}
	var b bytes.Buffer
	err := pictureTemplate.Execute(&b, map[string]any{
		"Width": panelWidth * len(panels), "Height": panelHeight, "Panels": panels,
		"PlotLeft": plotLeft, "PlotRight": plotRight, "PlotTop": plotTop, "PlotBottom": plotBottom,
		"LabelX": plotRight + 24,
	})
	if err != nil {
		return nil, fmt.Errorf("draw the levels: %w", err)
	}
	return b.Bytes(), nil
}

func (p *panel) add(level string, x, ratio float64) {
	y := 100 * (ratio - 1)
	p.Points = append(p.Points, point{x: x, y: y, Text: fmt.Sprintf("%s %s %%", level, signed(y, 1))})
}

// signed is a number with its sign, and none when it is nothing.
func signed(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if f, _ := strconv.ParseFloat(s, 64); f == 0 {
		return strconv.FormatFloat(0, 'f', digits, 64)
	}
	if v > 0 {
		return "+" + s
	}
	return "−" + s[1:]
}

// place makes coordinates of values. Labels stand in a column in the order of
// their points, so far apart that they can be read.
func (p *panel) place() {
	var xs, ys []float64
	for _, pt := range p.Points {
		xs, ys = append(xs, pt.x), append(ys, pt.y)
	}
	x := newAxis(0, slices.Max(xs), plotLeft, plotRight)
	y := newAxis(min(0, slices.Min(ys)), max(0, slices.Max(ys)), plotBottom, plotTop)
	p.XTicks = x.ticks(func(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) })
	p.YTicks = y.ticks(func(v float64, digits int) string { return signed(v, digits) + " %" })
	for i := range p.Points {
		pt := &p.Points[i]
		pt.X, pt.Y = x.at(pt.x), y.at(pt.y)
	}
	slices.SortStableFunc(p.Points, func(a, b point) int { return cmp.Compare(a.Y, b.Y) })
	// Down from the first label, each at its point or below the one before.
	for i := range p.Points {
		p.Points[i].LabelY = p.Points[i].Y
		if i > 0 {
			p.Points[i].LabelY = max(p.Points[i].Y, p.Points[i-1].LabelY+labelGap)
		}
	}
	// And up again, as far as they passed the bottom.
	for i := len(p.Points) - 1; i >= 0; i-- {
		most := float64(plotBottom)
		if i+1 < len(p.Points) {
			most = p.Points[i+1].LabelY - labelGap
		}
		p.Points[i].LabelY = min(p.Points[i].LabelY, most)
	}
}

// axis maps values to pixels, from a round number to a round number.
type axis struct {
	step     float64
	from, to float64 // multiples of step
	lo, hi   float64 // pixels
}

func newAxis(least, most, lo, hi float64) axis {
	if most-least < 1e-9 {
		most = least + 1
	}
	step := math.Pow(10, math.Floor(math.Log10((most-least)/4)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if (most-least)/(step*factor) <= 5 {
			step *= factor
			break
		}
	}
	return axis{step: step, from: math.Floor(least/step + 1e-9), to: math.Ceil(most/step - 1e-9), lo: lo, hi: hi}
}

func (a axis) at(v float64) float64 {
	share := (v/a.step - a.from) / (a.to - a.from)
	return math.Round(10*(a.lo+share*(a.hi-a.lo))) / 10
}

func (a axis) ticks(format func(v float64, digits int) string) (out []mark) {
	digits := max(0, int(-math.Floor(math.Log10(a.step)+1e-9)))
	for k := a.from; k <= a.to; k++ {
		out = append(out, mark{a.at(k * a.step), format(k*a.step, digits)})
	}
	return out
}
