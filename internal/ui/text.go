// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// IsTerminal says whether w is a terminal on which a line can be redrawn.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// Width is the number of columns of the terminal w, 0 if w is none.
func Width(w io.Writer) int {
	if !IsTerminal(w) {
		return 0
	}
	n, _, err := term.GetSize(int(w.(*os.File).Fd()))
	if err != nil || n <= 0 {
		return 80
	}
	return n
}

// inForeground says whether this process may draw on the terminal w: one that
// was put into the background shares the line with the shell's prompt. A
// terminal that does not control this process has no foreground to ask for.
func inForeground(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return true
	}
	pgrp, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err != nil || pgrp == unix.Getpgrp()
}

// When says when there is colour; it is the value of a flag.
type When string

// The values of When. Auto is colour on a terminal, unless the environment
// variable NO_COLOR is set and not empty (https://no-color.org); the other two
// are what the user asked for and go before NO_COLOR.
const (
	Auto   When = "auto"
	Always When = "always"
	Never  When = "never"
)

// Whens are the values of When.
var Whens = []string{string(Auto), string(Always), string(Never)}

func (c *When) String() string { return string(*c) }

// Type names the values in a help text.
func (c *When) Type() string { return "when" }

// Set takes one of the values.
func (c *When) Set(s string) error {
	for _, v := range Whens {
		if s == v {
			*c = When(s)
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(Whens, ", "))
}

// Style colours text, or leaves it alone: the zero Style is plain.
type Style struct{ on bool }

// NewStyle returns a Style for what is written to w.
func NewStyle(w io.Writer, when When) Style {
	return Style{on: when == Always || when == Auto && os.Getenv("NO_COLOR") == "" && IsTerminal(w)}
}

// Bold, Dim, Red, Green and Yellow mark text.
func (s Style) Bold(t string) string   { return s.sgr("1", t) }
func (s Style) Dim(t string) string    { return s.sgr("2", t) }
func (s Style) Red(t string) string    { return s.sgr("31", t) }
func (s Style) Green(t string) string  { return s.sgr("32", t) }
func (s Style) Yellow(t string) string { return s.sgr("33", t) }

func (s Style) sgr(code, t string) string {
	if !s.on || t == "" {
		return t
	}
	return "\x1b[" + code + "m" + t + "\x1b[0m"
}

// columns counts the columns of a terminal that text takes: wide characters
// take two, combining ones none. It does not depend on the locale.
var columns = func() *runewidth.Condition {
	c := runewidth.NewCondition()
	c.EastAsianWidth = false
	return c
}()

// Columns is how many columns of a terminal a line of text takes.
func Columns(text string) int { return columns.StringWidth(text) }

// Cut shortens text to at most width columns, marking the cut with an
// ellipsis.
func Cut(text string, width int) string {
	if width <= 0 {
		return ""
	}
	return columns.Truncate(text, width, "…")
}

// wrap breaks text at spaces into lines of at most width columns; a word that
// is longer is broken where the line ends.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && Columns(line)+1+Columns(word) <= width {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for line = word; Columns(line) > width; {
			head := columns.Truncate(line, width, "")
			if head == "" {
				break // one character that is wider than the line
			}
			lines = append(lines, head)
			line = line[len(head):]
		}
	}
	return append(lines, line)
}

// printable replaces control characters other than tab and newline, and marks
// of direction and others that do not show, which names out of foreign files
// could smuggle into a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}

// oneLine is printable text with its line breaks and tabs made spaces.
func oneLine(s string) string {
	return printable(strings.NewReplacer("\n", " ", "\t", " ").Replace(s))
}
