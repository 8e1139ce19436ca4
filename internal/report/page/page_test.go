// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":     "plain\ttext\n",
		"a\u202eb\u2066c":   `a\u202eb\u2066c`,
		"\x00\x1b[2J\r":     `\x00\x1b[2J\x0d`,
		"\xff\xfe ok":       `\xff\xfe ok`,
		"zero\u200bwidth":   `zero\u200bwidth`,
		"\uFFFD stays":      "\uFFFD stays",
		"größer 漢字 →":       "größer 漢字 →",
		"line\u2028end\x7f": `line\u2028end\x7f`,
	} {
		if got := Clean(in, MaxText); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Clean("größer", 3); got != "gr … (6 more bytes)" {
		t.Errorf("cut within a character: %q", got)
	}
}

func TestCleanAllReachesEverything(t *testing.T) {
	type inner struct{ S string }
	v := struct {
		A []string
		B *inner
		C map[string]inner
		D [][]inner
		E *inner
	}{[]string{"\x00"}, &inner{"\x01"}, map[string]inner{"\x02": {"\x03"}}, [][]inner{{{"\x04"}}}, nil}
	CleanAll(&v)
	got := fmt.Sprintf("%v %v %v %v", v.A, *v.B, v.C, v.D)
	if want := `[\x00] {\x01} map[\x02:{\x03}] [[{\x04}]]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\u202e\xff\x00", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		out := Clean(s, max(limit, 0))
		if !utf8.ValidString(out) || strings.IndexFunc(out, func(r rune) bool { return hidden(r) && r != utf8.RuneError }) >= 0 {
			t.Errorf("Clean(%q) = %q", s, out)
		}
	})
}

// longest is the length of the longest common subsequence, by the book.
func longest(a, b []string) int {
	n := make([][]int, len(a)+1)
	for i := range n {
		n[i] = make([]int, len(b)+1)
	}
	for i := range a {
		for j := range b {
			if n[i+1][j+1] = max(n[i][j+1], n[i+1][j]); a[i] == b[j] {
				n[i+1][j+1] = n[i][j] + 1
			}
		}
	}
	return n[len(a)][len(b)]
}

// TestMatchIsRightAndShortest: what match takes for the same is the same, in
// order, and nobody can find more of it.
func TestMatchIsRightAndShortest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		text := func() []string {
			var out []string
			for range r.IntN(12) {
				out = append(out, string(rune('a'+r.IntN(4))))
			}
			return out
		}
		a, b := text(), text()
		from, ok := match(a, b)
		found, last := 0, -1
		for i, f := range from {
			if f < 0 {
				continue
			}
			if f <= last || a[f] != b[i] {
				t.Fatalf("%q and %q: %v", a, b, from)
			}
			last = f
			found++
		}
		if !ok || len(from) != len(b) || found != longest(a, b) {
			t.Fatalf("%q and %q: %v finds %d the same, there are %d", a, b, from, found, longest(a, b))
		}
		sidesAreWhole(t, a, b)
	}
}

// sidesAreWhole: put together again, the rows are both texts.
func sidesAreWhole(t *testing.T, a, b []string) {
	t.Helper()
	var left, right []string
	changed := 0
	for _, s := range SideBySide(Text{Lines: a}, Text{Lines: b}, nil).Segments {
		for _, r := range s.Rows {
			if !r.Same {
				changed++
			} else if s := r.Left.Pre; s != r.Right.Pre {
				t.Fatalf("%q is not %q", s, r.Right.Pre)
			}
			if r.Left.There {
				left = append(left, r.Left.Pre+r.Left.Mid+r.Left.End)
			}
			if r.Right.There {
				right = append(right, r.Right.Pre+r.Right.Mid+r.Right.End)
			}
		}
	}
	if !slices.Equal(left, a) || !slices.Equal(right, b) || (changed == 0) != slices.Equal(a, b) {
		t.Fatalf("of %q and %q became %q and %q with %d changed", a, b, left, right, changed)
	}
}

func TestFolds(t *testing.T) {
	var a []string
	for i := range 100 {
		a = append(a, fmt.Sprint("line ", i))
	}
	b := slices.Clone(a)
	b[50] = "line 5O"
	s := SideBySide(Text{Lines: a, First: 10}, Text{Lines: b, First: 20}, nil)
	var got []string
	for _, seg := range s.Segments {
		got = append(got, fmt.Sprint(seg.Folded, len(seg.Rows), seg.Rows[0].Left.Line, seg.Rows[0].Right.Line))
	}
	if want := []string{"true 42 10 20", "false 17 52 62", "true 41 69 79"}; !slices.Equal(got, want) {
		t.Errorf("segments %q, want %q", got, want)
	}
	if r := s.Segments[1].Rows[8]; r.Left.Pre != "line 5" || r.Left.Mid != "0" || r.Right.Mid != "O" || s.Changed != 1 || s.Only {
		t.Errorf("the changed row is %+v of %d", r, s.Changed)
	}
	if same := SideBySide(Text{Lines: a}, Text{Lines: a}, nil); !same.Only || len(same.Segments) != 1 || same.Segments[0].Folded {
		t.Errorf("two of the same: %+v", same)
	}
}

func TestTooMuchToAlignIsSaid(t *testing.T) {
	var a, b []string
	for i := range maxEdits {
		a, b = append(a, fmt.Sprint("a", i)), append(b, fmt.Sprint("b", i))
	}
	s := SideBySide(Text{Lines: append([]string{"same"}, a...)}, Text{Lines: append([]string{"same"}, b...)}, nil)
	if !s.Coarse || s.Changed != maxEdits || !s.Segments[0].Rows[0].Same {
		t.Errorf("coarse %v, %d changed", s.Coarse, s.Changed)
	}
	if s = SideBySide(Text{Lines: make([]string, maxRows+5)}, Text{Lines: make([]string, maxRows+5)}, nil); s.Cut != 5 {
		t.Errorf("%d rows cut, want 5", s.Cut)
	}
}

func TestHistogram(t *testing.T) {
	h := NewHistogram("x", "things", "parts", []int{0, 0, 1, 2, 3, 4, 7, 8, 9})
	var got []string
	for _, b := range h.Bins {
		got = append(got, fmt.Sprint(b.Label(), " ", b.Count))
	}
	if want := []string{"0 2", "1 1", "2–3 2", "4–7 2", "8–15 2"}; !slices.Equal(got, want) {
		t.Errorf("bins %q, want %q", got, want)
	}
	if empty := NewHistogram("x", "things", "parts", nil); len(empty.Bins) != 0 || empty.Width() <= 0 {
		t.Errorf("of nothing: %+v", empty)
	}
}

func TestCurves(t *testing.T) {
	var c Curves
	c.Add("a", []int{0, 1, 1, 5})
	c.Add("b", []int{0, 0})
	if got := fmt.Sprintf("%v %s %s %s %s %s", c.Limits(), c.Share(0, 0), c.Share(0, 1), c.Share(0, 3), c.Share(1, 0), c.Share(1, 3)); got != "[0 1 3 7] 25.0 % 75.0 % 100.0 % 100.0 % 100.0 %" {
		t.Error(got)
	}
	if c.Sets[0].Dash == c.Sets[1].Dash {
		t.Errorf("only their colours tell the curves apart")
	}
	if p := c.Path(0); p != "M68 238.2L120 100.8L172 100.8L224 32.0" {
		t.Error(p)
	}
	c.Unit, c.Size = "things", "parts"
	if got := c.Say(1); got != "At most 1 (parts): 75.0 % of the things of a, 100.0 % of the things of b" {
		t.Error(got)
	}
}

// TestGrid: the picture begins below the least share, and its lines are few and
// at round shares.
func TestGrid(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		want  string
	}{
		{[]int{1, 1}, "100 80 60 40 20 0"},
		{[]int{0, 0, 0, 1, 1}, "100 90 80 70 60"},
		{[]int{0, 0}, "100 98 96 94 92 90"},
		{nil, "100 98 96 94 92 90"},
	} {
		var curves Curves
		curves.Add("a", c.sizes)
		var got []string
		for _, g := range curves.Grid() {
			got = append(got, fmt.Sprint(g.Percent))
			if g.Y < curveTop || g.Y > curves.Base() {
				t.Errorf("%v: %d is outside of the picture", c.sizes, g.Y)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v: lines at %v, want %s", c.sizes, got, c.want)
		}
	}
}

func TestDataCannotEndItsElement(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, Document{Data: []Data{{ID: "x", Text: "</script>"}}}); err == nil || !strings.Contains(err.Error(), "the data x") {
		t.Errorf("%v", err)
	}
}
