// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const source = `
int g(int); int h;
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
int other(int x) { return g(x); }
static __attribute__((noinline)) int special(int x, int y) { return g(x) + y; }
int uses(int x) { return special(x, 7) + special(x + 1, 7); }
`

func dump(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc-12", "-O2", "-c", "-fdump-ipa-clones="+filepath.Join(dir, "dump"), "a.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "dump"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPath(t *testing.T) {
	c, err := ParseClones(dump(t))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Path("leaf", "top"); len(p) == 0 || p[len(p)-1].To.Name != "top" || p[0].From.Name != "leaf" {
		t.Errorf("leaf reached top by %v", p)
	}
	if p := c.Path("leaf", "other"); p != nil {
		t.Errorf("leaf reached other by %v", p)
	}
	if r := c.Reached("leaf"); !r["middle"] || !r["top"] || r["other"] {
		t.Errorf("leaf reached %v, want middle and top", r)
	}
	found := false
	for _, cl := range c.Clones {
		found = found || cl.From.Name == "special" && cl.Kind == "constprop"
	}
	if !found {
		t.Errorf("no constprop clone of special in %v", c.Clones)
	}
}

// TestAsmLabel: a function whose symbol has another name than its source.
func TestAsmLabel(t *testing.T) {
	c, err := ParseClones([]byte("Callgraph clone;*other;1;f.c;1;1;b;2;f.c;2;2;inlining to\n"))
	if err != nil || !c.Reached("other")["b"] {
		t.Errorf("%+v, %v: other did not reach b", c, err)
	}
}

func TestDamagedDumps(t *testing.T) {
	const clone, removal = "Callgraph clone;a;1;f.c;1;1;b;2;f.c;2;2;inlining to\n", "Callgraph removal;a;1;f.c;1;1\n"
	for _, c := range []struct{ dump, says string }{
		{clone + clone[:30], "line 2: the dump ends within the line"},
		{clone + removal[:len(removal)-1], "line 2: the dump ends within the line"},
		{clone + "Callgraph removal;a;1;f.c;1;Callgraph clone;1\n", "line 2: no clone and no removal record"},
		{"Callgraph removal;a;b;1;f.c;1;1\n", "a name or path holds a semicolon"},
		{"Callgraph removal;a;99999999999;f.c;1;1\n", "line 1"},
		{"Callgraph removal;a;-1;f.c;1;1\n", "line 1"},
		{"Callgraph removal;;1;f.c;1;1\n", "line 1"},
		{strings.Replace(clone, "inlining to", "outlining to", 1), "unknown operation \"outlining to\""},
		{"\n", "line 1"},
		{"Callgraph removal;a\x00b;1;f.c;1;1\n", "NUL byte"},
		{"Callgraph removal;" + strings.Repeat("a", maxDumpLine) + ";1;f.c;1;1\n", "more than the limit"},
	} {
		_, err := ParseClones([]byte(c.dump))
		var de *DumpError
		if !errors.As(err, &de) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.60q: %v, want an error with %q", c.dump, err, c.says)
		}
	}
}

func TestScanningAllocatesNothing(t *testing.T) {
	d := dump(t)
	n := 0
	if a := testing.AllocsPerRun(10, func() {
		for s := ScanDump(d); s.Next(); n++ {
		}
	}); a != 0 || n == 0 {
		t.Errorf("%v allocations for %d lines", a, n)
	}
}

func FuzzParseClones(f *testing.F) {
	f.Add([]byte("Callgraph clone;a;1;f.c;1;1;b;2;f.c;2;2;inlining to\nCallgraph removal;a;1;f.c;1;1\n"))
	f.Add([]byte("Callgraph clone;a;x"))
	f.Add([]byte("Callgraph removal;a;999999999;;0;0\n"))
	f.Add([]byte("Callgraph clone;a;1;f;1;1;a;2;f;1;1;(null)\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseClones(b)
		if (err == nil) != (c != nil) {
			t.Fatalf("result %v with error %v", c, err)
		}
		if err == nil && len(c.Clones)+len(c.Removed) != bytes.Count(b, []byte("\n")) {
			t.Fatalf("%d clones and %d removals of %q", len(c.Clones), len(c.Removed), b)
		}
	})
}
