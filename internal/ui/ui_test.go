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
}

func newFake(redraw bool, width int) *fake {
	f := &fake{time: time.Unix(0, 0)}
	f.meter = &meter{
		w:      &f.out,
		redraw: redraw,
		now:    func() time.Time { return f.time },
		width:  func() int { return width },
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
	for i := range 1000 {
		f.Update("compile", int64(i), 2000)
		f.time = f.time.Add(time.Millisecond)
	}
	if n := strings.Count(f.take(), "\r"); n < 9 || n > 10 {
		t.Errorf("%d redraws in a second, want about 10", n)
	}
	f.Update("compile", 1500, 2000)
	f.pass(time.Second)
	f.take()
	f.Line("a warning")
	want(t, f.take(), "\r\x1b[Ka warning\n\r\x1b[Kcompile 1500/2000 (2 s)")
	f.Done()
	want(t, f.take(), "\r\x1b[Kcompile: 2.0 s\n")
	f.Done()
	want(t, f.take(), "")
}

func TestRedrawnProgressFitsTheLine(t *testing.T) {
	f := newFake(true, 10)
	f.Update("a phase with a long name", 0, 0)
	want(t, f.take(), "\r\x1b[Ka phase …")
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
	if NewStyle(file, false).Red("x") != "x" {
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

func TestTable(t *testing.T) {
	tab := Table{Header: []string{"function", "proof", "n"}, Right: []bool{false, false, true}}
	tab.Row("show_vfsmnt", "equal", "3")
	tab.Row("show_type", "équal\x1b", "12", "surplus")
	tab.Row("x")
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, "function     proof    n\nshow_vfsmnt  equal    3\nshow_type    équal?  12\nx\n"},
		{20, "function  proof    n\nshow_vf…  equal    3\nshow_ty…  équal?  12\nx\n"},
		{3, "fun…  pro…   n\nsho…  equ…   3\nsho…  équ…  12\nx\n"},
	} {
		var b strings.Builder
		if err := tab.Write(&b, c.width); err != nil {
			t.Fatal(err)
		}
		want(t, b.String(), c.want)
	}
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
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöü", 2, "ä…"}, {"a", 0, ""}} {
		want(t, fmt.Sprint(Cut(c.in, c.n)), c.want)
	}
}
