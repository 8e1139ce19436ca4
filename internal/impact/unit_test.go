// SPDX-License-Identifier: Apache-2.0

package impact

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"kmend/internal/object"
)

// compile returns the unit that gcc-12 makes of a C source at -O2 -pg -mfentry.
func compile(t testing.TB, source string, flags ...string) *Unit {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.c"), source)
	args := append([]string{"-O2", "-pg", "-mfentry", "-fno-pie", "-c", "-fdump-ipa-clones=clones", "a.c"}, flags...)
	cmd := exec.Command("gcc-12", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	dump, err := os.ReadFile(filepath.Join(dir, "clones"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	obj, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	u, err := NewUnit(dump, obj)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// impacted is the list of a function as "symbol kind/kind".
func impacted(t testing.TB, u *Unit, name string) []string {
	t.Helper()
	list, err := u.Impacted(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list {
		s := i.Symbol
		for _, e := range i.Chain {
			s += " " + e.Kind.String()
		}
		out = append(out, s)
	}
	return out
}

const chainSource = `
int g(int); int h;
struct s { int a, b; };
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
int other(int x) { return g(x); }
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1); }
`

func TestImpacted(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ffunction-sections"}} {
		u := compile(t, chainSource, flags...)
		if got, want := impacted(t, u, "leaf"), []string{"top inlined inlined"}; !slices.Equal(got, want) {
			t.Errorf("%v: leaf: %q, want %q", flags, got, want)
		}
		if got := impacted(t, u, "other"); len(got) != 0 {
			t.Errorf("%v: other: %q, want none", flags, got)
		}
		// The dump does not say who calls the clone of fields; the object does.
		if got, want := impacted(t, u, "fields"), []string{"caller isra calls", "caller2 isra calls", "fields.isra.0 isra"}; !slices.Equal(got, want) {
			t.Errorf("%v: fields: %q, want %q", flags, got, want)
		}
		if got, want := u.Symbols("fields"), []string{"fields.isra.0"}; !slices.Equal(got, want) {
			t.Errorf("%v: symbols of fields: %q, want %q", flags, got, want)
		}
		if f := u.Func("top"); f == nil || !f.Fentry || f.Init || !f.Global {
			t.Errorf("%v: top is %+v", flags, f)
		}
	}
}

// TestAlias: an alias stands for the function that has the body.
func TestAlias(t *testing.T) {
	u := compile(t, `
int g(int);
int body(int x) { return g(x) + 1; }
int alias(int) __attribute__((alias("body")));
int host(int x) { return body(x); }
`)
	if got, want := impacted(t, u, "alias"), []string{"host inlined"}; !slices.Equal(got, want) {
		t.Errorf("alias: %q, want %q", got, want)
	}
}

func TestUnknownFunctionIsAnError(t *testing.T) {
	u := compile(t, chainSource)
	_, err := u.Impacted("leef")
	var unknown *UnknownError
	if !errors.As(err, &unknown) || !slices.Contains(unknown.Near, "leaf") {
		t.Errorf("leef: %v, want an error that names leaf", err)
	}
}

// TestInterfacesThatRestOnInterfaces: top passes nothing to middle, since middle
// only passes it on to bottom, which does not use it.
func TestInterfacesThatRestOnInterfaces(t *testing.T) {
	r := &randomUnit{t: t, dir: t.TempDir(), base: map[string]madeUnit{}, text: `
void ext(void); extern int g;
static __attribute__((noinline)) void bottom(int x, int y) { ext(); }
static __attribute__((noinline)) int middle(int x, int y) { bottom(g, y); ext(); return x + g; }
int top(int a, int b) { return middle(a, b * 5 + g) + 1; }
int top2(int a, int b) { return middle(b, a * 7) + 2; }
`}
	changed, u, _ := r.changed("bottom")
	if !slices.Contains(changed, "top") {
		t.Fatalf("hiding bottom changes %v: this compiler does not show the case", changed)
	}
	list, err := u.Impacted("bottom")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range changed {
		if !slices.ContainsFunc(list, func(i Impacted) bool { return i.Symbol == x }) {
			t.Errorf("hiding bottom changes %s, which is not among %v", x, list)
		}
	}
}
