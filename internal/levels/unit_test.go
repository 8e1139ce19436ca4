// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/kbuild"
	"kmend/internal/run"
)

// sources are small units that gcc-12 compiles in tests.
var sources = map[string]string{
	"h.h": `static inline int half(int x) { extern int g(int); return g(x) / 2; }
`,
	// leaf and middle are gone into top and other; fields becomes a clone with
	// two callers; alone has a body and nobody depends on it.
	"chain.c": `#include "h.h"
int g(int); int h;
struct s { int a, b; };
static int leaf(int x) { return g(x) + half(x); }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
int other(int x) { return leaf(x + 1); }
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1); }
int alone(int x) { return g(x) + 7; }
int alias(int x) __attribute__((alias("alone")));
__attribute__((cold)) int rare(int);
int split(int x) { if (x == 12345) return rare(x) + rare(x + 1); return x; }
`,
	// As mm/shmem.c does: it relies on a function that is not static being inlined.
	"bug.c": `int never(void) __attribute__((error("BUILD_BUG failed")));
int off(void) { return 0; }
int user(int x) { if (off()) return never(); return x; }
`,
	"broken.c": "int f(void) { return nothing; }\n",
}

// gcc compiles the units of sources as kbuild.Tree does, in a directory of the
// test. calls, if not nil, is told of each compile.
func gcc(t testing.TB, calls func(unit string, flags []string)) Compile {
	dir := t.TempDir()
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	return func(ctx context.Context, unit string, flags []string) (*kbuild.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		if calls != nil {
			calls(unit, flags)
		}
		object, dump := filepath.Join(dir, "out.o"), filepath.Join(dir, "clones")
		os.Remove(dump)
		argv := append([]string{"gcc-12", "-O2", "-pg", "-mfentry", "-fno-pie", "-ffunction-sections", "-fdump-ipa-clones=" + dump, "-c", "-o", object}, flags...)
		out, err := run.Run(ctx, run.Cmd{Argv: append(argv, unit), Dir: dir})
		if out == nil {
			return nil, err
		}
		if err != nil {
			return nil, &kbuild.CompileError{Source: unit, Original: true, Log: string(out.Stderr), Err: err}
		}
		r := &kbuild.Result{Steps: []kbuild.Step{{Name: "gcc", CPU: out.CPU}}}
		if r.Object, err = os.ReadFile(object); err != nil {
			return nil, err
		}
		if r.Clones, err = os.ReadFile(dump); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		return r, nil
	}
}

func count(t *testing.T, unit string, level compiler.Level) *unitCounts {
	t.Helper()
	flags, err := gcc12(t).LevelFlags(t.Context(), level)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gcc(t, nil)(t.Context(), unit, flags)
	if err != nil {
		t.Fatal(err)
	}
	c, err := countUnit(r.Object, r.Clones)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func gcc12(t testing.TB) *compiler.Compiler {
	t.Helper()
	c, err := compiler.Identify(t.Context(), []string{"gcc-12"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCountUnit(t *testing.T) {
	c := count(t, "chain.c", compiler.Plain)
	own := (&measuredUnit{counts: []*unitCounts{c}}).own()
	if want := []string{"alias", "alone", "caller", "caller2", "fields", "leaf", "middle", "other", "split", "top"}; !slices.Equal(own, want) {
		t.Errorf("own functions %q, want %q", own, want)
	}
	if !c.header["half"] || c.own["half"] {
		t.Errorf("half is of the header: own %v, header %v", c.own["half"], c.header["half"])
	}
	// fields.isra.0 is fields itself; its callers depend on its interface.
	want := map[string]int{"leaf": 2, "middle": 1, "fields": 2}
	if !maps.Equal(c.impacted, want) {
		t.Errorf("impacted %v, want %v", c.impacted, want)
	}
	bodies := slices.Sorted(maps.Keys(c.bodies))
	if want := []string{"alias", "alone", "caller", "caller2", "fields", "other", "split", "top"}; !slices.Equal(bodies, want) {
		t.Errorf("functions with a body %q, want %q", bodies, want)
	}
	// The alias and the cold part of split are no bodies of their own.
	if c.functions != 7 || c.clones != 1 {
		t.Errorf("%d bodies, %d clones, want 7 and 1", c.functions, c.clones)
	}
}

func TestTextIsWhatSizeSays(t *testing.T) {
	r, err := gcc(t, nil)(t.Context(), "chain.c", nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.o")
	if err := os.WriteFile(file, r.Object, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := run.Run(t.Context(), run.Cmd{Argv: []string{"nm", "-S", "--defined-only", file}})
	if err != nil {
		t.Fatal(err)
	}
	var want int64
	for line := range strings.Lines(string(out.Stdout)) {
		f := strings.Fields(line) // value size type name
		if len(f) != 4 || f[3] == "alias" || !strings.ContainsAny(f[2], "tT") {
			continue
		}
		want += hex(t, f[1])
	}
	c, err := countUnit(r.Object, r.Clones)
	if err != nil {
		t.Fatal(err)
	}
	if c.text != want || want == 0 {
		t.Errorf("%d bytes of text, nm adds up to %d", c.text, want)
	}
}

func TestCountAtNone(t *testing.T) {
	c := count(t, "chain.c", compiler.None)
	if len(c.impacted) != 0 || c.clones != 0 || !c.bodies["leaf"] || !c.bodies["middle"] {
		t.Errorf("at none: impacted %v, %d clones, bodies %v", c.impacted, c.clones, c.bodies)
	}
	// The dump of this level does not know that half is from a header; that of
	// another level does.
	both := &measuredUnit{counts: []*unitCounts{count(t, "chain.c", compiler.Plain), c}}
	if slices.Contains(both.own(), "half") {
		t.Error("half counts as a function of the unit, although it is from a header")
	}
}

func TestCountUnitRefusesWhatItCannotRead(t *testing.T) {
	r, err := gcc(t, nil)(t.Context(), "chain.c", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := countUnit(r.Object[:len(r.Object)/2], r.Clones); err == nil {
		t.Error("half an object was counted")
	}
	if _, err := countUnit(r.Object, append(slices.Clone(r.Clones), "Callgraph clone;x\n"...)); err == nil {
		t.Error("a damaged dump was counted")
	}
}
