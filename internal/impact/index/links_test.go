// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// linked is a build whose objects are linked: a, b and c into a module, as
// kbuild does, d and lib/e into archives.
func linked(t *testing.T) string {
	t.Helper()
	const setup = `
int g(int);
static __attribute__((noinline)) int setup(int x) { return g(x) + %d; }
%s int uses_%s(int x) { return setup(x) * setup(x + 1); }
__attribute__((weak)) int maybe(int x) { return x; }
`
	sources := map[string]string{}
	for i, name := range []string{"m/a", "m/b", "d", "lib/e_with_a_long_name"} {
		sources[name+".c"] = fmt.Sprintf(setup, i, "", filepath.Base(name))
	}
	sources["m/c.c"] = "int maybe(int x) { return x + 1; }\nint own(int x) { return x * 3; }\n"
	sources["m/m.mod"] = "m/a.o\nm/b.o\nm/c.o\n"
	dir := build(t, sources)
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("ld", "-r", "-o", "m/m.ko", "m/a.o", "m/b.o", "m/c.o")
	run("ar", "cDPrST", "lib/built-in.a", "lib/e_with_a_long_name.o")
	run("ar", "cDPrST", "built-in.a", "d.o", "lib/built-in.a")
	return dir
}

func TestPositionsInAModule(t *testing.T) {
	q := open(t, linked(t))
	for spec, want := range map[string]string{
		"m/a.c:setup": "m 1 ", "m/b.c:setup": "m 2 ", "uses_a": "m 0 ", "own": "m 0 ",
		"m/c.c:maybe": "m 0 ", "m/a.c:maybe": "m 0 " + sympWhy[sympAbsent], // overridden
		"d.c:setup": "vmlinux 0 " + sympWhy[sympNoImage], "lib/e_with_a_long_name.o:setup": "vmlinux 0 " + sympWhy[sympNoImage],
	} {
		f, err := q.Find(spec)
		if err != nil {
			t.Fatal(err)
		}
		a, err := q.Answer(f)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(a.Symbols, func(s Symbol) bool { return s.Own })
		if i < 0 {
			t.Errorf("%s has no symbol", spec)
			continue
		}
		s := a.Symbols[i]
		if got := fmt.Sprintf("%s %d %s", s.Object, s.Sympos, s.SymposWhy); got != want {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
	// An object settles a clash.
	if f, err := q.Find("m:own"); err != nil || f.File != "m/c.c" {
		t.Errorf("m:own: %+v, %v", f, err)
	}
	if _, err := q.Find("vmlinux:own"); err == nil {
		t.Error("vmlinux:own is found")
	}
}

func TestTwins(t *testing.T) {
	q := open(t, build(t, map[string]string{"a.c": `
int g(int);
static __attribute__((noinline)) int one(int x) { return g(x) * 3 + g(x + 1); }
static __attribute__((noinline)) int two(int x) { return g(x) * 3 + g(x + 1); }
int body(int x) { return g(x) + 7; }
int alias(int) __attribute__((alias("body")));
int uses(int x) { return one(x) + two(x + 1) + body(x); }
`}))
	for name, want := range map[string]string{"body": "alias", "alias": "body", "two": "one"} {
		f, err := q.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := q.Answer(f)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, s := range a.Symbols {
			found = found || s.Own && slices.Contains(s.Twins, want)
		}
		if !found {
			t.Errorf("%s: no own symbol with the twin %s in %+v", name, want, a.Symbols)
		}
	}
	// Who depends on the body depends on the alias, which no dump names.
	wantUses := func(name string) {
		t.Helper()
		if got := ask(t, q, name); !slices.Contains(got, "a.o uses inlined") {
			t.Errorf("%s: %q", name, got)
		}
	}
	wantUses("body")
	wantUses("alias")
}

func TestDifferences(t *testing.T) {
	dir := build(t, sources)
	data, err := Build(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	old, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	now := open(t, dir)
	if diff, err := Differences(old, now.x); err != nil || len(diff) != 0 {
		t.Errorf("the same build: %q, %v", diff, err)
	}
	write(t, filepath.Join(dir, "a/one.c"), sources["a/one.c"]+"int more(int x) { return uses(x); }\n")
	compile(t, dir, "a/one.c")
	write(t, filepath.Join(dir, "new.c"), "int fresh(int x) { return x; }\n")
	compile(t, dir, "new.c")
	diff, err := Differences(old, open(t, dir).x)
	if err != nil || !slices.Equal(diff, []string{"a/one.o: another compile", "new.o: not in the index"}) {
		t.Errorf("another build: %q, %v", diff, err)
	}
}
