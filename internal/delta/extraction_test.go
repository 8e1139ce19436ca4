// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"slices"
	"sort"
	"strings"
	"testing"
)

// extraction compares a unit with a part of it in which functions klpp_NAME
// stand for NAME.
func extraction(t *testing.T, whole, part string, hosts [2]Hosts) *Extraction {
	t.Helper()
	w, p := compile(t, whole), compile(t, part)
	renamed := map[string]string{}
	for _, s := range p.File.Symbols {
		if name, ok := strings.CutPrefix(s.Name, "klpp_"); ok && s.Section != nil {
			renamed[s.Name] = name
		}
	}
	if _, err := RestoreNames(p.File, renamed, true); err != nil {
		t.Fatal(err)
	}
	p, err := NewUnit(p.File)
	if err != nil {
		t.Fatal(err)
	}
	return CompareExtraction(w, p, hosts)
}

// users names the functions that use an item.
func users(it *Item) string {
	var out []string
	for _, u := range it.Users {
		out = append(out, u.Name)
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

// hostsOf is a compile's account of copied bodies, made up.
func hostsOf(body string, into ...string) Hosts {
	return func(name string) map[string]bool {
		out := map[string]bool{}
		for _, i := range into {
			out[i] = name == body
		}
		return out
	}
}

// A static local of the part is the unit's variable of the same function,
// whatever the two compiles number it.
func TestExtractionPairsState(t *testing.T) {
	const foo, bar = "int foo(int x) { static int count; count += g(x); return count; }\n", "int bar(int x) { static int count; count -= g(x); return count; }\n"
	const g = "int g(int);\n"
	const helper = "int helper(int x) { static int count; count += g(x); return count; }\n"
	none := [2]Hosts{hostsOf(""), hostsOf("")}
	for _, c := range []struct {
		name, whole, part string
		hosts             [2]Hosts
		want              string // of each State of the part: its users, and those of what it is in the unit
	}{
		{"two functions, one extracted", g + foo + bar, g + strings.ReplaceAll(bar, "bar", "klpp_bar"), none, "bar=bar"},
		{"two functions in another order", g + foo + bar, g + strings.ReplaceAll(bar, "bar", "klpp_bar") + strings.ReplaceAll(foo, "foo", "klpp_foo"), none, "bar=bar foo=foo"},
		{"code that differs", g + foo + bar, g + "int klpp_foo(int x) { static int count; count ^= g(x + 1); return count; }", none, "foo=foo"},
		{"another size", g + foo, g + "int klpp_foo(int x) { static long count; count ^= g(x + 1); return count; }", none, "foo=ambiguous"},
		{"a helper in two functions", g + "static inline " + helper + "int foo(int x) { return helper(x); }\nint bar(int x) { return helper(x) + 1; }\n",
			g + "static inline " + helper + "int klpp_foo(int x) { return helper(x); }\n", none, "foo=bar,foo"},
		{"a helper that is a function in the part", g + "static inline " + helper + "int foo(int x) { return helper(x); }\n",
			g + "static __attribute__((noinline)) " + helper + "int klpp_foo(int x) { return helper(x); }\n", [2]Hosts{hostsOf("helper", "foo"), hostsOf("")}, "helper=foo"},
		{"the same without the compiler's account", g + "static inline " + helper + "int foo(int x) { return helper(x); }\n",
			g + "static __attribute__((noinline)) " + helper + "int klpp_foo(int x) { return helper(x); }\n", none, "helper=ambiguous"},
		{"two in one function, equal code", g + "int foo(int x) { { static int count; count += g(x); } { static int count; count -= g(x); return count; } }",
			g + "int klpp_foo(int x) { { static int count; count += g(x); } { static int count; count -= g(x); return count; } }", none, "foo=foo foo=foo"},
		{"two in one function, other code", g + "int foo(int x) { { static int count; count += g(x); } { static int count; count -= g(x); return count; } }",
			g + "int klpp_foo(int x) { { static int count; count += g(x + 1); } { static int count; count -= g(x); return count; } }", none, "foo=ambiguous foo=ambiguous"},
		{"one that the unit does not have", g + foo, g + "int klpp_foo(int x) { static int calls; calls += g(x); return calls; }", none, "foo=none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := extraction(t, c.whole, c.part, c.hosts)
			var got []string
			for _, it := range e.Part.Items {
				if it.Kind != State {
					continue
				}
				is := "none"
				if w := e.WholeOf(it); w != nil {
					is = users(w)
					if e.Unlike(it) != "" {
						t.Errorf("%s is unlike %s: %s", it.Name, w.Name, e.Unlike(it))
					}
				} else if e.Ambiguous(it) != "" {
					is = "ambiguous"
				}
				got = append(got, users(it)+"="+is)
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// Which of two alike variables equal code uses is seen from the places: swapped
// uses are another program.
func TestExtractionSeesSwappedState(t *testing.T) {
	const whole = "int g(int); static int a, b; int foo(int x) { a += g(x); b -= g(x); return a; } int get(void) { return a ^ b; }"
	e := extraction(t, whole, "int g(int); extern int a, b; int klpp_foo(int x) { a += g(x); b -= g(x); return a; }", [2]Hosts{})
	if f := e.Func("foo"); f == nil || f.What != "" {
		t.Errorf("foo differs: %+v", f)
	}
	e = extraction(t, whole, "int g(int); extern int a, b; int klpp_foo(int x) { b += g(x); a -= g(x); return b; }", [2]Hosts{})
	if f := e.Func("foo"); f == nil || f.What == "" {
		t.Errorf("foo with a and b swapped is the same: %+v", f)
	}
}

// A reference by name leads to the unit's item of that name, not to any item.
func TestExtractionFollowsNames(t *testing.T) {
	const whole = "__attribute__((noinline)) static int one(int x) { return x ^ 5; } __attribute__((noinline)) static int two(int x) { return x ^ 6; }\n" +
		"int (*const table[])(int) = { one, two }; int g(int); int foo(int x) { return g(x) + one(x); }"
	for part, same := range map[string]bool{
		"int g(int); int one(int) __attribute__((const)); int klpp_foo(int x) { return g(x) + one(x); }": true,
		"int g(int); int two(int) __attribute__((const)); int klpp_foo(int x) { return g(x) + two(x); }": false,
		"int g(int); int six(int) __attribute__((const)); int klpp_foo(int x) { return g(x) + six(x); }": false,
	} {
		f := extraction(t, whole, part, [2]Hosts{}).Func("foo")
		if f == nil || (f.What == "") != same {
			t.Errorf("%s: %+v", part, f)
		}
	}
}

func TestRestoreNames(t *testing.T) {
	u := compile(t, "int g(int, const char *); int klpp_foo(int x) { if (__builtin_expect(x, 0)) { g(1, __func__); g(2, 0); } return g(x, __func__); } int foo2(int x) { return x; }")
	levelled, err := RestoreNames(u.File, map[string]string{"klpp_foo": "foo"}, true)
	if err != nil || len(levelled) != 1 {
		t.Fatalf("%d names restored: %v", len(levelled), err)
	}
	for _, s := range u.File.Symbols {
		if strings.Contains(s.Name, "klpp_") {
			t.Errorf("symbol %s", s.Name)
		}
	}
	for _, s := range u.File.Sections {
		if strings.Contains(s.Name, "klpp_") && s.IsAlloc() {
			t.Errorf("section %s", s.Name)
		}
	}
	u = compile(t, "int klpp_foo(int x) { return x; } int foo(int x) { return x + 1; }")
	if _, err := RestoreNames(u.File, map[string]string{"klpp_foo": "foo"}, true); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("two functions of one name: %v", err)
	}
}

// What is compared with itself as a part differs in nothing.
func TestExtractionOfEverything(t *testing.T) {
	const text = "int g(int); static int n; static const char *const names[] = { \"a\", \"b\" };\n" +
		"int foo(int x) { static int calls; n += ++calls; return g(x) + names[x & 1][0]; } int bar(int x) { return foo(x) + n; }"
	e := extraction(t, text, text, [2]Hosts{})
	for _, f := range e.Funcs {
		if f.What != "" {
			t.Errorf("%s+%#x: %s", f.Where.Name, f.Offset, f.What)
		}
	}
	if len(e.Funcs) != 2 || len(e.Only) != 0 {
		t.Errorf("%d functions, %d only in the part", len(e.Funcs), len(e.Only))
	}
}
