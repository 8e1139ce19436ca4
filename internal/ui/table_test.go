// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"fmt"
	"strings"
	"testing"
)

func tableText(t *testing.T, tab *Table, width int) string {
	t.Helper()
	var b strings.Builder
	if err := tab.Write(&b, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
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
		{12, "show_vfsmnt\n  proof  equ\n         al\n  n      3\nshow_type\n  proof  équ\n         al?\n  n      12\nx\n"},
	} {
		want(t, tableText(t, &tab, c.width), c.want)
	}
}

func TestTableWrapsText(t *testing.T) {
	tab := Table{Header: []string{"symbol", "because"}, Wrap: []bool{false, true}}
	tab.Row("show_type", "mangle was copied into show_type")
	tab.Row("日本", "short")
	want(t, tableText(t, &tab, 35), "symbol     because\nshow_type  mangle was copied into\n           show_type\n日本       short\n")
}

// Numbers are never cut: a cut number is a wrong number.
func TestTableFitsAnyWidthWithoutCuttingNumbers(t *testing.T) {
	tab := Table{
		Header: []string{"level", "text", "ratio", "why"},
		Right:  []bool{false, true, true}, Wrap: []bool{false, false, false, true},
	}
	for i := range 9 {
		tab.Row(strings.Repeat("x", 3*i), fmt.Sprint(1234567+i), "1.0000", strings.Repeat("some words ", i)+strings.Repeat("y", 40))
	}
	for width := 20; width < 120; width++ {
		text := tableText(t, &tab, width)
		for line := range strings.Lines(text) {
			if n := Columns(strings.TrimSuffix(line, "\n")); n > width {
				t.Fatalf("width %d: a line has %d columns:\n%s", width, n, line)
			}
		}
		for i := range 9 {
			if !strings.Contains(text, fmt.Sprint(1234567+i)) {
				t.Fatalf("width %d: a number was lost:\n%s", width, text)
			}
		}
	}
}
