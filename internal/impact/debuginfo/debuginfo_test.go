// SPDX-License-Identifier: Apache-2.0

package debuginfo

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/dwarfscan"
	"kmend/internal/impact/index"
)

const source = `
int g(int); int h;
struct s { int a, b; };
static inline void stub(int x) { }
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { stub(x); return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
static __attribute__((noinline)) int fields(struct s *p, int y) { return leaf(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int lone(int x) { return x; }
`

// build compiles a C file with debug information and dumps.
func build(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc-12", "-O2", "-g", "-pg", "-mfentry", "-fno-pie", "-fdump-ipa-clones", "-c", "a.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	return dir
}

func symbols(t *testing.T, x *index.Index, name string) []string {
	t.Helper()
	q := x.NewQuery()
	f, err := q.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	a, err := q.Answer(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range a.Symbols {
		text := s.Name
		for _, e := range s.Chain {
			text += " " + e.Kind.String()
		}
		if f.File != "a.c" && name != "lone" { // which no copy ties to its unit
			t.Errorf("%s is defined in %q", name, f.File)
		}
		if s.Flags.Fentry() {
			text += " fentry"
		}
		out = append(out, text)
	}
	return out
}

func TestIndex(t *testing.T) {
	x, err := Index(context.Background(), filepath.Join(build(t, source), "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Verify(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"leaf":   {"fields.isra.0 inlined fentry", "top inlined inlined fentry"},
		"middle": {"top inlined fentry"},
		"fields": {"fields.isra.0 isra fentry"},
		"lone":   {"lone fentry"},
	} {
		if got := symbols(t, x, name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// stub left no instruction behind: debug information does not know that top
	// depends on it, which is why it is only a lower bound.
	if _, err := x.NewQuery().Find("stub"); err == nil {
		if got := symbols(t, x, "stub"); len(got) != 0 {
			t.Errorf("stub: %q", got)
		}
	}
}

func TestCompare(t *testing.T) {
	dir := build(t, source)
	obj := filepath.Join(dir, "a.o")
	compare := func() *Comparison {
		t.Helper()
		data, err := index.Build(context.Background(), index.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		x, err := index.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Compare(context.Background(), obj, x)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := compare(); c.Units != 1 || c.Unknown != 0 || c.Copies < 3 || len(c.Missing) != 0 {
		t.Errorf("dumps and debug information of one compile: %+v", c)
	}
	// A dump from which a line was lost.
	dump := filepath.Join(dir, "a.c.000i.ipa-clones")
	data, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, ";top;") {
			kept = append(kept, line)
		}
	}
	if err := os.WriteFile(dump, []byte(strings.Join(kept, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	c := compare()
	if !slices.Contains(c.Missing, Missing{"a.c", "leaf", "top"}) || !slices.Contains(c.Missing, Missing{"a.c", "middle", "top"}) {
		t.Errorf("a line is gone from the dump: %+v", c)
	}
	// Debug information of another program.
	if err := os.Rename(dump, filepath.Join(dir, "b.c.000i.ipa-clones")); err != nil {
		t.Fatal(err)
	}
	if c := compare(); c.Units+c.Unknown != 1 {
		t.Errorf("another build: %+v", c)
	}
}

func TestRefusals(t *testing.T) {
	dir := build(t, source)
	// A file with debug information alone, as objcopy makes them.
	alone := exec.Command("objcopy", "--only-keep-debug", "a.o", "alone.debug")
	alone.Dir = dir
	if out, err := alone.CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v\n%s", err, out)
	}
	if _, err := Index(context.Background(), filepath.Join(dir, "alone.debug")); err == nil || !strings.Contains(err.Error(), "its code is not in the file") {
		t.Errorf("debug information alone: %v", err)
	}
	if _, err := Index(context.Background(), filepath.Join(dir, "a.c")); err == nil || !strings.Contains(err.Error(), "ELF") {
		t.Errorf("a C file: %v", err)
	}
	if _, err := Index(context.Background(), filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	cmd := exec.Command("strip", "-g", filepath.Join(dir, "a.o"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	if _, err := Index(context.Background(), filepath.Join(dir, "a.o")); !errors.Is(err, dwarfscan.ErrNoDebugInfo) {
		t.Errorf("no debug information: %v", err)
	}
}
