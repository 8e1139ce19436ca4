// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"slices"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/delta"
)

func TestPick(t *testing.T) {
	all := [][]string{{"a", "b", "c", "d"}, {"e"}, {"f", "g"}}
	picked := Pick(all, 5, 1)
	if len(picked[0]) != 2 || !slices.Equal(picked[1], all[1]) || !slices.Equal(picked[2], all[2]) {
		t.Errorf("%q, want one of each in turn until there are 5", picked)
	}
	if again := Pick(all, 5, 1); !slices.Equal(again[0], picked[0]) {
		t.Errorf("seed 1 gives %q, and %q", picked, again)
	}
	if most := Pick(all, 100, 1); len(most[0]) != 4 || len(most[2]) != 2 {
		t.Errorf("%q, want all", most)
	}
}

func TestRunAndSum(t *testing.T) {
	cc := &gccUnit{"gcc-12", killSource, t.TempDir()}
	var plain []*Report
	for _, text := range []string{killSource, israSource, rangeSource} {
		cc.text = text
		r, err := Run(t.Context(), cc, "a.c", nil, Level{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, r)
	}
	s := Sum("plain", plain)
	// set -> user is a fact; caller and caller2 call a clone of fields.
	if s.Units != 3 || s.Functions != 10 || s.Fact != 1 || s.UnsafeIn != 1 || s.Hits != 2 || s.CloneCallers != 2 ||
		s.Predicted != 2 || s.Observed != 3 || s.Depended != 2 || s.NarrowedFact != 1 || s.Statics != 1 {
		t.Errorf("%+v", s)
	}
	cc.text = killSource
	r, err := Run(t.Context(), cc, "a.c", []string{"set"}, level(t, compiler.InlineClone), Options{})
	if err != nil || len(r.Functions) != 1 || len(r.Functions[0].Missed) != 0 {
		t.Errorf("%+v %v, want no fact at inline-clone", r, err)
	}
	// A unit that does not compile at a level is a result; at plain it is an error.
	cc.text = "int f(void) { int nowhere_defined(void)\n"
	if r, err := Run(t.Context(), cc, "a.c", nil, level(t, compiler.None), Options{}); err != nil || r.Failed == "" || Sum("none", []*Report{r}).Failed != 1 {
		t.Errorf("%+v %v, want the reason why it does not compile", r, err)
	}
	if _, err := Run(t.Context(), cc, "a.c", nil, Level{}, Options{}); err == nil {
		t.Error("at plain a unit that does not compile is no error")
	}
}

// TestRenumber: when the first clone of a function is not made, the second gets
// its number, and is still compared with itself.
func TestRenumber(t *testing.T) {
	const common = `
int g(int);
static __attribute__((noinline)) int work(int x, int how) { int i, r = 0; for (i = 0; i < x; i++) r += how == 3 ? g(i) : g(i * how); return r; }
int other(int x, int y) { return work(x, y); }
`
	const first = "int a(int x) { return work(x, 3) + work(x + 1, 3) + work(x + 2, 3); }\n"
	const second = "int b(int x) { return work(x, 5) + work(x + 1, 5) + work(x + 2, 5); }\n"
	flags := Options{Flags: []string{"-O3"}}
	both := open(t, "gcc-12", common+first+second, flags)
	wrong := 0
	for _, text := range []string{common + first, common + second} {
		one := open(t, "gcc-12", text, flags)
		wrong += len(delta.Compare(both.base, one.base).Changed)
		renumber(both.base.File, one.base.File)
		u, err := delta.NewUnit(one.base.File)
		if err != nil {
			t.Fatal(err)
		}
		r := delta.Compare(both.base, u)
		for _, c := range r.Changed {
			t.Errorf("%s: %s", c.Before.Name, c.What)
		}
		if len(r.Removed) != 2 { // a or b, and its clone
			t.Errorf("%d functions are gone, want 2", len(r.Removed))
		}
	}
	if wrong == 0 {
		t.Error("the clones have the right numbers anyway: the test shows nothing")
	}
}

func FuzzDefinedHere(f *testing.F) {
	f.Add([]byte("Callgraph clone;leaf;1;a.c;3;12;top;2;a.c;4;5;inlining to\nCallgraph removal;leaf;1;a.c;3;12\n"))
	f.Add([]byte("Callgraph clone;h;1;include/h.h;3;12;top.isra.0;2;a.c;4;5;isra\n;;;;;;;\n"))
	f.Fuzz(func(t *testing.T, dump []byte) {
		u := &Unit{Source: "a.c", clones: dump}
		for name, here := range u.definedHere() {
			if here && !bytes.Contains(dump, []byte("a.c")) {
				t.Errorf("%q is said to be defined in a file that the dump does not name", name)
			}
		}
	})
}
