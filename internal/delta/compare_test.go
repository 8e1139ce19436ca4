// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"kmend/internal/object"
)

// kernelFlags are those of the kernel's command line that shape code.
var kernelFlags = []string{"-O2", "-std=gnu11", "-fno-PIE", "-fno-strict-aliasing", "-fno-common", "-mcmodel=kernel", "-mno-red-zone", "-mno-sse",
	"-fno-asynchronous-unwind-tables", "-fno-jump-tables", "-pg", "-mrecord-mcount", "-mfentry", "-fno-stack-protector", "-w",
	"-ffunction-sections", "-fdata-sections"}

// compile makes a unit of C text with GCC 12, which Debian 12's kernels use.
func compile(t testing.TB, text string, flags ...string) *Unit {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "unit.c"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc-12", append(append([]string{}, kernelFlags...), append(flags, "-c", "unit.c", "-o", "unit.o")...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "unit.o"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	u, err := NewUnit(f)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// summary is what a comparison found, in a form a test can spell out.
func summary(r *Result) string {
	var out []string
	for _, c := range r.Changed {
		out = append(out, "changed "+c.After.Name)
	}
	for _, it := range r.New {
		out = append(out, "new "+it.Name)
	}
	for _, it := range r.Removed {
		out = append(out, "removed "+it.Name)
	}
	for _, it := range r.NewData {
		stem, _ := Stem(it.Name)
		out = append(out, "data "+stem)
	}
	for _, p := range r.Problems {
		stem, _ := Stem(p.Name)
		out = append(out, p.Code+" "+stem)
	}
	for it := range r.Ambiguous {
		stem, _ := Stem(it.Name)
		out = append(out, "ambiguous "+stem)
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

const prelude = `
extern int ext(int); extern int printk(const char *, ...); extern int sink(const void *);
#define noinline __attribute__((noinline))
#define __init __attribute__((section(".init.text")))
#define __exit __attribute__((section(".exit.text")))
#define __initdata __attribute__((section(".init.data")))
#define percpu __attribute__((section(".data..percpu")))
#define once __attribute__((section(".data.once")))
#define debug __attribute__((section("__dyndbg"), used))
#define sched __attribute__((section(".sched.text")))
`

func TestCompare(t *testing.T) {
	for _, tc := range []struct{ name, before, after, want string }{
		{"same", `int f(int x) { return ext(x); }`, `int f(int x) { return ext(x); }`, ""},
		{"comment and lines", `int f(int x) { return ext(x); }`, "/* a\n b */\n\nint f(int x)\n{\n return ext(x);\n}", ""},
		{"order of functions", `int f(int x) { return ext(x); } int g(int x) { return ext(x + 1); }`,
			`int g(int x) { return ext(x + 1); } int f(int x) { return ext(x); }`, ""},
		{"constant", `int f(int x) { return ext(x + 1); }`, `int f(int x) { return ext(x + 2); }`, "changed f"},
		{"callee", `int g(int); int f(int x) { return ext(x) + 1; }`, `int g(int); int f(int x) { return g(x) + 1; }`, "changed f"},
		{"string", `int f(void) { return printk("a"); }`, `int f(void) { return printk("b"); }`, "changed f"},
		{"string of another function moves it in the pool", `int f(void) { return printk("aaaa"); } int g(void) { return printk("b"); }`,
			`int f(void) { return printk("aaaaaaaa"); } int g(void) { return printk("b"); }`, "changed f"},
		{"inlined callee", `static inline int h(int x) { return x * 3; } int f(int x) { return ext(h(x)); } int g(int x) { return ext(h(x) + 1); } int k(int x) { return ext(x); }`,
			`static inline int h(int x) { return x * 5; } int f(int x) { return ext(h(x)); } int g(int x) { return ext(h(x) + 1); } int k(int x) { return ext(x); }`,
			"changed f, changed g"},
		{"new function", `int f(int x) { return ext(x); }`, `static noinline int n(int x) { return ext(x) * ext(3); } int f(int x) { return n(x); }`, "changed f, new n"},
		{"removed function", `static noinline int n(int x) { return ext(x) * ext(3); } int f(int x) { return n(x); }`, `int f(int x) { return ext(x); }`, "changed f, removed n"},
		{"data", `int v = 1; int f(void) { return v; }`, `int v = 2; int f(void) { return v; }`, "data-changed v"},
		{"data to zero", `int v = 1; int f(void) { return v; }`, `int v; int f(void) { return v; }`, "data-changed v"},
		{"size of data", `int v[2]; int f(int i) { return v[i]; }`, `int v[3]; int f(int i) { return v[i]; }`, "data-changed v"},
		{"named table", `static const int t[] = {1,2,3}; int f(int i) { return t[i]; }`, `static const int t[] = {1,2,4}; int f(int i) { return t[i]; }`, "data-changed t"},
		{"table of a function", `int f(int i) { static const int t[] = {1,2,3}; return t[i]; } int g(int i) { return ext(i); }`,
			`int f(int i) { static const int t[] = {1,2,4}; return t[i]; } int g(int i) { return ext(i); }`, "changed f"},
		{"table of strings of a function", `int f(int i) { static const char *const t[] = {"a","b"}; return printk(t[i]); }`,
			`int f(int i) { static const char *const t[] = {"a","c"}; return printk(t[i]); }`, "changed f, data t"},
		{"pointer in data", `static int a(int x) { return ext(x); } static int b(int x) { return ext(x+1); } int (*p)(int) = a; int (*q)(int) = b;`,
			`static int a(int x) { return ext(x); } static int b(int x) { return ext(x+1); } int (*p)(int) = b; int (*q)(int) = b;`, "data-changed p, removed a"},
		{"new state", `int f(int x) { return ext(x); }`, `static int n; int f(int x) { n += x; return ext(n); }`, "changed f, data n"},
		{"init code", `int __init f(int x) { return ext(x); }`, `int __init f(int x) { return ext(x + 1); }`, "init-code f"},
		{"init data", `int d __initdata = 1; int __init f(void) { return ext(d); }`, `int d __initdata = 2; int __init f(void) { return ext(d); }`, "init-code d"},
		{"init code that inlines", `static inline int h(int x) { return x * 3; } int __init f(int x) { return ext(h(x)); } int g(int x) { return ext(h(x) + 1); }`,
			`static inline int h(int x) { return x * 5; } int __init f(int x) { return ext(h(x)); } int g(int x) { return ext(h(x) + 1); }`, "changed g, init-code f"},
		{"exit code", `int __exit f(int x) { return ext(x); }`, `int __exit f(int x) { return ext(x + 1); }`, "exit-code f"},
		{"no longer init", `int __init f(int x) { return ext(x); }`, `int f(int x) { return ext(x); }`, "init-code f"},
		{"per-CPU", `int c percpu = 1; int f(void) { return c; }`, `int c percpu = 2; int f(void) { return c; }`, "percpu-changed c"},
		{"new per-CPU", `int f(void) { return ext(1); }`, `int c percpu; int f(void) { return c; }`, "changed f, percpu-changed c"},
		{"text of a dynamic debug site", `int f(int x) { static char *d[7] debug = {"m", "f", "file", "x > 3"}; return sink(d) + x; } int g(int x) { static char *d[7] debug = {"m", "g", "file", "y"}; return sink(d) + x; }`,
			`int f(int x) { static char *d[7] debug = {"m", "f", "file", "x >= 3"}; return sink(d) + x; } int g(int x) { static char *d[7] debug = {"m", "g", "file", "y"}; return sink(d) + x; }`, "changed f"},
		{"calls within an explicit section", `noinline int sched b(int x) { return ext(x); } int sched f(int x) { return b(x) + 1; }`,
			`noinline int sched b(int x) { return ext(x + 9); } int sched f(int x) { return b(x) + 1; }`, "changed b"},
		{"static call within an explicit section", `static noinline int sched b(int x) { return ext(x) + ext(1); } int sched f(int x) { return b(x) + 1; } int sched g(int x) { return b(x + 7); }`,
			`static noinline int sched b(int x) { return ext(x) + ext(2); } int sched f(int x) { return b(x) + 1; } int sched g(int x) { return b(x + 7); }`, "changed b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Compare(compile(t, prelude+tc.before), compile(t, prelude+tc.after))
			if got := summary(r); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
				for _, c := range r.Changed {
					t.Logf("%s+%#x: %s", c.Where.Name, c.Offset, c.What)
				}
			}
		})
	}
}

func TestCompareStaticLocals(t *testing.T) {
	counter := func(fn, body string) string {
		return fmt.Sprintf("int %s(int x) { static int n; %s return n + x; }\n", fn, body)
	}
	for _, tc := range []struct{ name, before, after, want string }{
		{"kept", counter("f", "n += x;"), counter("f", "n += x + 1;"), "changed f"},
		{"renumbered by another function before it", counter("f", "n += x;"), counter("e", "n -= x;") + counter("f", "n += x;"), "data n, new e"},
		{"two functions, one changes", counter("e", "n -= x;") + counter("f", "n += x;"), counter("e", "n -= x;") + counter("f", "n += x + 1;"), "changed f"},
		{"moved to another function", counter("f", "n += x;") + "int g(int x) { return ext(x); }",
			"int f(int x) { return ext(x); }" + counter("g", "n += x;"), "ambiguous n, changed f, changed g"},
		{"two of one name in one function", "int f(int x) { { static int n; n += x; x += n; } { static int n; n -= x; x += n; } return x; }",
			"int f(int x) { { static int n; n += x; x += n; } { static int n; n -= 2 * x; x += n; } return x; }", "ambiguous n, ambiguous n, changed f"},
		{"a second one appears", counter("f", "n += x;"), "int f(int x) { static int n; n += x; if (x > 7) { static int n; n -= x; return n; } return x; }",
			"ambiguous n, ambiguous n, changed f"},
		{ // both parts of f use the old one before and the new one after
			"a new one is used like the old one was",
			"int f(int x) { static int n; if (__builtin_expect(ext(x), 0)) { ext(n); cold(); n |= x; } return n; }",
			"int f(int x) { static int n; n += x; if (ext(x)) { static int n; if (__builtin_expect(ext(n), 0)) { ext(n); cold(); n |= x; } return n; } return n; }",
			"ambiguous n, ambiguous n, changed f",
		},
		{
			"moved into a new function, and another in its place", counter("f", "n += x; n += ext(n);"),
			"static noinline int g(int x) { static int n; n += x; n += ext(n); return n + x; }\n" + counter("f", "n += x - g(x);"),
			"ambiguous n, ambiguous n, changed f, new g",
		},
		{ // e shows which one of the two f uses
			"a function that did not change proves it",
			"static inline int *n(void) { static int n; return &n; } int e(void) { return ++*n(); } int f(int x) { *n() += x; return x; }",
			"static inline int *n(void) { static int n; return &n; } int e(void) { return ++*n(); } int f(int x) { static int n_; { static int n; n += x; n_ += n; } *n() += 2 * x; return x + n_; }",
			"changed f, data n, data n_",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := Compare(compile(t, prelude+tc.before), compile(t, prelude+tc.after))
			if got := summary(r); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			for _, a := range r.After.Items {
				if b := r.BeforeOf(a); b != nil && a.Kind == State && r.Ambiguous[a] == "" && !shareUser(b, a) {
					t.Errorf("%s before and %s after are paired and share no user", b.Name, a.Name)
				}
			}
		})
	}
}

