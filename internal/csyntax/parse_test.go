// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkC fails the test if GCC does not take a text for C: the tables must not
// test what no compiler sees.
func checkC(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.c")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc-12", "-std=gnu11", "-w", "-fsyntax-only", path).CombinedOutput(); err != nil {
		t.Fatalf("the test's own C is wrong: %v\n%s", err, out)
	}
}

// describe writes a unit's declarations, one item a line.
func describe(u *Unit) string {
	kinds := map[DeclKind]string{Func: "func", Var: "var", Typedef: "typedef", Struct: "struct", Union: "union", Enum: "enum", Enumerator: "enumerator"}
	items := map[ItemKind]string{Declaration: "", Function: "function", Asm: "asm", Assert: "assert", Empty: "empty"}
	var lines []string
	for _, it := range u.Items {
		words := []string{}
		if s := items[it.Kind]; s != "" && len(it.Decls) > 0 {
			words = append(words, s+":")
		} else if s != "" {
			words = append(words, s)
		}
		for _, d := range it.Decls {
			w := kinds[d.Kind] + " " + u.Names.Text(d.Name)
			for _, flag := range []struct {
				on   bool
				text string
			}{{d.Def, "def"}, {d.Mention, "mention"}, {d.Storage&Static != 0, "static"}, {d.Storage&Extern != 0, "extern"},
				{d.Storage&Inline != 0, "inline"}, {d.Storage&Register != 0, "register"}, {d.Storage&ThreadLocal != 0, "thread"},
				{d.Init >= 0, "init"}, {d.Incomplete, "[]"}, {d.Const, "const"}, {d.Unsure, "unsure"}} {
				if flag.on {
					w += " " + flag.text
				}
			}
			words = append(words, w+";")
		}
		lines = append(lines, strings.TrimSuffix(strings.Join(words, " "), ";"))
	}
	return strings.Join(lines, "\n")
}

func TestItems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"int a;", "var a def"},
		{"extern int a; extern int b = 2; static int c; int d[], e[2];", "var a extern\nvar b def extern init\nvar c def static\nvar d def []; var e def"},
		{"int f(void); extern int g(void); static inline int h(void) { return 0; }", "func f\nfunc g extern\nfunction: func h def static inline"},
		{";", "empty"},
		{`asm(".globl a"); __asm__("nop");`, "asm\nasm"},
		{`_Static_assert(1, "x"); _Static_assert(sizeof(int) == 4);`, "assert\nassert"},
		{"struct s { int a; struct in { int b; } c; }; struct s v;", "struct s def; struct in def\nvar v def"},
		{"struct s; struct s *p; struct s { int a; };", "struct s\nvar p def\nstruct s def"},
		{"struct s *p, *q; struct s { int a; };", "struct s mention; var p def; var q def\nstruct s def"},
		{"void f(struct s *p); struct s { int a; };", "func f\nstruct s def"},
		{"enum e { A, B = 2, C __attribute__((unused)), } x = B;", "enum e def; enumerator A def; enumerator B def; enumerator C def; var x def init"},
		{"enum { A = sizeof(struct { int x; }), B };", "enumerator A def; enumerator B def"},
		{"int a = sizeof(struct s { int x; enum { IN } e; });", "var a def init; struct s def; enumerator IN def"},
		{"typedef struct t { int x; } t; typedef int (*fp)(t), fn(t); fn g; extern fn h; fp i;",
			"struct t def; typedef t def\ntypedef fp def; typedef fn def\nfunc g\nfunc h extern\nvar i def"},
		{"int f(void); extern typeof(f) g; __typeof__(int) v; typeof(f) *p; typedef typeof(f) ft; ft h;",
			"func f\nfunc g extern\nvar v def\nvar p def\ntypedef ft def\nfunc h"},
		{"struct s { int (*f)(void); } *p; extern typeof(*p->f) g, h, *i; typedef typeof(p->f) t; t j; typeof(g) k;",
			"struct s def; var p def\nvar g extern unsure; var h extern unsure; var i extern\ntypedef t def\nvar j def unsure\nvar k def unsure"},
		{"int (*f)(void), *g(void), (h)(void), (*k(int))(char), *(*l[3])(void), (*m)[2], (n[])[3];",
			"var f def; func g; func h; func k; var l def; var m def; var n def []"},
		{"const int a = 1; const char *b; char *const c = 0; const int d[2] = {}; int (*const e)(void) = 0; const int f(void); char *const g[] = { 0 };",
			"var a def init const\nvar b def\nvar c def init const\nvar d def init const\nvar e def init const\nfunc f\nvar g def init [] const"},
		{"typedef int T; unsigned T2; static const T a; struct { unsigned T; } b; int c(int T), d(T);",
			"typedef T def\nvar T2 def\nvar a def static const\nvar b def\nfunc c; func d"},
		{`register unsigned long sp asm("rsp"); static __thread int tl; int lab asm("other") __attribute__((section("x"))) = 3;`,
			"var sp def register\nvar tl def static thread\nvar lab def init"},
		{"__extension__ typedef unsigned long long ull; __attribute__((noinline)) static int f(int a, ...) { { } return 0; };",
			"typedef ull def\nfunction: func f def static\nempty"},
		{"int a, __attribute__((aligned(8))) b, *c __attribute__((unused)) = 0;", "var a def; var b def; var c def init"},
		{"int x[] = { [0 ... 3] = 1, [4] = (int){ 5 }, }, y = (1 + 2), z = 1 ? 2 : 3;", "var x def init []; var y def init; var z def init"},
		{"struct s { int a : 3, : 2, b; int (*f)(struct s *, int (*)(void)); union { int c; }; _Static_assert(1); char z[0]; char y[]; };", "struct s def"},
		{"typedef int v4 __attribute__((vector_size(16))); __int128 big; _Float128 q; __int128_t r; __builtin_va_list va; _Complex double cd;",
			"typedef v4 def\nvar big def\nvar q def\nvar r def\nvar va def\nvar cd def"},
		{"_Noreturn void f(void); _Alignas(16) int a; _Alignas(long) char b; _Atomic int c; _Atomic(int) d; int __seg_gs *e;",
			"func f\nvar a def\nvar b def\nvar c def\nvar d def\nvar e def"},
		{"int f() { return 0; } int (*g(int a))(int) { return 0; } int *h(void) { return 0; }", "function: func f def\nfunction: func g def\nfunction: func h def"},
	} {
		checkC(t, c.text)
		u := parseText(t, c.text)
		if got := describe(u); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.text, strings.ReplaceAll(got, "\n", " | "), strings.ReplaceAll(c.want, "\n", " | "))
		}
		if err := invariants(u); err != nil {
			t.Errorf("%s\n%v", c.text, err)
		}
		for i := range u.Items {
			if _, err := u.Refs(i); err != nil {
				t.Errorf("%s\nitem %d: %v", c.text, i, err)
			}
		}
	}
}

