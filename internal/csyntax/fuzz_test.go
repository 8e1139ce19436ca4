// SPDX-License-Identifier: Apache-2.0

package csyntax

import "testing"

// FuzzParse: no text makes the package panic or run on; what it says of a unit
// lies within it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"int a; struct s { int b : 2; } c = { .b = 1 }, d[] = { [0] = { b: 2 } };",
		"typedef int T; enum { A, B }; T f(T x) { static T y = A; extern int z; for (T i = 0; i < x; i++) { l: goto l; } return ({ y; }); }",
		`asm("x"); _Static_assert(1, "y"); void g(void) { asm goto("" : [a] "=r" (x) : : "cc" : l); l:; } ;`,
		"int (*h(int))(char) __attribute__((cleanup(g), aligned(8))); typeof(h) *i = &h;",
		"int k(int n) { return _Generic(n, int: 1, default: 2) + __builtin_offsetof(struct s, a[1].b) + (struct s){ 1 }.a ?: sizeof(int[n]); }",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		names, tokens, err := tryLex(text)
		if err != nil {
			return
		}
		u, err := Parse(names, tokens)
		if err != nil {
			return
		}
		if err := invariants(u); err != nil {
			t.Fatal(err)
		}
		for i, it := range u.Items {
			refs, err := u.Refs(i)
			if err != nil {
				continue
			}
			last := it.First - 1
			for _, r := range refs {
				if r.Tok <= last || r.Tok >= it.Last || !r.Quoted && u.Tokens[r.Tok].Name != r.Name || len(u.Lookup(r.Space, r.Name)) == 0 {
					t.Fatalf("item %d: %+v after token %d", i, r, last)
				}
				last = r.Tok
			}
			locals, err := u.Locals(i)
			if err != nil {
				t.Fatalf("item %d has uses but no locals: %v", i, err)
			}
			for _, l := range locals {
				in := func(r [2]int) bool {
					return r[0] >= l.Statement[0] && r[0] <= r[1] && r[1] <= l.Statement[1] && l.Statement[1] <= it.Last
				}
				if l.Statement[0] < it.Body || !in(l.Specifiers) || !in(l.Declarator) || l.Tok < l.Declarator[0] || l.Tok >= l.Declarator[1] {
					t.Fatalf("item %d: %+v", i, l)
				}
			}
		}
	})
}
