// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"kmend/internal/compiler"
	"kmend/internal/kbuild"
)

// Compile compiles a unit, named by its source, with flags behind its own. The
// error is a *kbuild.CompileError if the compiler refused the source.
type Compile func(ctx context.Context, unit string, flags []string) (*kbuild.Result, error)

// InTree returns what compiles the units of a kernel, and their names.
func InTree(t *kbuild.Tree, commands []*kbuild.Command) (units []string, compile Compile) {
	bySource := map[string]*kbuild.Command{}
	for _, c := range commands {
		bySource[c.Source] = c
	}
	return slices.Sorted(maps.Keys(bySource)), func(ctx context.Context, unit string, flags []string) (*kbuild.Result, error) {
		return t.Compile(ctx, kbuild.Job{Command: bySource[unit], Flags: flags, Bare: true})
	}
}

// Config says what to measure.
type Config struct {
	Units    []string
	Compile  Compile
	Compiler *compiler.Compiler // that Compile runs
	Levels   []compiler.Level   // beside Plain, which is always measured
	Jobs     int                // compiles at a time, at least 1
	// Rounds is how often each unit is compiled at each level for its time: the
	// least of them counts. 0: no time is measured. Results must not come from
	// a cache then.
	Rounds   int
	Progress func(done, total int64) // compiles; may be nil
}

// Units is what was measured over translation units.
type Units struct {
	Asked     int       `json:"asked"`     // units asked for
	Counted   int       `json:"counted"`   // of them: those that compile at every level, of which all figures are
	Functions int       `json:"functions"` // source functions of the counted units
	Rounds    int       `json:"rounds,omitempty"`
	Levels    []Level   `json:"levels"`
	Failures  []Failure `json:"failures"` // why units are not counted, by unit and level
}

// Level is the units at one level.
type Level struct {
	Level      compiler.Level `json:"level"`
	Flags      []string       `json:"flags"`
	Text       int64          `json:"text_bytes"` // code of all functions, cold parts included
	TextRatio  float64        `json:"text_ratio"` // to plain
	Bodies     int            `json:"bodies"`     // functions in the objects
	Bodiless   int            `json:"bodiless"`   // source functions without a body of their own, be it a clone's
	Clones     int            `json:"clones"`     // bodies that are clones
	Impacted   Distribution   `json:"impacted"`
	CPUSeconds float64        `json:"cpu_seconds,omitempty"` // of the compiler
	CPURatio   float64        `json:"cpu_ratio,omitempty"`   // to plain
}

// Failure is a unit that does not compile at a level.
type Failure struct {
	Unit   string         `json:"unit"`
	Level  compiler.Level `json:"level"`
	Reason string         `json:"reason"` // the compiler's first error, and where
	Log    string         `json:"log"`    // all that it said
}

// measuredUnit is one unit at every level; counts is nil where it does not
// compile.
type measuredUnit struct {
	counts []*unitCounts
	cpu    []time.Duration // the least
	failed []Failure
}

