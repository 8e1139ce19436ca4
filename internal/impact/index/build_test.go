// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/impact"
	"kmend/internal/object"
)

// flags are the kernel's as far as they matter here.
var flags = []string{"-O2", "-pg", "-mfentry", "-fno-pie", "-fdump-ipa-clones", "-c"}

// build compiles each source of a build with gcc-12, in a directory of its own.
func build(t testing.TB, sources map[string]string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range sources {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, p, text)
	}
	for name := range sources {
		if strings.HasSuffix(name, ".c") {
			compile(t, dir, name, more...)
		}
	}
	return dir
}

func compile(t testing.TB, dir, name string, more ...string) {
	t.Helper()
	cmd := exec.Command("gcc-12", slices.Concat(flags, more, []string{"-o", strings.TrimSuffix(name, ".c") + ".o", name})...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12 %s: %v\n%s", name, err, out)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// open builds and opens the index of a directory, and verifies it.
func open(t testing.TB, dir string) *Query {
	t.Helper()
	data, err := Build(context.Background(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	x, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Verify(); err != nil {
		t.Fatal(err)
	}
	return x.NewQuery()
}

// ask is the answer for a function as "unit symbol kind/kind", own symbols as
// "unit symbol own".
func ask(t testing.TB, q *Query, spec string) []string {
	t.Helper()
	f, err := q.Find(spec)
	if err != nil {
		t.Fatal(err)
	}
	a, err := q.Answer(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range a.Symbols {
		text := s.Unit + " " + s.Name
		for _, e := range s.Chain {
			text += " " + e.Kind.String()
		}
		if s.Own {
			text += " own"
		}
		out = append(out, text)
	}
	return out
}

func want(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

var sources = map[string]string{
	"inc/h.h": `
extern int g(int);
static inline int shared(int x) { return g(x) * 7; }
`,
	"a/one.c": `
#include "../inc/h.h"
int h;
struct s { int a, b; };
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
int other(int x) { return g(x); }
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1) + shared(h); }
static int twice(int x) { return g(x) - 3; }
int uses(int x) { return twice(x); }
`,
	"b/two.c": `
#include "../inc/h.h"
static int twice(int x) { return g(x) - 4; }
int uses2(int x) { return twice(x); }
int uses3(int x) { return shared(x) + 1; }
static int __attribute__((used)) alone(int x) { return x; }
__attribute__((section(".init.text"))) int start(int x) { return shared(x) - 8; }
__attribute__((no_instrument_function)) int quiet(int x) { return shared(x) - 9; }
`,
}

func TestAnswers(t *testing.T) {
	for _, more := range [][]string{nil, {"-ffunction-sections"}} {
		q := open(t, build(t, sources, more...))
		want(t, "leaf", ask(t, q, "leaf"), "a/one.o top inlined inlined")
		want(t, "other", ask(t, q, "other"), "a/one.o other own")
		want(t, "fields", ask(t, q, "fields"), "a/one.o caller isra calls", "a/one.o caller2 isra calls", "a/one.o fields.isra.0 isra own")
		want(t, "shared", ask(t, q, "shared"), "a/one.o caller2 inlined", "b/two.o quiet inlined", "b/two.o start inlined", "b/two.o uses3 inlined")
		want(t, "two.c:shared", ask(t, q, "two.c:shared"), "b/two.o quiet inlined", "b/two.o start inlined", "b/two.o uses3 inlined")
		want(t, "h.h:shared", ask(t, q, "h.h:shared"), ask(t, q, "shared")...)
		want(t, "one.c:twice", ask(t, q, "one.c:twice"), "a/one.o uses inlined")
		want(t, "b/two.o:twice", ask(t, q, "b/two.o:twice"), "b/two.o uses2 inlined")
		want(t, "alone", ask(t, q, "alone"), "b/two.o alone own")
	}
}

func TestSymbolFlags(t *testing.T) {
	q := open(t, build(t, sources))
	for name, flags := range map[string]string{"uses3": "fentry", "start": "fentry init", "quiet": ""} {
		f, err := q.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := q.Answer(f)
		if err != nil || len(a.Symbols) != 1 {
			t.Fatalf("%s: %+v, %v", name, a, err)
		}
		s := a.Symbols[0]
		var got []string
		if s.Flags.Fentry() {
			got = append(got, "fentry")
		}
		if s.Flags.Init() {
			got = append(got, "init")
		}
		if strings.Join(got, " ") != flags || !s.Flags.Global() || s.SymposWhy == "" {
			t.Errorf("%s: %q, %+v; want %q", name, got, s, flags)
		}
	}
}

func TestNamesByPrefix(t *testing.T) {
	q := open(t, build(t, sources))
	all, err := q.Names("")
	if err != nil || !slices.Contains(all, "leaf") || !slices.Contains(all, "twice") || !slices.IsSorted(all) {
		t.Fatalf("all names: %q, %v", all, err)
	}
	for _, prefix := range []string{"l", "leaf", "tw", "zz"} {
		got, err := q.Names(prefix)
		want := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return !strings.HasPrefix(n, prefix) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q (%v), want %q", prefix, got, err, want)
		}
	}
}

func TestAmbiguousAndUnknown(t *testing.T) {
	q := open(t, build(t, sources))
	_, err := q.Find("twice")
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || len(ambiguous.Candidates) != 2 {
		t.Fatalf("twice: %v", err)
	}
	for _, c := range ambiguous.Candidates {
		if _, err := q.Find(c.Select); err != nil {
			t.Errorf("what the error says to ask for: %v", err)
		}
	}
	for spec, near := range map[string]string{"laef": "leaf", "two.c:leaf": "a/one.c:leaf", "nothing.c:leaf": "a/one.c:leaf"} {
		_, err := q.Find(spec)
		var unknown *impact.UnknownError
		if !errors.As(err, &unknown) || !slices.Contains(unknown.Near, near) {
			t.Errorf("%s: %v, want an error that names %s", spec, err, near)
		}
	}
	if _, err := q.Find(""); err == nil {
		t.Error("the empty name is a function")
	}
}

// TestSameAsUnit: the index says of each function of a unit what package impact
// says.
func TestSameAsUnit(t *testing.T) {
	dir := build(t, sources)
	if d := os.Getenv("KMEND_TEST_DUMPS"); d != "" {
		dir = d // a whole build
	}
	compareWithUnits(t, open(t, dir), dir)
}

func compareWithUnits(t *testing.T, q *Query, dir string) {
	tr, err := walk(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	functions, symbols := 0, 0
	for o, d := range tr.dumps {
		if !tr.objects[o] {
			continue
		}
		u := readUnit(t, filepath.Join(dir, d), filepath.Join(dir, o))
		for _, name := range u.Functions() {
			list, err := u.Impacted(name)
			if err != nil {
				t.Fatal(err)
			}
			got, own := closureOf(t, q, o, name)
			var syms []string
			for _, i := range list {
				syms = append(syms, i.Symbol)
			}
			slices.Sort(syms)
			if !slices.Equal(got, syms) {
				t.Errorf("%s of %s: index %q, unit %q", name, o, got, syms)
			}
			wantOwn := u.Symbols(name)
			slices.Sort(wantOwn)
			if f := u.Func(name); !slices.Equal(own, wantOwn) && (f == nil || len(f.Twins) == 0) { // an alias stands for its twins
				t.Errorf("%s of %s: own symbols %q, unit %q", name, o, own, wantOwn)
			}
			functions++
			symbols += len(syms)
		}
	}
	if functions < 10 || symbols < 5 {
		t.Fatalf("compared only %d functions with %d symbols", functions, symbols)
	}
	t.Logf("%d functions, %d impacted symbols", functions, symbols)
}

// closureOf are the symbols that the index has for a function of one unit, but
// for itself, and those that hold its body.
func closureOf(t *testing.T, q *Query, unit, name string) (all, own []string) {
	t.Helper()
	number, ok := q.lookup([]byte(name))
	if !ok {
		t.Fatalf("the index does not know %s", name)
	}
	f := &Function{Name: name}
	from, to := q.named(number)
	for i := from; i < to; i++ {
		id := q.u32(secNameNodes, i)
		if u := q.unit(q.node(id).unit); q.str(u.path) == unit {
			f.nodes = append(f.nodes, id)
		}
	}
	a, err := q.Answer(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range a.Symbols {
		if len(s.Chain) > 0 {
			all = append(all, s.Name)
		}
		if s.Own {
			own = append(own, s.Name)
		}
	}
	slices.Sort(all)
	slices.Sort(own)
	return all, own
}

func readUnit(t *testing.T, dump, obj string) *impact.Unit {
	t.Helper()
	d, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(obj)
	if err != nil {
		t.Fatal(err)
	}
	o, err := object.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	u, err := impact.NewUnit(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestSameBytes(t *testing.T) {
	dir := build(t, sources)
	var first []byte
	for i := range 5 {
		data, err := Build(context.Background(), Options{Dir: dir + strings.Repeat("/", i)})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = data
		} else if !bytes.Equal(first, data) {
			t.Fatal("the same build gives another index")
		}
	}
	moved := filepath.Join(t.TempDir(), "elsewhere")
	if out, err := exec.Command("cp", "-r", dir, moved).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if data, err := Build(context.Background(), Options{Dir: moved}); err != nil || !bytes.Equal(first, data) {
		t.Errorf("the build at another place gives another index (%v)", err)
	}
}

func TestStaleUnits(t *testing.T) {
	dir := build(t, sources)
	dump := filepath.Join(dir, "a/one.c.000i.ipa-clones")
	obj := filepath.Join(dir, "a/one.o")
	st, err := os.Stat(obj)
	if err != nil {
		t.Fatal(err)
	}
	made := st.ModTime()
	for _, c := range []struct {
		what  string
		harm  func()
		flags UnitFlags
	}{
		{"nothing", func() {}, 0},
		{"older dump", func() { chtime(t, obj, made.Add(time.Hour)) }, DumpOlder},
		{"newer dump", func() { chtime(t, obj, made); chtime(t, dump, made.Add(time.Hour)) }, DumpNewer},
		{"no dump", func() { os.Remove(dump) }, NoDump},
		{"empty dump", func() { write(t, dump, "") }, Mismatch},
		{"no object", func() { os.Remove(obj) }, NoObject},
	} {
		c.harm()
		q := open(t, dir)
		list, err := q.StaleUnits()
		if err != nil {
			t.Fatal(err)
		}
		var got UnitFlags
		for _, s := range list {
			if s.Unit != "a/one.o" {
				t.Errorf("%s: %+v", c.what, s)
			}
			got |= s.Flags
		}
		if got != c.flags {
			t.Errorf("%s: flags %#x, want %#x", c.what, got, c.flags)
		}
		if c.flags == 0 || c.what == "no object" {
			continue
		}
		f, err := q.Find("top")
		if err != nil {
			t.Fatal(err)
		}
		if a, err := q.Answer(f); err != nil || len(a.Stale) != 1 || a.Stale[0].Flags.String() == "" {
			t.Errorf("%s: the answer for top does not say so: %+v, %v", c.what, a, err)
		}
	}
}

func chtime(t *testing.T, name string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(name, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestBadInput(t *testing.T) {
	const line = "Callgraph clone;a;1;f.c;1;1;b;2;f.c;2;2;inlining to\n"
	for _, c := range []struct{ name, dump, says string }{
		{"cut", line + line[:40], "a/one.c.000i.ipa-clones: line 2: the dump ends within the line"},
		{"two compiles", line + strings.Replace(line, ";b;2;", ";c;2;", 1), "one.c.000i.ipa-clones: line 2: order 2 is c here and b above"},
		{"semicolon", strings.Replace(line, ";b;", ";b;x;", 1), "one.c.000i.ipa-clones: line 1"},
		{"binary", "\x00\x01\n", "one.c.000i.ipa-clones: line 1"},
	} {
		dir := build(t, sources)
		write(t, filepath.Join(dir, "a/one.c.000i.ipa-clones"), c.dump)
		_, err := Build(context.Background(), Options{Dir: dir})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.says)
		}
	}
	dir := build(t, sources)
	write(t, filepath.Join(dir, "a/one.o"), "\x7fELF no object")
	if _, err := Build(context.Background(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "a/one.o") {
		t.Errorf("a damaged object: %v", err)
	}
	if _, err := Build(context.Background(), Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "-fdump-ipa-clones") {
		t.Errorf("no dumps: %v", err)
	}
	write(t, filepath.Join(dir, "a/one.i.000i.ipa-clones"), "")
	if _, err := Build(context.Background(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "both dumps of a/one.o") {
		t.Errorf("two dumps of one object: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Build(ctx, Options{Dir: build(t, sources)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestManyBadFilesAreNamedShortly(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		write(t, filepath.Join(dir, fmt.Sprintf("u%02d.c.000i.ipa-clones", i)), "x\n")
	}
	_, err := Build(context.Background(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "u00.c") || !strings.Contains(err.Error(), "20 more files") {
		t.Errorf("%v", err)
	}
}
