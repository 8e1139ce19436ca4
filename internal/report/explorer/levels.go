// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"encoding/json"
	"fmt"
	"io"

	"kmend/internal/levels"
	"kmend/internal/report/page"
)

// maxLevels bounds what kmend levels --json printed, in bytes.
const maxLevels = 32 << 20

// Levels is what kmend levels --json prints (docs/json.md).
type Levels struct {
	Version  int              `json:"version"`
	Kernel   string           `json:"kernel"`
	Compiler string           `json:"compiler"`
	Units    *levels.Units    `json:"units"`
	Runtimes []levels.Runtime `json:"runtimes"`
}

// ReadLevels reads a measurement of levels, and checks that it is one.
func ReadLevels(name string, r io.Reader) (*Levels, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxLevels+1))
	if err != nil {
		return nil, fmt.Errorf("read the levels %s: %w", name, err)
	}
	if len(data) > maxLevels {
		return nil, fmt.Errorf("read the levels %s: it has more than %d MB, which no measurement has", name, maxLevels>>20)
	}
	l := &Levels{}
	if err := json.Unmarshal(data, l); err != nil {
		return nil, fmt.Errorf("read the levels %s: it is not what kmend levels --json prints: %w", name, err)
	}
	if l.Version != 1 {
		return nil, fmt.Errorf("read the levels %s: it has version %d, and this kmend knows version 1: make it again with kmend levels --json", name, l.Version)
	}
	if l.Units == nil && len(l.Runtimes) == 0 {
		return nil, fmt.Errorf("read the levels %s: nothing was measured in it: give what kmend levels --json printed", name)
	}
	page.CleanAll(l)
	return l, nil
}

// changeBar is how much more or less there is than plain has. As bars of the
// ratios themselves all would look the same.
func changeBar(label string, ratio float64, more string) page.Bar {
	percent, class := 100*(ratio-1), "b"
	if percent < 0 {
		class = "c"
	}
	return page.Bar{Label: label, Values: []page.BarValue{{Value: max(percent, -percent), Text: fmt.Sprintf("%+.2f %%", percent) + more, Class: class}}}
}

// viewLevels makes charts of a measurement.
func viewLevels(l *Levels) *levelsView {
	if l == nil {
		return nil
	}
	v := &levelsView{Kernel: l.Kernel, Compiler: l.Compiler, Units: l.Units}
	bar := func(label, text string, value float64) page.Bar {
		return page.Bar{Label: label, Values: []page.BarValue{{Value: value, Text: text, Class: "a"}}}
	}
	if u := l.Units; u != nil {
		for _, x := range u.Levels {
			name := x.Level.String()
			v.Impacted = append(v.Impacted, bar(name, fmt.Sprintf("%.2f, p99 %d, at most %d", x.Impacted.Mean, x.Impacted.P99, x.Impacted.Max), x.Impacted.Mean))
			v.Text = append(v.Text, changeBar(name, x.TextRatio, fmt.Sprintf(" (%d bytes)", x.Text)))
		}
	}
	for _, r := range l.Runtimes {
		if r.Error != "" {
			v.Failed = append(v.Failed, r.Level.String()+": "+r.Error)
			continue
		}
		v.Instructions = append(v.Instructions, changeBar(r.Level.String(), r.Ratio, ""))
	}
	page.ScaleBars(v.Impacted)
	page.ScaleBars(v.Text)
	page.ScaleBars(v.Instructions)
	return v
}