// Measure compiles units at every level and counts. A unit that does not
// compile at a level is a Failure, and left out of the figures of all levels;
// one that does not even compile at Plain is an error, as is a level that the
// compiler does not have (*compiler.LevelError).
func Measure(ctx context.Context, c Config) (*Units, error) {
	levels := withPlain(c.Levels)
	flags := make([][]string, len(levels))
	for i, l := range levels {
		var err error
		if flags[i], err = c.Compiler.LevelFlags(ctx, l); err != nil {
			return nil, err
		}
	}
	m := &measurement{Config: c, levels: levels, flags: flags, total: int64(len(c.Units) * len(levels) * max(c.Rounds, 1))}
	units := make([]*measuredUnit, len(c.Units))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(c.Jobs, 1))
	for i, name := range c.Units {
		g.Go(func() (err error) {
			units[i], err = m.unit(gctx, i, name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return m.sum(units), nil
}

// withPlain is the levels in order, each once, Plain first.
func withPlain(levels []compiler.Level) []compiler.Level {
	all := append([]compiler.Level{compiler.Plain}, levels...)
	slices.Sort(all)
	return slices.Compact(all)
}

type measurement struct {
	Config
	levels []compiler.Level
	flags  [][]string
	mu     sync.Mutex
	done   int64
	total  int64
}

func (m *measurement) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	if m.Progress != nil {
		m.Progress(m.done, m.total)
	}
}

// unit compiles one unit at all levels, in turn, and beginning with another
// level each time: what else the machine does then burdens all alike.
func (m *measurement) unit(ctx context.Context, n int, name string) (*measuredUnit, error) {
	u := &measuredUnit{counts: make([]*unitCounts, len(m.levels)), cpu: make([]time.Duration, len(m.levels))}
	for round := range max(m.Rounds, 1) {
		for k := range m.levels {
			i := (k + n + round) % len(m.levels)
			if round > 0 && u.counts[i] == nil {
				m.tick()
				continue // it does not compile
			}
			if err := m.compile(ctx, u, i, name, round == 0); err != nil {
				return nil, err
			}
			m.tick()
		}
	}
	slices.SortFunc(u.failed, func(a, b Failure) int { return int(a.Level) - int(b.Level) })
	return u, nil
}

func (m *measurement) compile(ctx context.Context, u *measuredUnit, i int, name string, count bool) error {
	r, err := m.Compile(ctx, name, m.flags[i])
	var refused *kbuild.CompileError
	if errors.As(err, &refused) && m.levels[i] != compiler.Plain {
		u.failed = append(u.failed, Failure{Unit: name, Level: m.levels[i], Reason: firstError(refused.Log), Log: refused.Log})
		return nil
	}
	if err != nil {
		return err
	}
	if m.Rounds > 0 && r.Cached {
		return fmt.Errorf("measure the compile time of %s: its result is from the cache; compile without one", name)
	}
	if m.Rounds > 0 {
		var cpu time.Duration
		for _, s := range r.Steps {
			cpu += s.CPU
		}
		if u.cpu[i] == 0 || cpu < u.cpu[i] {
			u.cpu[i] = cpu
		}
	}
	if count {
		if u.counts[i], err = countUnit(r.Object, r.Clones); err != nil {
			return fmt.Errorf("count the functions of %s at level %v: %w", name, m.levels[i], err)
		}
	}
	return nil
}

// firstError is the line of a compiler's diagnostics that says why it failed,
// behind the function that it is in: the error itself can lie in a macro of a
// header.
func firstError(log string) string {
	where := ""
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, ": In function "):
			where = line + " "
		case strings.Contains(line, "error: "):
			return where + line
		}
	}
	first, _, _ := strings.Cut(strings.TrimSpace(log), "\n")
	return first
}

// sum adds the units up that compile at every level.
func (m *measurement) sum(units []*measuredUnit) *Units {
	out := &Units{Asked: len(units), Rounds: m.Rounds, Levels: make([]Level, len(m.levels)), Failures: []Failure{}}
	impacted := make([][]int, len(m.levels))
	for _, u := range units {
		if len(u.failed) > 0 {
			out.Failures = append(out.Failures, u.failed...)
			continue
		}
		out.Counted++
		own := u.own()
		out.Functions += len(own)
		for i, c := range u.counts {
			l := &out.Levels[i]
			l.Text += c.text
			l.Bodies += c.functions
			l.Clones += c.clones
			l.CPUSeconds += u.cpu[i].Seconds()
			for _, name := range own {
				impacted[i] = append(impacted[i], c.impacted[name])
				if !c.bodies[name] {
					l.Bodiless++
				}
			}
		}
	}
	for i := range out.Levels {
		l := &out.Levels[i]
		l.Level, l.Flags = m.levels[i], append([]string{}, m.flags[i]...)
		l.Impacted = distribution(impacted[i])
		if plain := out.Levels[0]; plain.Text > 0 {
			l.TextRatio = float64(l.Text) / float64(plain.Text)
		}
		if plain := out.Levels[0]; plain.CPUSeconds > 0 {
			l.CPURatio = l.CPUSeconds / plain.CPUSeconds
		}
	}
	return out
}

// own lists the source functions of the unit: the same at every level, so that
// shares can be compared. What one level's dump does not mention, that of
// another may show to be from a header.
func (u *measuredUnit) own() []string {
	names, header := map[string]bool{}, map[string]bool{}
	for _, c := range u.counts {
		for n := range c.own {
			names[n] = true
		}
		for n := range c.header {
			header[n] = true
		}
	}
	var out []string
	for n := range names {
		if !header[n] {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}
