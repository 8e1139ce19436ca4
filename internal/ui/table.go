// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"io"
	"strings"
)

// Table is rows of plain text cells under a header.
type Table struct {
	Header []string
	Right  []bool // columns to align on the right, as numbers are; they are never cut; may be shorter than Header
	Wrap   []bool // columns of text, which is wrapped rather than cut; may be shorter than Header
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

const (
	columnGap = 2
	leastCut  = 8  // columns that a cell keeps when it is cut
	leastWrap = 20 // columns that a cell keeps when it is wrapped
)

// Write prints the table. If width is positive, no line is longer: columns of
// text are wrapped, then the widest others are cut, and if that does not do,
// each row becomes a block of lines, one for each cell. Width 0 (not a
// terminal) changes nothing: a log has no width, and a cut name cannot be
// looked for.
func (t *Table) Write(w io.Writer, width int) error {
	widths, fits := t.widths(width)
	var b strings.Builder
	if fits {
		t.writeRow(&b, t.Header, widths, t.Style.Bold)
		for _, r := range t.rows {
			t.writeRow(&b, r, widths, func(s string) string { return s })
		}
	} else {
		t.writeBlocks(&b, width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeRow prints one row, of as many lines as its longest wrapped cell has.
func (t *Table) writeRow(b *strings.Builder, cells []string, widths []int, mark func(string) string) {
	lines := make([][]string, len(cells))
	height := 1
	for i, c := range cells {
		if is(t.Wrap, i) {
			lines[i] = wrap(c, widths[i])
		} else {
			lines[i] = []string{Cut(c, widths[i])}
		}
		height = max(height, len(lines[i]))
	}
	for n := range height {
		var l strings.Builder
		for i, cell := range lines {
			text := ""
			if n < len(cell) {
				text = cell[n]
			}
			pad := strings.Repeat(" ", max(0, widths[i]-Columns(text)))
			if i > 0 {
				l.WriteString(strings.Repeat(" ", columnGap))
			}
			if is(t.Right, i) {
				l.WriteString(pad + text)
			} else {
				l.WriteString(text + pad)
			}
		}
		b.WriteString(mark(strings.TrimRight(l.String(), " ")) + "\n")
	}
}

// writeBlocks prints each row as lines "header  cell" under its first cell.
func (t *Table) writeBlocks(b *strings.Builder, width int) {
	most := 0
	for _, h := range t.Header[1:] {
		most = max(most, Columns(h))
	}
	most = min(most, width/2)
	for _, r := range t.rows {
		for _, l := range wrap(r[0], width) {
			b.WriteString(t.Style.Bold(l) + "\n")
		}
		for i, c := range r[1:] {
			if c == "" {
				continue
			}
			head := Cut(t.Header[i+1], most)
			head = "  " + head + strings.Repeat(" ", most-Columns(head)+columnGap)
			for _, l := range wrap(c, max(1, width-Columns(head))) {
				b.WriteString(head + l + "\n")
				head = strings.Repeat(" ", Columns(head))
			}
		}
	}
}

func is(marks []bool, i int) bool { return i < len(marks) && marks[i] }

// widths gives each column what its widest cell needs, then takes from those
// that are wrapped and then from those that are cut, the widest first, until
// the line fits or they have their least.
func (t *Table) widths(limit int) (widths []int, fits bool) {
	ws := make([]int, len(t.Header))
	total := columnGap * (len(ws) - 1)
	for i, h := range t.Header {
		ws[i] = Columns(h)
		for _, r := range t.rows {
			ws[i] = max(ws[i], Columns(r[i]))
		}
		total += ws[i]
	}
	if limit <= 0 {
		return ws, true
	}
	take := func(may func(i int) bool, least int) {
		for total > limit {
			widest := -1
			for i, w := range ws {
				if may(i) && w > least && (widest < 0 || w > ws[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				return
			}
			ws[widest]--
			total--
		}
	}
	take(func(i int) bool { return is(t.Wrap, i) }, leastWrap)
	take(func(i int) bool { return !is(t.Wrap, i) && !is(t.Right, i) }, leastCut)
	return ws, total <= limit
}
