// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// terminal opens a pseudo terminal of that many columns; read closes it and
// returns what was written to it.
func terminal(t *testing.T, width uint16) (tty *os.File, read func() string) {
	t.Helper()
	control, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	resize(t, tty, width)
	got := make(chan string)
	go func() {
		b, _ := io.ReadAll(control) // ends with EIO when the tty is closed
		got <- string(b)
	}()
	return tty, func() string {
		tty.Close()
		return strings.ReplaceAll(<-got, "\r\n", "\n") // what the line discipline does
	}
}

func resize(t *testing.T, tty *os.File, width uint16) {
	t.Helper()
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: width}); err != nil {
		t.Fatal(err)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, read := terminal(t, 12)
	if Width(tty) != 12 {
		t.Errorf("the width is %d, want 12", Width(tty))
	}
	p := NewProgress(tty)
	p.Update("unpacking modules", 1, 2)
	resize(t, tty, 80)
	Say(tty, "note") // draws the progress again, and it is wider now
	p.Done()
	want(t, read(), "\runpacking …\x1b[K\r\x1b[Knote\n\runpacking modules 1/2\x1b[K\r\x1b[K")
}

func TestColourOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	tty, read := terminal(t, 80)
	defer read()
	if !NewStyle(tty, Auto).on || NewStyle(tty, Never).on {
		t.Error("on a terminal there must be colour for auto, none for never")
	}
	t.Setenv("NO_COLOR", "1")
	if NewStyle(tty, Auto).on || !NewStyle(tty, Always).on {
		t.Error("NO_COLOR must turn auto off, and not always")
	}
}

func TestADumbTerminalIsALog(t *testing.T) {
	t.Setenv("TERM", "dumb")
	tty, read := terminal(t, 12)
	p := NewProgress(tty)
	p.Update("unpacking modules", 1, 2)
	p.Line("note")
	p.Done()
	if Width(tty) != 0 || NewStyle(tty, Auto).on {
		t.Error("a dumb terminal has a width or colour")
	}
	want(t, read(), "unpacking modules\nnote\n")
}
