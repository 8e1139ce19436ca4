// SPDX-License-Identifier: Apache-2.0

package delta

import "testing"

// A variable under a new name is not a new variable.
func TestCompareRenamedState(t *testing.T) {
	for _, tc := range []struct{ name, before, after, want string }{
		{"renamed", `static int a; int f(int x) { a += x; return ext(a); } int g(void) { return a; }`,
			`static int b; int f(int x) { b += x; return ext(b); } int g(void) { return b; }`, "ambiguous b, changed f, changed g"},
		{"out of the function", `int f(int x) { static int a; a += x; return ext(a); }`,
			`static int a; int f(int x) { a += x; return ext(a); }`, "ambiguous a, changed f"},
		{"of another type", `static int a; int f(int x) { a += x; return ext(a); }`,
			`static struct { int l, a; } b; int f(int x) { b.l = 1; b.a += x; return ext(b.a); }`, "ambiguous b, changed f"},
		{"one goes, another comes elsewhere", `static int a; int f(int x) { a += x; return ext(a); } int g(int x) { return ext(x); }`,
			`static int b; int f(int x) { return ext(x); } int g(int x) { b += x; return ext(b); }`, "changed f, changed g, data b"},
		{"one more", `static int a; int f(int x) { a += x; return ext(a); }`,
			`static int a, b; int f(int x) { a += x; b += x; return ext(a + b); }`, "changed f, data b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := summary(Compare(compile(t, prelude+tc.before), compile(t, prelude+tc.after))); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
