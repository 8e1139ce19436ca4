// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// fake is a meter on a clock and a ticker that the test turns.
type fake struct {
	*meter
	out  strings.Builder
	time time.Time
	tick func()

	front  bool
	writes int
}

// Write counts: a frame is to be one write.
func (f *fake) Write(b []byte) (int, error) {
	f.writes++
	return f.out.Write(b)
}

func newFake(redraw bool, width int) *fake {
	f := &fake{time: time.Unix(0, 0), front: true}
	f.meter = &meter{
		w:      f,
		redraw: redraw,
		now:    func() time.Time { return f.time },
		width:  func() int { return width },
		front:  func() bool { return f.front },
		every: func(_ time.Duration, tick func()) func() {
			f.tick = tick
			return func() { f.tick = nil }
		},
	}
	return f
}

// pass lets d go by in steps of a tenth of a second.
func (f *fake) pass(d time.Duration) {
	for range d / redrawEvery {
		f.time = f.time.Add(redrawEvery)
		if f.tick != nil {
			f.tick()
		}
	}
}

func (f *fake) take() string {
	s := f.out.String()
	f.out.Reset()
	return s
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestPlainProgressOneLineAPhaseAndOneEveryTenSeconds(t *testing.T) {
	f := newFake(false, 0)
	f.Update("download", 0, 1_000_000)
	for i := range 100 {
		f.Update("download", int64(i), 1_000_000)
	}
	want(t, f.take(), "download\n")
	f.Update("download", 250_000, 1_000_000)
	f.pass(9 * time.Second)
	want(t, f.take(), "")
	f.pass(2 * time.Second)
	want(t, f.take(), "download 25 % (10 s)\n")
	f.Update("download", 1_000_000, 1_000_000)
	want(t, f.take(), "download: 11.0 s\n")
	f.pass(30 * time.Second) // it is over: silence
	f.Update("compile", 1, 3)
	f.Update("compile", 3, 3)
	f.Done()
	want(t, f.take(), "compile\n")
	if f.tick != nil {
		t.Error("the ticker runs on after Done")
	}
}

func TestPlainProgressOfTwoPhasesAtOnceDoesNotRepeatThem(t *testing.T) {
	f := newFake(false, 0)
	for range 50 {
		f.Update("a", 0, 0)
		f.Update("b", 0, 0)
	}
	want(t, f.take(), "a\nb\n")
}

func TestRedrawnProgressAtMostTenTimesASecond(t *testing.T) {
	f := newFake(true, 40)
	for i := range 1000 { // two phases by turns: workers of both are busy
		f.Update([]string{"compile", "match"}[i%2], int64(i), 2000)
		f.time = f.time.Add(time.Millisecond)
	}
	if n := strings.Count(f.take(), "\r"); n < 9 || n > 10 || f.writes != n {
		t.Errorf("%d redraws by %d writes in a second, want about 10", n, f.writes)
	}
}

func TestALinePastTheProgressIsOneWrite(t *testing.T) {
	f := newFake(true, 40)
	f.Update("compile", 1500, 2000)
	f.pass(2 * time.Second)
	f.take()
	f.writes = 0
	f.Line("a warning")
	want(t, f.take(), "\r\x1b[Ka warning\n\rcompile 1500/2000 (2 s)\x1b[K")
	f.Done()
	want(t, f.take(), "\r\x1b[Kcompile: 2.0 s\n")
	if f.writes != 2 {
		t.Errorf("%d writes, want 2", f.writes)
	}
	f.Done()
	want(t, f.take(), "")
}

func TestRedrawnProgressFitsTheLine(t *testing.T) {
	f := newFake(true, 10)
	f.Update("a phase with a long name", 0, 0)
	want(t, f.take(), "\ra phase …\x1b[K")
	f.meter.width = func() int { return 16 } // the window was made wider
	f.pass(redrawEvery)
	want(t, f.take(), "\ra phase with a…\x1b[K")
	f.meter.width = func() int { return 6 }
	f.pass(redrawEvery)
	want(t, f.take(), "\ra ph…\x1b[K")
}

func TestProgressInTheBackgroundDrawsNothing(t *testing.T) {
	f := newFake(true, 40)
	f.Update("compile", 1, 4)
	want(t, f.take(), "\rcompile 1/4\x1b[K")
	f.front = false
	f.pass(3 * time.Second)
	want(t, f.take(), "")
	f.Line("a warning") // is told, but the shell's prompt is not erased
	want(t, f.take(), "a warning\n")
	f.front = true
	f.pass(redrawEvery)
	want(t, f.take(), "\rcompile 1/4 (3 s)\x1b[K")
}

func TestHushClearsAndEndsAll(t *testing.T) {
	f := newFake(true, 40)
	onTerminal.Store(f.meter)
	defer onTerminal.Store(nil)
	f.Update("compile", 1, 4)
	f.take()
	Say(f, "interrupted")
	want(t, f.take(), "\r\x1b[Kinterrupted\n\rcompile 1/4\x1b[K")
	Hush()
	want(t, f.take(), "\r\x1b[K")
	f.Update("compile", 2, 4)
	f.pass(2 * time.Second)
	f.Line("late")
	f.Done()
	want(t, f.take(), "")
	var other strings.Builder
	Say(&other, "to\x07 somewhere else")
	want(t, other.String(), "to? somewhere else\n")
}

func TestProgressRemovesControlCharacters(t *testing.T) {
	f := newFake(false, 0)
	f.Update("evil\x1b[2J\nname", 0, 0)
	f.Line("two\nlines\x07")
	want(t, f.take(), "evil?[2J name\ntwo\nlines?\n")
}

func TestNewProgressOnAFileIsPlain(t *testing.T) {
	t.Setenv("TERM", "xterm")
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := NewProgress(file)
	p.Update("unpack", 1, 2)
	p.Line("note")
	p.Done()
	data, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	want(t, string(data), "unpack\nnote\n")
	if NewStyle(file, Auto).Red("x") != "x" {
		t.Error("colour in a file")
	}
	if Width(file) != 0 {
		t.Error("a file has a width")
	}
}

func TestDiscardShowsNothing(t *testing.T) {
	p := Discard()
	p.Update("x", 1, 2)
	p.Line("x")
	p.Done()
}

func TestStyle(t *testing.T) {
	want(t, Style{}.Bold("x"), "x")
	want(t, Style{on: true}.Red("x"), "\x1b[31mx\x1b[0m")
	want(t, Style{on: true}.Red(""), "")
}

func TestDuration(t *testing.T) {
	for d, text := range map[time.Duration]string{
		434 * time.Millisecond:   "0.43 s",
		12340 * time.Millisecond: "12.3 s",
		185 * time.Second:        "3 min 5 s",
	} {
		want(t, Duration(d), text)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 2, "ä…"}, {"a", 0, ""},
		{"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, // two columns each
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"}, // combining accents take none
	} {
		want(t, fmt.Sprint(Cut(c.in, c.n)), c.want)
	}
}

func TestWhen(t *testing.T) {
	var c When
	for _, v := range Whens {
		if err := c.Set(v); err != nil || c.String() != v {
			t.Errorf("Set(%q): %v, is %q", v, err, c)
		}
	}
	if err := c.Set("sometimes"); err == nil {
		t.Error("Set(sometimes) succeeds")
	}
	var b strings.Builder
	t.Setenv("NO_COLOR", "1")
	if NewStyle(&b, Auto).on || NewStyle(&b, Never).on || !NewStyle(&b, Always).on {
		t.Error("off a terminal there must be colour for always only, whatever NO_COLOR says")
	}
}
