// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

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

// Style colours text, or leaves it alone: the zero Style is plain.
type Style struct{ on bool }

// NewStyle returns a Style for what is written to w: colour only on a
// terminal, and only if neither never nor the environment variable NO_COLOR
// (https://no-color.org: set and not empty) forbids it.
func NewStyle(w io.Writer, never bool) Style {
	return Style{on: !never && os.Getenv("NO_COLOR") == "" && IsTerminal(w)}
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

// Cut shortens text to at most width columns, marking the cut with an
// ellipsis. One rune counts as one column.
func Cut(text string, width int) string {
	if width <= 0 {
		return ""
	}
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	r := []rune(text)
	return string(r[:width-1]) + "…"
}

// printable replaces control characters other than tab and newline, which
// names out of foreign files could smuggle into a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}

// oneLine is printable text with its line breaks and tabs made spaces.
func oneLine(s string) string {
	return printable(strings.NewReplacer("\n", " ", "\t", " ").Replace(s))
}
