// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/impact/index"
	"kmend/internal/report/page"
)

// odd is a name that would be markup, if it were not escaped.
const odd = `<img src=x onerror=document.body.dataset.pwned=1>.c`

var sources = map[string]string{
	"inc.h": "extern int g(int);\nstatic inline int shared(int x) { return g(x) * 7; }\n",
	"one.c": `#include "inc.h"
int h;
struct s { int a, b; };
static int leaf(int x) { return g(x) + 1; }
static int middle(int x) { return leaf(x) * 3; }
int top(int x) { return middle(x) + h; }
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1) + shared(h); }
static int __attribute__((noinline)) down(int n) { return n < 2 ? g(n) : down(n - 1) + down(n - 2) + h; }
int dives(int n) { return down(n) + 1; }
int real(int x) { return g(x) - 8; }
int other(int x) __attribute__((alias("real")));
`,
	"two.c": `#include "inc.h"
static int twice(int x) { return g(x) - 4; }
int uses2(int x) { return twice(x); }
int uses3(int x) { return shared(x) + 1; }
__attribute__((section(".init.text"))) int start(int x) { return shared(x) - 8; }
__attribute__((no_instrument_function)) int quiet(int x) { return shared(x) - 9; }
`,
	odd: "int g(int);\nstatic int strange(int x) { return g(x) + 3; }\nint estranged(int x) { return strange(x); }\n",
}

// build compiles the sources as a kernel is, with dumps, and opens their index.
func build(t testing.TB, more ...string) *index.Index {
	t.Helper()
	x, err := index.Parse(buildData(t, more...))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// buildData is the index as it is in a file.
func buildData(t testing.TB, more ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range sources {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name := range sources {
		if filepath.Ext(name) != ".c" {
			continue
		}
		argv := append([]string{"-O2", "-pg", "-mfentry", "-fno-pie", "-fdump-ipa-clones", "-c", "-o", strings.TrimSuffix(name, ".c") + ".o", name}, more...)
		cmd := exec.Command("gcc-12", argv...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("gcc-12 %s: %v\n%s", name, err, out)
		}
	}
	data, err := index.Build(t.Context(), index.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, in Input) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(t.Context(), &b, in); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheSameIndexGivesTheSameBytes(t *testing.T) {
	x := build(t)
	in := Input{Builds: []Build{{"first", x}, {"again", x}}}
	html := write(t, in)
	if write(t, in) != html {
		t.Error("written twice, the page differs")
	}
	if strings.Contains(html, "<img") || strings.Count(html, "<script>") != 3 {
		t.Error("a name of the build became markup")
	}
	for _, want := range []string{"In again fewer symbols depend on 0 of them, more on 0", "The worst twenty", "p99"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestCompare: where nothing is copied or cloned, nobody depends on anybody.
func TestCompare(t *testing.T) {
	html := write(t, Input{Builds: []Build{{"plain", build(t)}, {"none", build(t, "-fno-inline", "-fno-ipa-sra", "-fno-ipa-cp", "-fno-partial-inlining")}}})
	for _, want := range []string{"none against plain", "more on 0", "Largest changes of functions in C files", `one.c:4:leaf"><code>leaf</code></a></th>`} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestCompareTellsFunctionsApart: by name and file; one that a file has twice is
// none of both.
func TestCompareTellsFunctionsApart(t *testing.T) {
	graph := func(counts ...int) *index.Graph {
		g := &index.Graph{Counts: counts}
		for i, f := range []index.Function{{Name: "up", File: "a.c", Line: 3}, {Name: "down", File: "./h.h", Line: 4}, {Name: "same", File: "a.c"}, {Name: "twice", File: "a.c", Line: 1}, {Name: "twice", File: "a.c", Line: 9}, {Name: "up", File: "b.c"}} {
			if i < len(counts) {
				g.Functions = append(g.Functions, &f)
			}
		}
		return g
	}
	c := compare("x", "y", graph(1, 9, 4, 1, 2, 7), graph(3, 2, 4, 5, 6))
	if c.Both != 3 || c.Fewer != 1 || c.More != 1 || c.Same != 1 || !slices.Equal(c.Counts, []int{3, 2, 4, -1, -1, -1}) {
		t.Errorf("%+v", c)
	}
	for i, want := range []change{{"up", "a.c", 3, 1, 3}, {"down", "./h.h", 4, 9, 2}} {
		if l := c.Lists[i].Changes; len(l) != 1 || l[0] != want {
			t.Errorf("%s: %+v, want %+v", c.Lists[i].Title, l, want)
		}
	}
}

func TestEncodedTextIsJSONWithoutMarkup(t *testing.T) {
	g, err := build(t).NewQuery().Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.Functions[0].Name = "</script>\u202e"
	data, err := encode(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got texts
	if err := json.Unmarshal([]byte(data[0].Text), &got); err != nil || strings.Contains(data[0].Text, "<") || got.Names[0] != `</script>\u202e` {
		t.Errorf("%v: %.200s", err, data[0].Text)
	}
	if err := page.Write(&bytes.Buffer{}, page.Document{Data: data}); err != nil {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	x := build(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, &bytes.Buffer{}, Input{Builds: []Build{{"x", x}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

const measured = `{"version": 1, "kernel": "6.1", "compiler": "gcc-12", "units": {"asked": 3, "counted": 2, "functions": 40, "levels": [
 {"level": "plain", "flags": [], "text_bytes": 1000, "text_ratio": 1, "impacted": {"any": 0.5, "mean": 1.25, "p50": 0, "p90": 2, "p99": 9, "max": 12}},
 {"level": "only-inline-static", "flags": ["-flive-patching=inline-only-static"], "text_bytes": 1100, "text_ratio": 1.1, "impacted": {"mean": 0.5, "p99": 3, "max": 4}}],
 "failures": [{"unit": "kernel/x.c", "level": "none", "reason": "inlining failed <b>", "log": ""}]},
 "runtimes": [{"level": "plain", "ratio": 1, "boots": 3}, {"level": "none", "error": "it does not boot"}]}`

func TestLevels(t *testing.T) {
	l, err := ReadLevels("l.json", strings.NewReader(measured))
	if err != nil {
		t.Fatal(err)
	}
	html := write(t, Input{Builds: []Build{{"x", build(t)}}, Levels: l})
	for _, want := range []string{"1.25, p99 9, at most 12", "&#43;10.00 % (1100 bytes)", "none: it does not boot", "inlining failed &lt;b&gt;", "2 of 3 units compile at every level"} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestReadLevelsRefuses(t *testing.T) {
	for what, c := range map[string]struct{ text, want string }{
		"text":    {"levels", "not what kmend levels --json prints"},
		"version": {`{"version": 3}`, "it has version 3"},
		"nothing": {`{"version": 1}`, "nothing was measured"},
		"level":   {strings.Replace(measured, "only-inline-static", "sideways", 1), "not what kmend levels --json prints"},
		"large":   {strings.Repeat(" ", maxLevels+1), "more than 32 MB"},
	} {
		if l, err := ReadLevels("l.json", strings.NewReader(c.text)); l != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// FuzzLevels: no measurement makes reading or showing it panic.
func FuzzLevels(f *testing.F) {
	f.Add([]byte(measured))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ReadLevels("l", bytes.NewReader(data))
		if err != nil {
			return
		}
		v := &view{Builds: []buildView{{Name: "x"}}, Levels: viewLevels(l)}
		var b bytes.Buffer
		if err := templates.ExecuteTemplate(&b, "explorer", v); err != nil || strings.Contains(b.String(), "<script") {
			t.Fatalf("%v\n%s", err, b.String())
		}
	})
}
