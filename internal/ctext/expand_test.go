// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
)

// spell lists the tokens of an expansion.
func spell(x *Expanded) []string {
	out := make([]string, len(x.Tokens))
	for i := range x.Tokens {
		out[i] = x.Text(i)
	}
	return out
}

// lexed lists the tokens of gcc -E, without line markers and pragmas.
func lexed(t testing.TB, text []byte) []string {
	t.Helper()
	d, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := d.Lex(0, int32(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(tokens))
	for i := range tokens {
		out[i] = d.Names.Text(tokens[i].Name)
	}
	return out
}

// firstDifference is "" for equal lists.
func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "(end)", "(end)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			from := max(0, i-8)
			return fmt.Sprintf("token %d: %s, GCC has %s; after: %s", i, g, w, strings.Join(want[from:min(i, len(want))], " "))
		}
	}
	return ""
}

// expansions are small programs, each for a rule.
var expansions = map[string]string{
	"object":                  "#define A B\n#define B A C\n#define C 3\nA B A C",
	"mutual":                  "#define f g\n#define g f\nf g f g\nf g",
	"painted":                 "#define f(x) x f\n#define k f(1)\nk; f(2)(3); f(f)(1); f(f(1))(2)",
	"rest of file":            "#define f(a) a*g\n#define g(a) f(a)\nf(2)(9)(1) g\n(3)\n",
	"no call":                 "#define f(x) [x]\nf f (1) f\n(2) f\n;\n#define g f\ng(1) g g\n(2) +f",
	"standard":                "#define x 3\n#define f(a) f(x * (a))\n#undef x\n#define x 2\n#define g f\n#define z z[0]\n#define h g(~\n#define m(a) a(w)\n#define w 0,1\n#define t(a) a\nf(y+1) + f(f(z)) % t(t(g)(0) + t)(1);\ng(x+(3,4)-w) | h 5) & m\n(f)^m(m);",
	"pasting":                 "#define hash_hash # ## #\n#define mkstr(a) # a\n#define in_between(a) mkstr(a)\n#define join(c, d) in_between(c hash_hash d)\nchar p[] = join(x, y);\n#define C(a,b) a##b\nC(1,2) C(x,1) C(,z) C(z,) C(,) C(-,>) C(L,\"s\") C(.,5) C(1e,+) C(<,<=) C(C,C)(a,b) C(__LI,NE__)",
	"paste three":             "#define P(a,b,c) a##b##c d\nP(1,2,3) P(,2,3) P(1,,3) P(1,2,) P(,,3) P(1,,) P(,2,) P(,,) P(x y,z w,u v)",
	"paste body":              "#define T(a) a ## _t t_ ## a ## _t x##a y\nT(b) T() T(b c)",
	"stringify":               "#define S(x) #x\n#define X(x) S(x)\n#define Y a   b\nS( a  b /* c */ d ) S(\"a\\n\\\"\" '\\n' '\"') S() S(\\) S(@ \\n) X(Y) X( Y+Y ) X(S(x)) S(a\n  b\n\n c) S(Y) X(-Y) X((Y)) X(f (Y)) X(X) X(X (1))",
	"string spaces":           "#define S(x...) #x\n#define X(x...) S(x)\n#define E\n#define I(x) x\n#define O(x) <x>\nX(E a E b E) X(I(a) I( b )I(c)) X(O(a)O( b)) X(a E) X(EE) X(a,I( b) , c) X(I()x I() y) X(+I(+)) X(I(I)(x) y) X( I (a)b)",
	"gnu variadic":            "#define e(f, a...) p(f, ## a)\n#define v(f, ...) p(f, ##__VA_ARGS__)\n#define w(...) p(x, ##__VA_ARGS__)\n#define u(f, ...) p(f, __VA_ARGS__)\n#define Z 7\ne(1) e(1,) e(1,2) e(1,2,Z) v(1) v(1,) v(1,Z,3) w() w(1) w(1,2) u(1) u(1,) u(1,2) e() v()",
	"comma paste":             "#define c(a,b...) x , ## b y\n#define d(b...) , ## b\nc(1) c(1,) c(1,2) d() d(1) d(,)",
	"va_opt":                  "#define F(a,...) f(a __VA_OPT__(,) __VA_ARGS__)\n#define G(X,...) f(0, X __VA_OPT__(,) __VA_ARGS__)\n#define D(s,...) S s __VA_OPT__(= { __VA_ARGS__ })\n#define H(a,...) a ## __VA_OPT__(x) ## b\n#define E\nF(1) F(1,) F(1,2) F(1,E) G(a,b,c) G(a,) G(a) D(foo) D(bar,1,2) H(q) H(q,1) H(,1) H(,)",
	"empty args":              "#define N() n\n#define O(a) <a>\n#define T(a,b) <a|b>\nN() N( ) N\n() O() O( ) T(,) T( , ) O((,)) O((a,b)c) T((a,(b,c)),d)",
	"undef":                   "#define A 1\nA\n#undef A\nA\n#define A 2\nA\n#undef B\n#define A 2\nA",
	"line":                    "#define LL __LINE__\n#define F(...) G(0, ##__VA_ARGS__)\n#define G(a, ...) a __VA_ARGS__\nF(1,\n __LINE__, LL,\n 2)\n#define H(x) x\n#define C(a,b) a##b\nH(\n C(__LI,\n NE__)\n H(LL\n ) )\nC(L,\nL)\n#define NAME H\nNAME\n (\n __LINE__ NAME(\n LL)\n )\n#define LATE 7 NAME\nLATE\n (LL\n __LINE__)\n#define ST(x) #x\n#define ST2(x) ST(x)\nST2(\n __LINE__ LL\n H(__LINE__) )\n#define B(x) LL x LL\n#define B2(x) B(x)\nB2(\n B(\n B2(LL\n __LINE__)))\n",
	"line markers":            "#line 77 \"q.c\"\n__LINE__ __FILE__ __BASE_FILE__ __INCLUDE_LEVEL__\n#include \"x.h\"\n__LINE__\n",
	"counter":                 "#define CC(x) __COUNTER__ x\n#define D(x,y) y __COUNTER__ x\nCC(__COUNTER__ CC(__COUNTER__)) D(__COUNTER__, __COUNTER__) __COUNTER__",
	"file":                    "#define F __FILE__\nF __FILE__ __FILE_NAME__ __INCLUDE_LEVEL__",
	"directives in arguments": "#define f(x,y) x+y\nf(\n#define Q 1\nQ\n#undef Q\n,Q)\nf\n#define R 2\n(1,2)\nR f(f\n#undef f\n(1,2),3) f(1)\n",
	"end of an include":       "#include \"name.h\"\n(1)\n",
	"pragma":                  "#define P(x) _Pragma(#x) x\n#define I(x) x\nint a; _Pragma(\"GCC diagnostic push\") int b; P(once_more) I(_Pragma(\"pack(1)\") c) d\n",
	"splices":                 "#def\\\nine A\\\nB 1\nA\\\nB \"x\\\ny\" 1\\\n2 -\\\n> <\\\n<\\   \n= a.\\\n.b /* \\\n */ // x \\\n y\nz",
	"numbers":                 "1e+5 0x1p-3 1.2.3 .5e 0xe+1 1..2 08abc 1.e_x+2 5_$x",
	"digraphs":                "a<:1:> <% %> x %:%: y",
	"quotes":                  "L'a' u8\"x\" U\"x\" u'y' x'a' 'ab' \"\\\\\" '\\'' \"//\" '/*'",
	"redefined function":      "#define f(x) 1 x\n#define g f(f(2))\ng\n#undef f\n#define f 5\ng\n",
	"strict":                  "#define w(...) p(x, ##__VA_ARGS__)\nw() w(1)",
	"own name as argument":    "#define f(x) x x\n#define a b a\nf(a) f(f) f(f a) f(f(a))(1)",
	"nested variadic":         "#define M(x, ...) N(x, ##__VA_ARGS__)\n#define N(x, ...) [x|__VA_ARGS__|#__VA_ARGS__]\n#define K 1\nM(K) M(K,K) M(K, K , M(K,K)) M(M(K,M(2)),K)\n",
	"kernel count args":       "#define __CA(_0,_1,_2,_3,n,X...) n\n#define CA(X...) __CA(, ##X, 3,2,1,0)\n#define __CC(a,b) a ## b\n#define CC(a,b) __CC(a,b)\n#define MAP(f,x...) CC(f,CA(x))(x)\n#define f0()\n#define f1(a) one(a)\n#define f2(a,b) two(a b)\nMAP(f) MAP(f,x) MAP(f,x,CA()) CC(CC(a,b),CC(c,d)) CC(__LINE__,__LINE__)",
	"kernel config":           "#define __ARG_PLACEHOLDER_1 0,\n#define __take_second_arg(__ignored, val, ...) val\n#define __is_defined(x) ___is_defined(x)\n#define ___is_defined(val) ____is_defined(__ARG_PLACEHOLDER_##val)\n#define ____is_defined(j) __take_second_arg(j 1, 0)\n#define CONFIG_A 1\n__is_defined(CONFIG_A) __is_defined(CONFIG_B) __is_defined(CONFIG_A_MODULE)",
	"kernel syscall":          "#define __MAP0(m,...)\n#define __MAP1(m,t,a,...) m(t,a)\n#define __MAP2(m,t,a,...) m(t,a), __MAP1(m,__VA_ARGS__)\n#define __MAP(n,...) __MAP##n(__VA_ARGS__)\n#define __SC_DECL(t, a) t a\n#define SYSCALL_DEFINE2(name, ...) SYSCALL_DEFINEx(2, _##name, __VA_ARGS__)\n#define SYSCALL_DEFINEx(x, sname, ...) asmlinkage long sys##sname(__MAP(x,__SC_DECL,__VA_ARGS__)); static const char *n = \"_\"#sname;\nSYSCALL_DEFINE2(read, unsigned int, fd,\n\tchar __user *, buf)\n{\n}",
}

