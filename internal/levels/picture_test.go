// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"kmend/internal/compiler"
)

func pictured() (*Units, []Runtime) {
	u := &Units{Asked: 124, Counted: 123}
	var r []Runtime
	for i, l := range compiler.Levels {
		u.Levels = append(u.Levels, Level{
			Level:     l,
			TextRatio: []float64{1, 1.0013, .9988, .971, 1.198}[i],
			Impacted:  Distribution{Mean: []float64{.814, .808, .777, .630, .018}[i]},
		})
		r = append(r, Runtime{Level: l, Ratio: []float64{1, 1.002, .999, 1.05, 1.9}[i]})
	}
	r[4].Error = "it does not boot"
	return u, r
}

func TestPicture(t *testing.T) {
	u, r := pictured()
	got, err := Picture(u, r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "levels.svg", got)
	d := xml.NewDecoder(strings.NewReader(string(got)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("it is not well-formed: %v", err)
		}
	}
	if n := strings.Count(string(got), "none "); n != 1 {
		t.Errorf("none stands in the picture %d times, want once: its kernel did not boot", n)
	}
}

func TestPictureOfOneLevelAndOfNothing(t *testing.T) {
	u, _ := pictured()
	u.Levels = u.Levels[:1]
	got, err := Picture(u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(got); strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, "Instructions") {
		t.Errorf("the picture of plain alone:\n%s", s)
	}
	if _, err := Picture(nil, nil); err == nil {
		t.Error("a picture of nothing")
	}
	u.Counted = 0
	if _, err := Picture(u, nil); err == nil {
		t.Error("a picture of no units")
	}
}

func TestLabelsDoNotOverlap(t *testing.T) {
	for _, ratios := range [][]float64{{1, 1, 1, 1, 1}, {1, 1.2, 1.2, 1.2, 1.2}, {1, .5, .5, .5, .5}} {
		var p panel
		for i, r := range ratios {
			p.add(compiler.Levels[i].String(), float64(i), r)
		}
		p.place()
		for i, pt := range p.Points {
			if i > 0 && pt.LabelY-p.Points[i-1].LabelY < labelGap-.01 {
				t.Errorf("%v: labels at %v and %v", ratios, p.Points[i-1].LabelY, pt.LabelY)
			}
			if pt.LabelY > plotBottom || pt.LabelY < 0 || pt.X < plotLeft || pt.X > plotRight || pt.Y < plotTop || pt.Y > plotBottom {
				t.Errorf("%v: %+v lies outside", ratios, pt)
			}
		}
	}
}
