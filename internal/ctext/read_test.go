// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// preprocess runs gcc -E in a directory with the files given, on a.c.
func preprocess(t testing.TB, cc string, files map[string]string, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(cc, append(append([]string{"-E", "-nostdinc", "-w"}, options...), "a.c")...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cc, err, stderr.String())
	}
	return out
}

// read is Read of what gcc-12 makes of a.c.
func read(t testing.TB, files map[string]string, options ...string) *Document {
	t.Helper()
	d, err := Read(preprocess(t, "gcc-12", files, append([]string{"-fdirectives-only"}, options...)...))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// at is where a piece of text is in a document, once.
func at(t testing.TB, d *Document, text string) int32 {
	t.Helper()
	if n := strings.Count(string(d.Text), text); n != 1 {
		t.Fatalf("%q is there %d times", text, n)
	}
	return int32(strings.Index(string(d.Text), text))
}

var tree = map[string]string{
	"first.h": "#define FIRST 1\nint in_first;\n",
	"a.c": `/* # define NOT 1
# define NOR 2 */
#include "x.h"
char *s = "# define"; # define D 3
#include "x.h"
/* c */ # define C 3
#define LONG(a, b...) do { /* why */ \
	f(a, b); \
} while (0) /* behind
 goes on */
#undef FIRST
int last; // \
#define NO 1
#if 0
#define NO 2
#endif
#define FIRST 2
#define FIRST 2
#pragma pack(1)
#line 100 "other.c"
int other;
`,
	"x.h": "\n#include \"y.h\"\nint in_x;\n",
	"y.h": "int in_y;\n",
}

func TestRead(t *testing.T) {
	d := read(t, tree, "-DCMD(x)=x+1", "-include", "first.h")
	var got []string
	for _, in := range d.Includes {
		name := d.Files[in.File]
		if in.Forced {
			name += " forced"
		}
		if in.Parent >= 0 {
			name += " in " + d.Files[d.Includes[in.Parent].File]
		}
		got = append(got, name)
		if in.Parent >= 0 && in.Line == 0 || in.To < in.From {
			t.Errorf("%+v", in)
		}
	}
	if g, want := strings.Join(got, ", "), "a.c, ./first.h forced, x.h in a.c, y.h in x.h, x.h in a.c, y.h in x.h"; strings.ReplaceAll(g, "./", "") != strings.ReplaceAll(want, "./", "") {
		t.Errorf("includes: %s\nwant %s", g, want)
	}
	if d.Includes[2].Line != 3 || d.Includes[3].Line != 2 || d.Includes[4].Line != 5 {
		t.Errorf("lines of #include: %+v", d.Includes)
	}
	for text, want := range map[string]struct {
		file    string
		line    int
		include int
	}{
		"int in_first": {"./first.h", 2, 1},
		"char *s":      {"a.c", 4, 0},
		"int last":     {"a.c", 12, 0},
		"int other":    {"other.c", 100, 0},
	} {
		off := at(t, d, text)
		file, line := d.Position(off)
		if d.Files[file] != want.file || line != want.line || d.IncludeAt(off) != want.include {
			t.Errorf("%s: %s:%d in %d, want %+v", text, d.Files[file], line, d.IncludeAt(off), want)
		}
	}
	if len(d.Pragmas) != 1 || string(d.Text[d.Pragmas[0].From:d.Pragmas[0].To]) != "#pragma pack(1)\n" {
		t.Errorf("pragmas: %v", d.Pragmas)
	}
}

func TestMacroAt(t *testing.T) {
	d := read(t, tree, "-DCMD(x)=x+1", "-include", "first.h")
	macro := func(name, where string) *Macro {
		return d.MacroAt(d.Names.Of(name), at(t, d, where))
	}
	for _, name := range []string{"NOT", "NOR", "NO", "D", "never_seen"} {
		if m := macro(name, "int other"); m != nil {
			t.Errorf("%s is defined: %+v", name, m)
		}
	}
	first, second := macro("FIRST", "char *s"), macro("FIRST", "int other")
	if first == nil || second == nil || macro("FIRST", "int last") != nil || first.Undef != at(t, d, "#undef FIRST") || second.Undef != -1 || len(second.Body) != 1 {
		t.Errorf("FIRST: %+v, %+v", first, second)
	}
	if m := macro("C", "int last"); m == nil || m.Predefined || m.FuncLike {
		t.Errorf("C: %+v", m)
	}
	if m := macro("CMD", "int last"); m == nil || !m.Predefined || !m.FuncLike || m.Variadic || len(m.Params) != 1 {
		t.Errorf("CMD: %+v", m)
	}
	if m := macro("__GNUC__", "int last"); m == nil || !m.Predefined || d.Names.Text(m.Body[0].Name) != "12" {
		t.Errorf("__GNUC__: %+v", m)
	}
	m := macro("LONG", "int last")
	if m == nil || !m.FuncLike || !m.Variadic || len(m.Params) != 2 || d.Names.Text(m.Params[1]) != "b" {
		t.Fatalf("LONG: %+v", m)
	}
	want := "#define LONG(a, b...) do { /* why */ \\\n\tf(a, b); \\\n} while (0)"
	if got := d.DefineText(m, []byte(tree["a.c"])); got != want {
		t.Errorf("%s", got)
	}
	for source, want := range map[string]string{
		"#define A 1 /* one */\n":                "#define A 1 /* one */",
		"#define A 1 // one \n":                  "#define A 1 // one",
		"  /* x */ #  define A \\\n\t1\t\\\n\n":  "#  define A \\\n\t1",
		"#define A /* one\n */ 1 /* x */ \\\n\n": "#define A /* one\n */ 1 /* x */",
		"#define A 1 /* one\n two */\n":          "#define A 1",
		"#define A\\\n":                          "#define A",
	} {
		d := read(t, map[string]string{"a.c": source})
		if got := d.DefineText(d.MacroAt('A', int32(len(d.Text))), []byte(source)); got != want {
			t.Errorf("%q: %q", source, got)
		}
	}
	for _, source := range []string{"", tree["x.h"], strings.Replace(tree["a.c"], "f(a, b)", "f(b, a)", 1), strings.Replace(tree["a.c"], "LONG(", "LONG (", 1)} {
		if got := d.DefineText(m, []byte(source)); got != "#define LONG(a,b...) do { f(a, b); } while (0)" {
			t.Errorf("from another source: %s", got)
		}
	}
}

func TestLexSkipsDirectives(t *testing.T) {
	d := read(t, tree)
	tokens, err := d.Lex(at(t, d, "char *s"), int32(len(d.Text)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range tokens {
		got = append(got, d.Names.Text(k.Name))
	}
	if g, want := strings.Join(got, " "), `char * s = "# define" ; # define D 3 int in_y ; int in_x ; int last ; int other ;`; g != want {
		t.Errorf("%s\nwant %s", g, want)
	}
}

func TestHiddenPragmas(t *testing.T) {
	for text, refused := range map[string]bool{
		"#pragma push_macro(\"X\")\nint a;\n": true,
		"#pragma GCC poison bad\nint a;\n":    false,
		"       \nint a;\n":                   false,
		"int a;\n":                            false,
	} {
		d := read(t, map[string]string{"a.c": text})
		err := d.CheckHidden(func(string) ([]byte, error) { return []byte(text), nil })
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), "a.c:1: ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"int a;\n":                          "no line markers",
		"# 1 \"a.c\"\n#if 1\n":              "a.c:1: #if is not what",
		"# 1 \"a.c\"\n/* x":                 "a.c:1: unterminated comment",
		"# 1 \"a.c\"\n# 1 \"b.h\" 1\nint":   "cut off",
		"# 1 \"a.c\"\n# 1 \"b.h\" 2\n":      "not entered",
		"# 1 \"a.c\"\n\n#define 1\n":        "a.c:2: #define without a name",
		"# 1 \"a.c\"\n#define f(a,) 1\n":    "damaged parameters of macro f",
		"# 1 \"a.c\"\n#define f(a...,b) \n": "damaged parameters",
		"# 1 \"a.c\"\n#undef\n":             "#undef without",
		"# x\n":                             "#x is not",
		"# 1 a.c\n":                         "damaged line marker",
		"# 99999999999 \"a.c\"\n":           "damaged line marker",
	} {
		if _, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
