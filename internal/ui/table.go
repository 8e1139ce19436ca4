// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Table is rows of plain text cells under a header.
type Table struct {
	Header []string
	Right  []bool // columns to align on the right; may be shorter than Header
	Style  Style  // for the header
	rows   [][]string
}

// Row adds one row. Missing cells are empty, surplus ones are dropped.
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.Header))
	for i := range row {
		if i < len(cells) {
			row[i] = oneLine(cells[i])
		}
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

const columnGap = 2

// Write prints the table. If width is positive, the widest columns are cut
// until a line fits; width 0 (not a terminal) cuts nothing.
func (t *Table) Write(w io.Writer, width int) error {
	widths := t.widths(width)
	var b strings.Builder
	line := func(cells []string, mark func(string) string) {
		var l strings.Builder
		for i, c := range cells {
			c = Cut(c, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i > 0 {
				l.WriteString(strings.Repeat(" ", columnGap))
			}
			if i < len(t.Right) && t.Right[i] {
				l.WriteString(pad + c)
			} else {
				l.WriteString(c + pad)
			}
		}
		b.WriteString(mark(strings.TrimRight(l.String(), " ")) + "\n")
	}
	line(t.Header, t.Style.Bold)
	for _, r := range t.rows {
		line(r, func(s string) string { return s })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// widths gives each column what its widest cell needs, then takes from the
// widest column until the line fits or every column is at its minimum.
func (t *Table) widths(limit int) []int {
	const least = 4
	ws := make([]int, len(t.Header))
	for i, h := range t.Header {
		ws[i] = utf8.RuneCountInString(h)
		for _, r := range t.rows {
			ws[i] = max(ws[i], utf8.RuneCountInString(r[i]))
		}
	}
	if limit <= 0 {
		return ws
	}
	total := columnGap * (len(ws) - 1)
	for _, w := range ws {
		total += w
	}
	for ; total > limit; total-- {
		widest := 0
		for i, w := range ws {
			if w > ws[widest] {
				widest = i
			}
		}
		if len(ws) == 0 || ws[widest] <= least {
			break
		}
		ws[widest]--
	}
	return ws
}