// invariants of every unit, whatever the text.
func invariants(u *Unit) error {
	next, chunk := 0, -1
	for i, it := range u.Items {
		if it.First != next || it.Last <= it.First {
			return fmt.Errorf("item %d is [%d,%d), the one before ends at %d", i, it.First, it.Last, next)
		}
		next = it.Last
		if it.Chunk != chunk && it.Chunk != chunk+1 {
			return fmt.Errorf("item %d is of chunk %d, the one before of %d", i, it.Chunk, chunk)
		}
		chunk = it.Chunk
		in := func(r [2]int) bool { return r[0] >= it.First && r[0] <= r[1] && r[1] <= it.Last }
		if !in(it.Specifiers) || it.Body >= 0 && !in([2]int{it.Body, it.Body + 1}) {
			return fmt.Errorf("specifiers %v or body %d of item %d lie outside", it.Specifiers, it.Body, i)
		}
		for j, d := range it.Decls {
			if !in(d.Declarator) || d.Tok < d.Declarator[0] || d.Tok >= d.Declarator[1] || u.Tokens[d.Tok].Name != d.Name {
				return fmt.Errorf("declaration %d of item %d: declarator %v, name at %d", j, i, d.Declarator, d.Tok)
			}
			if d.Init >= 0 && !in([2]int{d.Init, d.Init + 1}) {
				return fmt.Errorf("declaration %d of item %d: initialiser at %d", j, i, d.Init)
			}
			found := false
			for _, r := range u.Lookup(d.Space, d.Name) {
				found = found || r == DeclRef{i, j}
			}
			if !found {
				return fmt.Errorf("declaration %d of item %d is not found by its name", j, i)
			}
		}
		if u.ItemAt(it.First) != i || u.ItemAt(it.Last-1) != i {
			return fmt.Errorf("item %d is not found by its tokens", i)
		}
	}
	if next != len(u.Tokens) {
		return fmt.Errorf("the items end at token %d of %d", next, len(u.Tokens))
	}
	return nil
}