// The expansion is GCC's, token for token, by both versions.
func TestExpandEqualsGCC(t *testing.T) {
	for _, cc := range []string{"gcc-12", "gcc-11"} {
		t.Run(cc, func(t *testing.T) {
			if _, err := exec.LookPath(cc); err != nil {
				kerneltest.Missing(t, "%v (scripts/setup installs it)", err)
			}
			for name, text := range expansions {
				expandAs(t, cc, name, text)
			}
		})
	}
}

func expandAs(t *testing.T, cc, name, text string) {
	t.Helper()
	files := map[string]string{"a.c": text + "\n", "x.h": "__INCLUDE_LEVEL__ __LINE__ __FILE__ __BASE_FILE__ in_x\n", "name.h": "#define f(x) [x]\nf"}
	var std []string
	if name == "strict" {
		std = []string{"-std=c11"}
	}
	d, err := Read(preprocess(t, cc, files, append(std, "-fdirectives-only")...))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	x, err := d.Expand()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if diff := firstDifference(spell(x), lexed(t, preprocess(t, cc, files, std...))); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	check(t, x)
	again, err := d.Expand()
	if err != nil || !slices.Equal(again.Tokens, x.Tokens) || !slices.Equal(again.Uses, x.Uses) {
		t.Errorf("%s: the second expansion differs: %v", name, err)
	}
}

