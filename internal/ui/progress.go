// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
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
	p := &meter{
		w: w, now: time.Now, every: ticker, redraw: IsTerminal(w),
		width: func() int { return Width(w) },
		front: func() bool { return inForeground(w) },
	}
	if p.redraw {
		onTerminal.Store(p)
	}
	return p
}

// Discard returns a Progress that shows no phases and no lines.
func Discard() Progress { return discard{} }

type discard struct{}

func (discard) Update(string, int64, int64) {}
func (discard) Line(string)                 {}
func (discard) Done()                       {}

// onTerminal is the meter that draws on this process's terminal, if any: for
// those who have to say something and do not know it.
var onTerminal atomic.Pointer[meter]

// Say prints one line on w, past the progress that is shown there, if any.
func Say(w io.Writer, text string) {
	if p := onTerminal.Load(); p != nil && p.w == w {
		p.Line(text)
		return
	}
	fmt.Fprintln(w, printable(text))
}

// Hush ends all progress of this process for good: what stands on the terminal
// is cleared and nothing is drawn any more. It is for a process that exits
// while others of its goroutines still work.
func Hush() {
	if p := onTerminal.Load(); p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.clear()
		p.flush()
		p.hushed = true
	}
}

// ticker calls f every d until stop is called.
func ticker(d time.Duration, f func()) (stop func()) {
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

// meter is both kinds of Progress; redraw tells them apart. It never hides the
// cursor, so that there is nothing to restore however the process ends.
type meter struct {
	w      io.Writer
	redraw bool
	now    func() time.Time
	width  func() int  // of the terminal now: it may be resized at any time
	front  func() bool // whether the terminal is ours to draw on
	every  func(d time.Duration, f func()) (stop func())

	mu      sync.Mutex
	out     strings.Builder // what the next write will be: see flush
	cur     *phase
	phases  map[string]*phase
	stop    func() // ends the ticker; nil when none runs
	shown   string // what stands on the terminal's line now
	drawnAt time.Time
	hushed  bool
}

type phase struct {
	name        string
	start       time.Time
	printed     time.Time // last plain line
	done, total int64
	pace        pace
	kept        bool // its closing line has been written
}

func (p *meter) Update(name string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.flush()
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
	ph.pace.sample(now, done)
	if p.cur != nil && p.cur != ph {
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
		if now.Sub(p.drawnAt) >= redrawEvery {
			p.draw(now)
		}
	case ph.printed.IsZero():
		ph.printed = now
		p.line(ph.name)
	}
	if total > 0 && done >= total {
		p.keep(ph, now)
	}
}

func (p *meter) Line(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.flush()
	p.clear()
	p.line(printable(text))
	if p.redraw && p.cur != nil && !p.cur.kept {
		p.draw(p.now())
	}
}

func (p *meter) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.flush()
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
	defer p.flush()
	ph, now := p.cur, p.now()
	if ph == nil || ph.kept || p.stop == nil {
		return
	}
	if p.redraw {
		if now.Sub(p.drawnAt) >= redrawEvery {
			p.draw(now)
		}
		return
	}
	if now.Sub(ph.printed) >= plainEvery {
		ph.printed = now
		p.line(ph.text(now))
	}
}

// keep leaves a permanent line for a phase that is over, if it was long.
func (p *meter) keep(ph *phase, now time.Time) {
	if ph.kept {
		return
	}
	if took := now.Sub(ph.start); took >= keepAfter {
		p.clear()
		p.line(ph.name + ": " + Duration(took))
	}
	ph.kept = true
}

// line, draw and clear only note what is to be written; flush writes it at
// once, so that no half of a frame is ever seen.
func (p *meter) line(text string) { p.out.WriteString(text + "\n") }

func (p *meter) flush() {
	if p.out.Len() > 0 && !p.hushed {
		_, _ = io.WriteString(p.w, p.out.String()) // nobody to tell that the terminal has gone
	}
	p.out.Reset()
}

// draw puts the phase on the terminal's line. What stood there is overwritten
// first and the rest erased then: the other way round flickers. After the
// window was made narrower a piece of the old line may remain above; going up
// to erase it could erase what is not ours on terminals that do not reflow.
func (p *meter) draw(now time.Time) {
	p.drawnAt = now
	if !p.front() {
		p.shown = "" // the line is the shell's
		return
	}
	text := p.cur.text(now)
	if w := p.width(); w > 0 {
		text = Cut(text, w-1)
	}
	if text == p.shown {
		return
	}
	p.out.WriteString("\r" + text + "\x1b[K")
	p.shown = text
}

func (p *meter) clear() {
	if p.shown != "" && p.front() {
		p.out.WriteString("\r\x1b[K")
	}
	p.shown = ""
}

// text is the phase as one line: name, how far, how long, how long still.
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
		fmt.Fprintf(&b, " (%d s", int(d.Seconds()))
		if left, ok := ph.pace.left(now, ph.total); ok {
			b.WriteString(", " + remaining(left))
		}
		b.WriteString(")")
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