func TestRanges(t *testing.T) {
	u := parseText(t, `static const int a[2] __attribute__((unused)) = { 1 }, *b; struct s { int x; } __attribute__((packed)) v; int f(int y) { return y; }`)
	text := func(r [2]int) string {
		var words []string
		for i := r[0]; i < r[1]; i++ {
			words = append(words, u.Names.Text(u.Tokens[i].Name))
		}
		return strings.Join(words, " ")
	}
	var got []string
	for _, it := range u.Items {
		got = append(got, text(it.Specifiers))
		for _, d := range it.Decls {
			got = append(got, text(d.Declarator))
		}
	}
	want := []string{"static const int", "a [ 2 ] __attribute__ ( ( unused ) )", "* b",
		"struct s { int x ; } __attribute__ ( ( packed ) )", "struct s { int x ; } __attribute__ ( ( packed ) )", "v",
		"int", "f ( int y )"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if it := u.Items[2]; it.Kind != Function || text([2]int{it.Body, it.Last}) != "{ return y ; }" {
		t.Errorf("body: %+v", it)
	}
}

func TestLookup(t *testing.T) {
	u := parseText(t, "struct s; int s; struct s { int s; }; extern int s; int t(int s) { return s; }")
	name, _ := u.Names.Lookup("s")
	if got, want := fmt.Sprint(u.Lookup(Ordinary, name), u.Lookup(Tag, name)), "[{1 0} {3 0}] [{0 0} {2 0}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if d := u.Decl(u.Lookup(Tag, name)[1]); !d.Def || d.Kind != Struct {
		t.Errorf("%+v", d)
	}
	int_, _ := u.Names.Lookup("int")
	if got := u.Lookup(Ordinary, int_); len(got) != 0 {
		t.Errorf("int: %v", got)
	}
	if got := u.Lookup(Ordinary, 1<<30); len(got) != 0 {
		t.Errorf("a name of another table: %v", got)
	}
}

// TestChunks: items that one invocation made have ranges that overlap.
func TestChunks(t *testing.T) {
	names, tokens := lex(t, []byte("int a; int f(void); int g(void); int f(void) { return 1; } int h;"))
	for i := 3; i < len(tokens)-3; i++ { // f, g, and f's head from one invocation, whose argument is f's body
		tokens[i].From, tokens[i].To = 7, 20
		if tokens[i].Off >= 45 {
			tokens[i].From, tokens[i].To = tokens[i].Off, tokens[i].Off+1
		}
	}
	u, err := Parse(names, tokens)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, it := range u.Items {
		got = append(got, it.Chunk)
	}
	if fmt.Sprint(got) != "[0 1 1 1 2]" {
		t.Errorf("chunks %v", got)
	}
	if it := u.Items[3]; it.From != 7 || it.To < 50 {
		t.Errorf("range [%d,%d)", it.From, it.To)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		text string
		off  int32
		why  string
	}{
		{"int a; MODULE(x);", 7, "without a type"},
		{"int f(void) }", 12, "closes"},
		{"int f(void) {", 12, "closes"},
		{"int a[2);", 7, "close"},
		{"int a", 5, "at the end"},
		{"int a b;", 6, "';' behind a declaration"},
		{"struct;", 6, "tag"},
		{"struct s { a b; };", 11, "member without a type"},
		{"enum e { 1 };", 9, "enumerator"},
		{"int a {}", 6, "body"},
		{"typedef int f(void) {}", 20, "body"},
		{"int a, ;", 7, "declarator"},
		{"@", 0, "without a type"},
	} {
		names, tokens := lex(t, []byte(c.text))
		_, err := Parse(names, tokens)
		var e *Error
		if !errors.As(err, &e) || e.Off != c.off || !strings.Contains(e.Why, c.why) {
			t.Errorf("%q: %v, want byte %d and %q", c.text, err, c.off, c.why)
		}
	}
}

func TestDeepNestingIsAnError(t *testing.T) {
	for _, text := range []string{
		"int " + strings.Repeat("(", 100000) + "a" + strings.Repeat(")", 100000) + ";",
		strings.Repeat("struct { ", 100000) + "int a;" + strings.Repeat("} x;", 100000),
		"typeof(" + strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000) + ") a;",
	} {
		names, tokens := lex(t, []byte(text))
		if _, err := Parse(names, tokens); err == nil {
			t.Errorf("%.40s…: no error", text)
		}
	}
	u := parseText(t, "int a "+strings.Repeat("(", 100000)+strings.Repeat(")", 100000)+";")
	if _, err := u.Refs(0); err == nil {
		t.Error("parameters: no error")
	}
	u = parseText(t, "void f(void) {"+strings.Repeat("if (1) {", 100000)+strings.Repeat("}", 100000)+"} int a;")
	if _, err := u.Refs(0); err == nil || !strings.Contains(err.Error(), "nest") {
		t.Errorf("error %v", err)
	}
	if _, err := u.Refs(1); err != nil {
		t.Errorf("the other item: %v", err)
	}
}