// check asserts what holds for every expansion.
func check(t testing.TB, x *Expanded) {
	t.Helper()
	last, end := int32(0), int32(len(x.Doc.Text))
	for i := range x.Tokens {
		k := &x.Tokens[i]
		if k.From < last || k.To <= k.From || k.To > end || k.Off < -1 || k.Off >= end || k.Kind < Ident || k.Kind > Other || k.Flags&^(SpaceBefore|LineStart|Placeholder) != 0 {
			t.Fatalf("token %d, %s: %+v after %d", i, x.Text(i), *k, last)
		}
		last = k.From
		if k.Off < 0 || k.Flags&Placeholder != 0 {
			continue
		}
		spelled := unsplice(x.Doc.Text[k.Off:min(end, k.Off+1<<16)])
		if !bytes.HasPrefix(spelled, []byte(x.Text(i))) {
			t.Fatalf("token %d, %s, is not spelled at %d: %.40q", i, x.Text(i), k.Off, spelled)
		}
	}
	last = 0
	for _, u := range x.Uses {
		if u.At < last || u.At >= end || u.Macro < 0 || u.Macro >= len(x.Doc.Defines) {
			t.Fatalf("%+v after %d", u, last)
		}
		last = u.At
	}
}

func TestExpandRefuses(t *testing.T) {
	deep := "#define f(x) x\n" + strings.Repeat("f(", 600) + strings.Repeat(")", 600)
	bomb := "#define a0 x x\n"
	for i := range 40 {
		bomb += fmt.Sprintf("#define a%d a%d a%d\n", i+1, i, i)
	}
	bombed := bomb + "#define f(x)\n" // nothing of it is in the result
	bombed = strings.Replace(bombed, "#define f(x)", "#define f(x) g(x x x x x x x x x x x x x x x x)\n#define g(x) h(x x x x x x x x)\n#define h(x) i(x x x x x x x x x x)\n#define i(x)", 1)
	for text, want := range map[string]string{
		"#define f(x) x\nint a;\nf(1\n":                          "a.c:3: the arguments of macro f do not end",
		"#define f(x) x\nf(1,2)":                                 "a.c:2: macro f is used with too many arguments",
		"#define f(x,y) x\nf(1)":                                 "a.c:2: macro f is used with too few arguments",
		"#define f() x\nf(1)":                                    "a.c:2: macro f takes no arguments",
		"#define f(a,b) a##b\nf(-,1)":                            `a.c:2: ## of "-" and "1" in a macro gives no token`,
		"#define f(a,b) a##b\nf(/,/)":                            `gives no token`,
		"#define f(a) # b\nf(1)":                                 "a.c:1: macro f: # is not followed by a parameter",
		"#define f(a) ## a\nf(1)":                                "a.c:1: macro f: ## at an end",
		"#define f(x) x\nf(\n# 1 \"x.h\" 1\n1\n# 4 \"a.c\" 2\n)": "a.c:2: the arguments of macro f do not end",
		"__has_include(<x.h>)":                                   "a.c:1: __has_include outside of #if",
		"__has_attribute":                                        "a.c:1: __has_attribute without",
		"_Pragma(1)":                                             "a.c:1: _Pragma takes a string",
		"_Pragma(\"pop_macro(\\\"X\\\")\")":                      "a.c:1: _Pragma push_macro and pop_macro cannot be followed",
		"char *s = R\"(x)\";":                                    "a.c:1: raw string constants are not read",
		deep:                                                     "nested too deep",
		bombed + "f(a12)":                                        "without an end in sight",
		bomb + "a40":                                             "the expansion has more than",
	} {
		d, err := Read([]byte("# 1 \"a.c\"\n" + text + "\n"))
		if err != nil {
			t.Errorf("%.60q: %v", text, err)
			continue
		}
		if _, err := d.expand(limits{tokens: 1 << 16, work: 1 << 20, nested: 500}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %s", text, err, want)
		}
	}
}