// An object compared with itself must give nothing, whatever is in it.
func TestCompareWithItself(t *testing.T) {
	text := prelude + `
static inline int h(int x) { return x * 3; }
int table[] = {1, 2, 3}; static int state; int c percpu; int d __initdata = 3;
int __init i(int x) { return ext(d) + x; }
int f(int x) { static int n; static const char *const names[] = {"a", "b"}; n += h(x); printk("%s %d\n", names[n & 1], state++); return sink(__func__); }
int g(int x) { static int n; n -= h(x); if (__builtin_expect(x == 77, 0)) { printk("rare"); ext(1); ext(2); } return n + table[x & 1]; }
int sched s(int x) { return f(x) + g(x); }
`
	if got := summary(Compare(compile(t, text), compile(t, text))); got != "" {
		t.Errorf("got %q", got)
	}
}

func FuzzNewUnit(f *testing.F) {
	u := compile(f, prelude+`int v = 3; int f(int x) { static int n; n += x; return printk("%d %d", n, v); }`)
	data, err := u.File.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := object.Read(b)
		if err != nil {
			return
		}
		u, err := NewUnit(file)
		if err != nil {
			return
		}
		if r := Compare(u, u); len(r.Changed) > 0 {
			t.Fatalf("%s differs from itself: %s", r.Changed[0].After.Name, r.Changed[0].What)
		}
	})
}

func BenchmarkCompare(b *testing.B) {
	var text strings.Builder
	text.WriteString(prelude)
	for i := range 300 {
		fmt.Fprintf(&text, "int f%d(int x) { static int n; n += x * %d; printk(\"f%d %%d\", n); return ext(n); }\n", i, i, i)
	}
	u := compile(b, text.String())
	data, err := u.File.Bytes()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		file, err := object.Read(data)
		if err != nil {
			b.Fatal(err)
		}
		v, err := NewUnit(file)
		if err != nil {
			b.Fatal(err)
		}
		if !Compare(u, v).Empty() {
			b.Fatal("differs from itself")
		}
	}
}
