// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The test objects: chains of inlining over a header, recursion, split and
// cloned functions, cold parts (a function in two ranges), names given by an
// asm label, a thread-local variable, short names (stored in .debug_info
// itself), a weak function and one defined in both files.
var sources = map[string]string{
	"inc/leaf.h": `
extern int outside(int); extern void die(void) __attribute__((cold, noreturn));
static inline int leaf(int x) { return outside(x) + 1; }
static inline int twig(int x) { return leaf(x) * 3; }
static inline int lf(int x) { return outside(x + 9); }
`,
	"a.c": `
#include "inc/leaf.h"
extern int h; __thread int local; struct s { int a, b, c[40]; };
static int branch(int x) { return twig(x) ^ leaf(x + 1); }
int top(int x) { return branch(x) + h; }
int other(int x) { local += x; return outside(x) + lf(x); }
int labelled(int x) __asm__("other_name");
int labelled(int x) { return twig(x) + local; }
static __attribute__((noinline)) int special(int x, int y) { if (y == 7) return leaf(x) + y; return outside(x * y) - y; }
int uses(int x) { return special(x, 7) + special(x + 1, 7); }
static __attribute__((noinline)) int fields(struct s *p, int y) { return twig(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1); }
static int split(struct s *p, int n) {
	if (!p) return 0;
	for (int i = 0; i < n; i++) { p->c[i] = outside(p->c[i] * n); p->b += outside(i) * lf(p->a); if (p->b > 3) p->a ^= outside(p->b); }
	return outside(p->a) + outside(p->b) + outside(p->c[3]);
}
int split1(struct s *p) { return split(p, 4) + 1; }
int split2(struct s *p) { return split(p, h) + 2; }
int split3(struct s *p) { return split(p, 9) + 3; }
int freezing(struct s *p) { if (leaf(p->a) > 100) { p->b = leaf(p->c[3]); outside(p->b); die(); } return twig(p->a); }
static int down(int n) { return n <= 0 ? leaf(n) : down(n - 1) * outside(n) + down(n - 2); }
int recursion(int n) { return down(n); }
__attribute__((weak)) int both(int x) { return twig(x) + 5; }
static int same(int x) { return leaf(x) - 4; }
int in_a(int x) { return same(x); }
`,
	"b.c": `
#include "inc/leaf.h"
int h;
static inline __attribute__((always_inline)) int same(int x) { return twig(x) * 7; }
int both(int x) { return same(x); }
int in_b(int x) { int (*p)(int) = leaf; return p(x) + same(x) + both(x); }
`,
	"empty.c": "int nothing;\n",
	"asm.S":   ".globl assembled\n.type assembled,@function\nassembled: nop\n ret\n.size assembled,.-assembled\n",
	"main.c":  "int outside(int x) { return x; }\nvoid die(void) { for (;;); }\nvoid _start(void) { die(); }\n",
}

// writeSources writes the test sources into a fresh directory.
func writeSources(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range sources {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// command runs a command in a directory.
func command(t testing.TB, dir string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s(scripts/setup installs what is missing)", argv, err, out)
	}
}

// object compiles one source and returns the object file's bytes.
func object(t testing.TB, dir, compiler, source string, flags ...string) []byte {
	t.Helper()
	out := source + ".o"
	command(t, dir, append([]string{compiler, "-O2", "-fno-pie", "-c", "-o", out, source}, flags...)...)
	return read(t, filepath.Join(dir, out))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// scan reads all units of a file in memory.
func scan(t testing.TB, data []byte) []*Unit {
	t.Helper()
	f, err := New(data)
	if err != nil {
		t.Fatal(err)
	}
	units, err := f.Units(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return units
}
