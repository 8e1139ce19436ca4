// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// lastRefs are the uses of the last item as words: name, name() for a call,
// struct:name for a tag.
func lastRefs(t *testing.T, u *Unit) string {
	t.Helper()
	refs, err := u.Refs(len(u.Items) - 1)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for i, r := range refs {
		if i > 0 && refs[i-1].Tok >= r.Tok {
			t.Errorf("the uses are not in order")
		}
		w := u.Names.Text(r.Name)
		if r.Space == Tag {
			w = "tag:" + w
		}
		if r.Call {
			w += "()"
		}
		if r.Quoted {
			w = "'" + w + "'"
		}
		if r.InBody {
			w = "." + w
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// common is what the tests of references refer to.
const common = `
typedef unsigned int T; typedef int fn(int); struct s { int a, b[4]; struct s *next; }; union u { int a; }; enum e { A, B };
int v, w, arr[4]; struct s obj; int f(int), g(int); void clean(int *);
`

func TestRefs(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		// declarations
		{"struct s *p(T x, struct s *y, fn *z, int v);", "tag:s T tag:s fn"},
		{"struct q { T a; struct s b[B]; enum e v; int w : B; struct q *q; };", "T tag:s B tag:e B tag:q"},
		{"struct n *first;", "tag:n"},
		{"enum { X = B, Y = X + sizeof(T) };", "B X T"},
		{"int x[] = { [A] = 1, [A ... B] = B + sizeof(struct s) };", "A A B B tag:s"},
		{"struct s x = { .a = A, .b[B] = 2, .next = &obj };", "tag:s A B obj"},
		{"struct s x = { a: 1, b: { 1, 2 }, next: &obj };", "tag:s obj"},
		{"struct s x = { .b = { [1] 5, [2] = A } };", "tag:s A"},
		{"fn *x = &f, *y = f;", "fn f f"},
		{"typeof(v) x;", "v"},
		{"struct q { typeof(struct s) y; __typeof__(arr[A]) z; };", "tag:s arr A"},
		{"int x __attribute__((aligned(sizeof(struct s)), section(\"v\")));", "tag:s"},
		{"int x __attribute__((mode(SI)));", ""},
		{"int x(const char *, ...) __attribute__((format(printf, 1, 2), copy(f)));", "f"},
		{"int y(int a) { return a; } int x(int) __attribute__((unused, alias(\"y\")));", "'y'"},
		{"int y(int a) { return a; } int x(int) __attribute__((alias(\"\" \"y\")));", "'y'"},
		{"_Static_assert(sizeof(T) == sizeof v, \"v\");", "T v"},
		{"struct s x = (struct s){ .a = 1 };", "tag:s tag:s"},
		{"static T T2 = 1, *x = &T2;", "T T2"},
		{"int x(int n, int a[n], int (*cb)(T n, int v), int b[static v]);", "T v"},
		{"void x(struct new *p, struct new *q);", ""},
		{"int (*x(int v))(int w);", ""},
		// bodies
		{"int x(int v) { return v + w; }", ".w"},
		{"int x(void) { int v = w; { int w = v; w++; } return w; }", ".w .w"},
		{"int x(void) { int v = sizeof v; return v; }", ""},
		{"int x(void) { __auto_type v = w; { __auto_type w = v + A; return w; } }", ".w .A"},
		{"int x(void) { f(1); (f)(2); fn *p = f; return p(3) + (&f)(4) + (*g)(5); }", ".f() .f .fn .f .f .g"},
		{"int x(struct s *p) { return p->a + obj.b[v] + p->next->next->a; }", "tag:s .obj .v"},
		{"int x(void) { int T = 3; return T * v; }", ".v"},
		{"int x(void) { T * v = 0; return v == 0; }", ".T"},
		{"int x(void) { T(v); v = 1; return (T) w + (w) - 1; }", ".T .T .w .w"},
		{"int (*x(int v, struct s2 { int z; } *p))(int w) { struct s2 *q = p; return q->z + v + w ? 0 : 0; }", ".w"},
		{"long x(void) { l: return (T)&&l + (T)-v + (T)(w) + (T)*&v; }", ".T .T .v .T .w .T .v"},
		{"int x(void) { if (v) l: { int w = 1; goto l; } else k: v++; for (;;) { m: ; int v = 2; if (v) goto m; goto k; } }", ".v .v"},
		{"int x(int (*T)(int), int A) { return T(A) + T (B); }", ".B"},
		{"int x(void) { T (*y)(T), *z = 0, (y2); y = 0; return !y + !z + (y2 = 1); }", ".T .T"},
		{"int x(void) { return sizeof(int (*)(T, int (T))) + sizeof(T ()) + sizeof(T[B]); }", ".T .T .T .T .B"},
		{"int x(T T) { return T * w; }", "T .w"},
		{"int x(void) { typedef int v; v y = 1; return (v) y; }", ""},
		{"int x(void) { struct s { int z; } y; struct s *p = &y; return p->z; }", ""},
		{"int x(void) { { struct s; struct s *p = 0; (void)p; } struct s *q = &obj; return q->a; }", ".tag:s .obj"},
		{"int x(void) { enum { A = 7, C }; return A + B + C; }", ".B"},
		{"int x(void) { struct { int v; } y = { .v = v }; return y.v; }", ".v"},
		{"int x(void) { for (int v = w; v; v--) f(v); return v; }", ".w .f() .v"},
		{"int x(void) { v: if (w) goto v; goto *&&v; return v; }", ".w .v"},
		{"long x(void) { return (long)&&v + v && w; v: return ({ __label__ w; w: (long)&&w; }); }", ".v .w"},
		{"int x(void) { T: return 1; }", ""},
		{"int x(int y) { switch (y) { case A ... B: return v; case 7: default: return w ? v : A; } }", ".A .B .v .w .v .A"},
		{"int x(int y) { return y ?: v; }", ".v"},
		{"int x(int y) { return ({ int v = y; v; }) + ({ v; }); }", ".v"},
		{"int x(void) { __attribute__((cleanup(clean))) int y = 1; int z __attribute__((unused, cleanup(clean))) = v; return y; }", ".clean .clean .v"},
		{"int x(int y) { switch (y) { case 1: y++; __attribute__((fallthrough)); default: return v; } }", ".v"},
		{`int x(int y) { asm volatile("%[v]" : [v] "=r" (y), [w] "+m" (arr[A]) : "r" (v), [obj] "i" (&obj) : "memory", "cc"); return y; }`, ".arr .A .v .obj"},
		{`int x(int y) { asm goto("" : : "r" (y) : : v, w); return 1; v: w: return 2; }`, ""},
		{`int x(int y) { asm inline volatile("nop"); asm("" :: "r" (v)); return y; }`, ".v"},
		{"int x(void) { return __builtin_offsetof(struct s, b[A]) + __builtin_types_compatible_p(T, typeof(v)) + sizeof(T) + sizeof v + __alignof__(struct s); }",
			".tag:s .A .T .v .T .v .tag:s"},
		{"int x(int n, ...) { __builtin_va_list ap; __builtin_va_start(ap, n); return __builtin_va_arg(ap, T) + __builtin_va_arg(ap, struct s *)->a; }", ".T .tag:s"},
		{"int x(int y) { return _Generic(v, T: A, struct s *: B, default: w) + _Generic((T)y, default: y); }", ".v .T .A .tag:s .B .w .T"},
		{"int x(void) { return ((union u)v).a + (struct s){ .a = B }.a + *(int[]){ 1, w }; }", ".tag:u .v .tag:s .B .w"},
		{"int x(int n) { int y[n + v]; int (*p)[w] = 0; return sizeof(int[v]) + sizeof(y) + (p == 0); }", ".v .w .v"},
		{"int x(void) { return __builtin_choose_expr(1, v, w) + __builtin_expect(!!(v), 0); }", ".v .w .v"},
		{"int x(void) { return __builtin_has_attribute(f, cold) + __builtin_has_attribute(struct s, aligned(8)); }", ".f .tag:s"},
		{"const char *x(void) { return __func__[0] == __PRETTY_FUNCTION__[0] ? \"v\" \"w\" : 0; }", ""},
		{"int x(int y) { if (y) return x(y - 1); else if (y + 1) ; else { do y++; while (y < v); while (w) break; } return 0; }", ".x() .v .w"},
		{"int x(void) { extern int v; extern int gone(int); int g(int); return v + gone(1) + g(w); }", ".v .g .v .g() .w"},
		{"int x(void) { int v; { extern int w; v = w; { int w = v; v = w; } } return v; }", ".w .w"},
		{"int x(void) { static int v = A; static const struct s *w[2] = { &obj }; return v + !w[0]; }", ".A .tag:s .obj"},
		{"int x(void) { _Static_assert(sizeof(v) == 4, \"\"); __extension__ int y = 1; return __extension__ (y); }", ".v"},
		{"int x(T *p) { return p[A] + (*p)++ - -v + !w + ~v * *p & v; }", "T .A .v .w .v .v"},
		{"void x(void) { int y, z; y = v, z = w; (void)(T *)0; ; }", ".v .w .T"},
		{"int x(void) { return sizeof(struct s *) * v + sizeof(T) * w; }", ".tag:s .v .T .w"},
		{"double x(void) { _Complex double c = 1; return __real__ c + __imag c + v; }", ".v"},
		{"typedef int V4 __attribute__((vector_size(16))); int x(V4 a) { V4 v = a * (V4){ A }; return v[B]; }", "V4 .V4 .V4 .A .B"},
		{"int x(int y) { typeof(({ int v = y; v; })) z = v; return z; }", ".v"},
	} {
		checkC(t, common+c.text)
		u := parseText(t, common+c.text)
		if got := lastRefs(t, u); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestLaterNamesAreNotSeen: a name at file scope is in scope from its
// declaration on.
func TestLaterNamesAreNotSeen(t *testing.T) {
	text := "int y; int x(int T) { struct s; struct s *later = 0; return T * y + !later; } typedef int T; struct s { int a; }; int later;"
	checkC(t, text)
	u := parseText(t, text)
	refs, err := u.Refs(1)
	if err != nil || len(refs) != 1 || u.Names.Text(refs[0].Name) != "y" {
		t.Errorf("%+v, %v", refs, err)
	}
}

// TestQuotedNamesMayComeLater: GCC looks for the target of an alias at the end
// of the unit.
func TestQuotedNamesMayComeLater(t *testing.T) {
	text := `int x(int) __attribute__((alias("y"))); int y(int a) { return a; } int z(int) __attribute__((weakref("gone")));`
	u := parseText(t, text)
	refs, err := u.Refs(0)
	if err != nil || len(refs) != 1 || u.Names.Text(refs[0].Name) != "y" || !refs[0].Quoted {
		t.Errorf("%+v, %v", refs, err)
	}
	if refs, err := u.Refs(2); err != nil || len(refs) != 0 {
		t.Errorf("a target that the unit does not have: %+v, %v", refs, err)
	}
}

func TestLocals(t *testing.T) {
	text := common + `int x(int y) {
		static int a = 1, *b, c[] = { 1, 2 }; static const char *const d[] = { "x" }; static const T e = 3;
		extern int v; int g(int); auto int h = ({ static int in = 4; in++; }); int plain = 0; typedef int ty;
		if (y) { static struct s st = { .a = 1 }; return st.a; }
		return a + !b + c[0] + !d[0] + e + v + g(h) + plain;
	}`
	checkC(t, text)
	u := parseText(t, text)
	locals, err := u.Locals(len(u.Items) - 1)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range locals {
		s := u.Names.Text(l.Name)
		if l.Storage&Static == 0 {
			s += " linked"
		}
		if l.Func {
			s += " func"
		}
		if l.Const {
			s += " const"
		}
		if l.Incomplete {
			s += " []"
		}
		if l.Init >= 0 {
			s += " ="
		}
		first, last := u.Tokens[l.Statement[0]], u.Tokens[l.Statement[1]-1]
		got = append(got, fmt.Sprintf("%s %s…%s", s, u.Names.Text(first.Name), u.Names.Text(last.Name)))
	}
	want := []string{"a = static…;", "b static…;", "c [] = static…;", "d const [] = static…;", "e const = static…;",
		"v linked extern…;", "g linked func int…;", "in = static…;", "st = static…;"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefsErrors(t *testing.T) {
	for _, c := range []struct{ text, at, why string }{
		{"int x(a, b) { return a; }", "a, b", "parameter without a type"},
		{"int x(void) { int y(void) { return 1; } return y(); }", "{ return 1", "nested functions"},
		{"int x(void) { return gone; }", "gone", "no declaration"},
		{"int x(void) { return v w; }", "w;", "operator"},
		{"int x(void) { return v +; }", ";", "operand"},
		{"int x(void) { return v ? w; }", ";", "conditional"},
		{"int x(void) { return @; }", "@", "no token of C"},
		{"int x(void) { return f(int); }", "int)", "operand"},
		{"int x(void) { return { 1 }; }", "{ 1", "operand"},
		{"int x(void) { return v->1; }", "1;", "member"},
		{"int x(void) { if v return 1; }", "v return", "'('"},
		{"int x(void) { asm(v); }", "v);", "string"},
		{"int x = { .a 1 };", "1 }", "'='"},
	} {
		u := parseText(t, common+c.text+" int last = 1;")
		_, err := u.Refs(len(u.Items) - 2)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Why, c.why) || !strings.HasPrefix((common + c.text)[e.Off:], c.at) {
			t.Errorf("%s\nerror %v, want %q at %q", c.text, err, c.why, c.at)
		}
		if _, err := u.Refs(len(u.Items) - 1); err != nil {
			t.Errorf("%s\nthe item behind it: %v", c.text, err)
		}
	}
	u := parseText(t, "int a;")
	if _, err := u.Refs(1); err == nil {
		t.Error("an item that is not there: no error")
	}
}
