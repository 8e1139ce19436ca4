// SPDX-License-Identifier: Apache-2.0

package page

import "strings"

// Row is one line before and after, side by side.
type Row struct {
	Left, Right Cell
	Same        bool // the line is the same; else one of the cells may be absent
}

// Cell is a line. Of a line that differs from the one beside it, Mid is what
// differs; a line without a partner is all Mid.
type Cell struct {
	Line          int // its number in the file, 0: none
	There         bool
	Pre, Mid, End string
}

// Segment is a run of rows. Runs that are the same on both sides are folded
// where they are long.
type Segment struct {
	Folded bool
	Rows   []Row
}

// Sides are two texts side by side.
type Sides struct {
	Segments []Segment
	Changed  int  // rows that differ
	Rows     int  // in all
	Only     bool // both sides are the same: the left one is shown
	Coarse   bool // there was too much to align: all is shown as changed
	Cut      int  // rows that are not shown
}

const (
	maxRows = 3000 // rows of one pair that are shown
	context = 8    // rows that stay beside a change
	foldMin = 12   // a shorter run is not folded
)

// pair makes rows of a run of lines that were replaced by others: the first
// beside the first, and so on.
func pair(left, right []Cell) []Row {
	var rows []Row
	for i := range max(len(left), len(right)) {
		var r Row
		if i < len(left) {
			r.Left = left[i]
		}
		if i < len(right) {
			r.Right = right[i]
		}
		if r.Left.There && r.Right.There {
			r.Left, r.Right = markMiddle(r.Left, r.Right)
		} else {
			r.Left.Pre, r.Left.Mid, r.Right.Pre, r.Right.Mid = r.Left.Mid, "", r.Right.Mid, ""
		}
		rows = append(rows, r)
	}
	return rows
}

// markMiddle finds what differs between two lines: all but what they begin and
// end with together.
func markMiddle(l, r Cell) (Cell, Cell) {
	a, b := []rune(l.Mid), []rune(r.Mid)
	p := 0
	for p < len(a) && p < len(b) && a[p] == b[p] {
		p++
	}
	e := 0
	for e < len(a)-p && e < len(b)-p && a[len(a)-1-e] == b[len(b)-1-e] {
		e++
	}
	// Lines that have next to nothing in common are not the same line: marks in
	// them would mark all.
	if same := len([]rune(strings.TrimSpace(string(a[:p])))) + e; 4*same < min(len(a), len(b)) {
		l.Pre, l.Mid, r.Pre, r.Mid = l.Mid, "", r.Mid, ""
		return l, r
	}
	cut := func(c Cell, text []rune) Cell {
		c.Pre, c.Mid, c.End = string(text[:p]), string(text[p:len(text)-e]), string(text[len(text)-e:])
		return c
	}
	return cut(l, a), cut(r, b)
}

// Text is one side as it comes: lines, and the number of the first (0: none).
type Text struct {
	Lines []string
	First int
}

func (t Text) cell(i int) Cell {
	c := Cell{There: true, Mid: Clean(t.Lines[i], 2000)}
	if t.First > 0 {
		c.Line = t.First + i
	}
	return c
}

// SideBySide aligns two texts. from gives for each line of the right one the
// line of the left (from 0) that it is, -1 if it is new; nil: they are compared.
func SideBySide(left, right Text, from []int) *Sides {
	s := &Sides{}
	if from == nil {
		var ok bool
		if from, ok = match(left.Lines, right.Lines); !ok {
			s.Coarse = true
		}
	}
	var rows []Row
	at := 0
	var added []Cell
	flush := func(upTo int) {
		var gone []Cell
		for ; at < upTo; at++ {
			gone = append(gone, left.cell(at))
		}
		more := pair(gone, added)
		s.Changed += len(more)
		rows, added = append(rows, more...), nil
	}
	for i := range right.Lines {
		f := from[i]
		if f < at || f >= len(left.Lines) {
			added = append(added, right.cell(i))
			continue
		}
		flush(f)
		l, r := left.cell(f), right.cell(i)
		l.Pre, l.Mid, r.Pre, r.Mid = l.Mid, "", r.Mid, ""
		rows = append(rows, Row{Left: l, Right: r, Same: true})
		at = f + 1
	}
	flush(len(left.Lines))
	s.Rows, s.Only = len(rows), s.Changed == 0
	if len(rows) > maxRows {
		s.Cut, rows = len(rows)-maxRows, rows[:maxRows]
	}
	s.fold(rows)
	return s
}

// fold cuts rows into segments.
func (s *Sides) fold(rows []Row) {
	for i := 0; i < len(rows); {
		j := i
		for j < len(rows) && rows[j].Same == rows[i].Same {
			j++
		}
		run := rows[i:j]
		before, after := context, context
		if i == 0 {
			before = 0
		}
		if j == len(rows) {
			after = 0
		}
		if i == 0 && j == len(rows) { // nothing differs: the reader asks for it
			before = len(run)
		}
		if rows[i].Same && len(run) >= before+after+foldMin {
			s.add(false, run[:before])
			s.add(true, run[before:len(run)-after])
			s.add(false, run[len(run)-after:])
		} else {
			s.add(false, run)
		}
		i = j
	}
}

func (s *Sides) add(folded bool, rows []Row) {
	if len(rows) == 0 {
		return
	}
	if n := len(s.Segments); !folded && n > 0 && !s.Segments[n-1].Folded {
		s.Segments[n-1].Rows = append(s.Segments[n-1].Rows, rows...)
		return
	}
	s.Segments = append(s.Segments, Segment{folded, append([]Row(nil), rows...)})
}
