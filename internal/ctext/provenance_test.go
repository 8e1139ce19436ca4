// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// show writes a token as its spelling, where it is spelled, and what it was
// expanded from.
func show(x *Expanded, i int) string {
	k := &x.Tokens[i]
	where := "-"
	if k.Off >= 0 {
		_, line := x.Doc.Position(k.Off)
		start := strings.LastIndexByte(string(x.Doc.Text[:k.Off]), '\n') + 1
		where = fmt.Sprintf("%d.%d", line, int(k.Off)-start)
	}
	if !k.Expanded() {
		return x.Text(i) + "@" + where
	}
	return x.Text(i) + "@" + where + "<" + string(x.Doc.Text[k.From:k.To]) + ">"
}

func TestProvenance(t *testing.T) {
	d := read(t, map[string]string{"a.c": `#define ADD(a, b) (a + b)
#define TWO 2
#define FN(x) fn_##x
#define CALL 7 ADD
int v = ADD(one, TWO);
int FN(q) CALL
(3, __LINE__) _Pragma("pack(1)") ADD;
#undef TWO
#define TWO ADD(TWO,)
int w = TWO;
`})
	x, err := d.Expand()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"int@5.0", "v@5.4", "=@5.6",
		"(@1.17<ADD(one, TWO)>", "one@5.12<ADD(one, TWO)>", "+@1.20<ADD(one, TWO)>", "2@2.12<ADD(one, TWO)>", ")@1.23<ADD(one, TWO)>", ";@5.21",
		"int@6.0", "fn_q@-<FN(q)>",
		"7@4.13<CALL\n(3, __LINE__)>", "(@1.17<CALL\n(3, __LINE__)>", "3@7.1<CALL\n(3, __LINE__)>", "+@1.20<CALL\n(3, __LINE__)>", "6@-<CALL\n(3, __LINE__)>", ")@1.23<CALL\n(3, __LINE__)>",
		"ADD@7.33", ";@7.36",
		"int@10.0", "w@10.4", "=@10.6", "(@1.17<TWO>", "TWO@9.16<TWO>", "+@1.20<TWO>", ")@1.23<TWO>", ";@10.11",
	}
	var got []string
	for i := range x.Tokens {
		got = append(got, show(x, i))
	}
	if diff := firstDifference(got, want); diff != "" {
		t.Errorf("%s\n%q", strings.ReplaceAll(diff, "GCC has", "want"), got)
	}
	names := func(from, to int32) string {
		var out []string
		for _, i := range x.MacrosIn(from, to) {
			m := d.Defines[i]
			_, line := d.Position(m.From)
			out = append(out, fmt.Sprintf("%s:%d", d.Names.Text(m.Name), line))
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct{ from, to, want string }{
		{"int v", "int FN", "ADD:1 TWO:2"},
		{"int FN", "_Pragma", "ADD:1 FN:3 CALL:4"},
		{"_Pragma", "#undef", ""},
		{"int w", "TWO;", ""},
		{"TWO;", ";\n", "ADD:1 TWO:9"},
	} {
		from := at(t, d, c.from)
		to := from + int32(strings.Index(string(d.Text[from:]), c.to))
		if got := names(from, to); got != c.want {
			t.Errorf("macros in %q to %q: %s, want %s", c.from, c.to, got, c.want)
		}
	}
	p := at(t, d, "_Pragma")
	if !slices.Equal(x.Pragmas, []Range{{p, p + int32(len(`_Pragma("pack(1)")`))}}) {
		t.Errorf("pragmas: %v", x.Pragmas)
	}
}

func TestFlags(t *testing.T) {
	d := read(t, map[string]string{"a.c": "#define E\n#define P(x) [x]\n#define L x  y\na b/**/c+d\n  e P( f)P(g ) L\nP(h) E i E\nj __has_attribute(packed) __DATE__"})
	x, err := d.Expand()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, k := range x.Tokens {
		s := x.Text(i)
		if k.Flags&SpaceBefore != 0 {
			s = " " + s
		}
		if k.Flags&LineStart != 0 {
			s = "\n" + s
		}
		if k.Flags&Placeholder != 0 {
			s += "(?)"
		}
		got = append(got, s)
	}
	want := "\n a| b| c|+|d|\n e| [|f|]|[|g|]| x| y|\n [|h|]| i|\n j| 1(?)| \"??? ?? ????\"(?)"
	if g := strings.Join(got, "|"); g != want {
		t.Errorf("%q\nwant\n%q", g, want)
	}
}
