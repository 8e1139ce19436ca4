// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Progress shows what a slow operation is doing. All methods may be called
// from several goroutines at once.
type Progress interface {
	// Update says that phase is at done of total. The unit is the caller's
	// (bytes, files); totals below countLimit are shown as counts, others as
	// a percentage. Total 0 means that the amount is not known. A phase is
	// over when done reaches total, when another phase is named, or at Done.
	Update(phase string, done, total int64)
	// Line prints one line of text that stays, without garbling the progress.
	Line(text string)
	// Done ends the last phase and clears what is transient. Progress may be
	// used again afterwards.
	Done()
}

const (
	redrawEvery = 100 * time.Millisecond // on a terminal
	plainEvery  = 10 * time.Second       // elsewhere
	keepAfter   = time.Second            // a terminal keeps a line for phases that took this long
	countLimit  = 100_000
)

// NewProgress returns a Progress that writes to w: one redrawn line if w is a
// terminal, plain lines otherwise.
func NewProgress(w io.Writer) Progress {
	p := &meter{w: w, now: time.Now, width: func() int { return Width(w) }}
	if IsTerminal(w) {
		p.redraw = true
	}
	p.every = func(d time.Duration, f func()) (stop func()) {
		t := time.NewTicker(d)
		quit := make(chan struct{})
		go func() {
			for {
				select {
				case <-t.C:
					f()
				case <-quit:
					return
				}
			}
		}()
		return func() { t.Stop(); close(quit) }
	}
	return p
}

// Discard returns a Progress that shows no phases and no lines.
func Discard() Progress { return discard{} }

type discard struct{}

func (discard) Update(string, int64, int64) {}
func (discard) Line(string)                 {}
func (discard) Done()                       {}

// meter is both kinds of Progress; redraw tells them apart.
type meter struct {
	w      io.Writer
	redraw bool
	now    func() time.Time
	width  func() int
	every  func(d time.Duration, f func()) (stop func())

	mu      sync.Mutex
	cur     *phase
	phases  map[string]*phase
	stop    func() // ends the ticker; nil when none runs
	shown   string // what stands on the terminal's line now
	drawnAt time.Time
}

type phase struct {
	name        string
	start       time.Time
	printed     time.Time // last plain line
	done, total int64
	kept        bool // its closing line has been written
}

func (p *meter) Update(name string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name = oneLine(name)
	now := p.now()
	ph := p.phases[name]
	if ph == nil {
		ph = &phase{name: name, start: now}
		if p.phases == nil {
			p.phases = map[string]*phase{}
		}
		p.phases[name] = ph
	}
	ph.done, ph.total = done, total
	changed := p.cur != ph
	if changed && p.cur != nil {
		p.keep(p.cur, now)
	}
	p.cur = ph
	if p.stop == nil {
		d := plainEvery / 10
		if p.redraw {
			d = redrawEvery
		}
		p.stop = p.every(d, p.tick)
	}
	switch {
	case p.redraw:
		if changed || now.Sub(p.drawnAt) >= redrawEvery {
			p.draw(now)
		}
	case ph.printed.IsZero():
		ph.printed = now
		fmt.Fprintln(p.w, ph.name)
	}
	if total > 0 && done >= total {
		p.keep(ph, now)
	}
}

func (p *meter) Line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintln(p.w, printable(text))
	if p.redraw && p.cur != nil && !p.cur.kept {
		p.draw(p.now())
	}
}

func (p *meter) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
	if p.cur != nil {
		p.keep(p.cur, p.now())
	}
	p.clear()
	p.cur, p.phases = nil, nil
}

// tick is called between updates, so that the time shown moves on while one
// step takes long.
func (p *meter) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	ph, now := p.cur, p.now()
	if ph == nil || ph.kept || p.stop == nil {
		return
	}
	if p.redraw {
		p.draw(now)
		return
	}
	if now.Sub(ph.printed) >= plainEvery {
		ph.printed = now
		fmt.Fprintln(p.w, ph.text(now))
	}
}

// keep leaves a permanent line for a phase that is over, if it was long.
func (p *meter) keep(ph *phase, now time.Time) {
	if ph.kept {
		return
	}
	if took := now.Sub(ph.start); took >= keepAfter {
		p.clear()
		fmt.Fprintf(p.w, "%s: %s\n", ph.name, Duration(took))
	}
	ph.kept = true
}

func (p *meter) draw(now time.Time) {
	text := p.cur.text(now)
	if w := p.width(); w > 0 {
		text = Cut(text, w-1)
	}
	p.drawnAt = now
	if text == p.shown {
		return
	}
	fmt.Fprint(p.w, "\r\x1b[K"+text)
	p.shown = text
}

func (p *meter) clear() {
	if p.shown != "" {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = ""
	}
}

// text is the phase as one line: name, how far, how long.
func (ph *phase) text(now time.Time) string {
	var b strings.Builder
	b.WriteString(ph.name)
	switch {
	case ph.total <= 0:
	case ph.total < countLimit:
		fmt.Fprintf(&b, " %d/%d", ph.done, ph.total)
	default:
		fmt.Fprintf(&b, " %d %%", int(100*float64(ph.done)/float64(ph.total)))
	}
	if d := now.Sub(ph.start); d >= keepAfter {
		fmt.Fprintf(&b, " (%d s)", int(d.Seconds()))
	}
	return b.String()
}

// Duration prints d with the precision that helps a reader: "0.43 s",
// "12.3 s", "3 min 5 s".
func Duration(d time.Duration) string {
	switch s := d.Seconds(); {
	case s < 1:
		return fmt.Sprintf("%.2f s", s)
	case s < 60:
		return fmt.Sprintf("%.1f s", s)
	default:
		n := int(s + 0.5)
		return fmt.Sprintf("%d min %d s", n/60, n%60)
	}
}
