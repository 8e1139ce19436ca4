// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/cctest"
	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/object"
)

// provedCase is a unit and an extraction from it by hand.
type provedCase struct {
	name        string
	whole, part string
	textEqual   bool
	want        string // FUNCTION VERDICT RULE×COUNT…, one function after the other
}

const (
	shared = "int g(int); int h(int, const char *); struct s { int a, b; };\n#define noinline __attribute__((noinline))\n"
	// helper is inlined into foo, and exists as a function for the table.
	inlinedHelper = shared + "static int helper(int x) { return g(x) * 3 + 1; }\nint (*const table[])(int) = { helper };\n"
	// big is what GCC copies into one caller, never into two.
	big = "static int helper(int x) { int i, n = 0; for (i = 0; i < x; i++) { n += g(i); if (n & 4) n = g(n) + g(x); if (n & 8) n ^= g(i + 1) + g(i + 2); } while (n > 7) n = g(n) + g(n + 1) * g(n + 2); return n; }\n"
)

var provedCases = []provedCase{
	{name: "equal", whole: shared + "int foo(int x) { return g(x) + 1; }", part: shared + "int klpp_foo(int x) { return g(x) + 1; }", want: "foo identical"},
	{name: "other constant", whole: shared + "int foo(int x) { return g(x) + 1; }", part: shared + "int klpp_foo(int x) { return g(x) + 2; }", want: "foo unexplained"},
	{name: "other constant, though the texts are said to be equal", whole: shared + "int foo(int x) { return g(x) + 1; }", part: shared + "int klpp_foo(int x) { return g(x) + 2; }",
		textEqual: true, want: "foo unexplained"},
	{name: "other callee", whole: shared + "int g2(int); int foo(int x) { return g(x) + g2(x); }", part: shared + "int g2(int); int klpp_foo(int x) { return g2(x) + g(x); }", want: "foo unexplained"},
	{name: "name of the function", whole: shared + "int foo(int x) { return h(x, __func__) + 1; }", part: shared + "int klpp_foo(int x) { return h(x, __func__) + 1; }", want: "foo named function-name×1"},
	{name: "name of the function, and more", whole: shared + "int foo(int x) { return h(x, __func__) + 1; }", part: shared + "int klpp_foo(int x) { return h(x, __func__) + 3; }", want: "foo unexplained function-name×1"},
	{name: "another name", whole: shared + `int foo(int x) { static const char n[] = "foo"; return h(x, n) + 1; }`, part: shared + `int klpp_foo(int x) { static const char n[] = "fop"; return h(x, n) + 1; }`, want: "foo unexplained"},
	{name: "callee inlined in the unit", whole: inlinedHelper + "int foo(int x) { return helper(x) + helper(x + 1); }",
		part: shared + "int helper(int); int klpp_foo(int x) { return helper(x) + helper(x + 1); }", want: "foo named unit-knowledge×1 callee-inlined×1"},
	{name: "callee inlined in the unit, and more", whole: inlinedHelper + "int foo(int x) { return helper(x) + helper(x + 1); }",
		part: shared + "int helper(int); int klpp_foo(int x) { return helper(x) + helper(x + 2); }", want: "foo unexplained"},
	{name: "clone in the unit", whole: shared + "noinline static int helper(const struct s *p) { return g(p->a) + 1; }\nint foo(struct s *p) { return helper(p) + 1; }",
		part: shared + "int helper(const struct s *); int klpp_foo(struct s *p) { return helper(p) + 1; }", want: "foo named unit-knowledge×1 clone×1"},
	{name: "the same clone in both", whole: shared + "noinline static int helper(const struct s *p) { return g(p->a) + 1; }\nint foo(struct s *p) { return helper(p) + 1; }",
		part: shared + "noinline static int helper(const struct s *p) { return g(p->a) + 1; }\nint klpp_foo(struct s *p) { return helper(p) + 1; }",
		want: "helper.isra.0 identical foo identical"},
	{name: "the same clone with another body", whole: shared + "noinline static int helper(const struct s *p) { return g(p->a) + 1; }\nint foo(struct s *p) { return helper(p) + 1; }",
		part: shared + "noinline static int helper(const struct s *p) { return g(p->a) + 2; }\nint klpp_foo(struct s *p) { return helper(p) + 1; }",
		want: "helper.isra.0 unexplained foo identical"},
	{name: "facts about a callee", whole: shared + "noinline static int helper(int x) { return x * 3 ^ 5; }\nint (*const table[])(int) = { helper };\nint foo(int x) { return helper(x) + g(x) + helper(x); }",
		part: shared + "int helper(int); int klpp_foo(int x) { return helper(x) + g(x) + helper(x); }", want: "foo named unit-knowledge×1"},
	{name: "a variable whose address nobody has", whole: shared + "static int v; int get(void) { return v; } int foo(int *p) { v = 1; *p = 2; return v; }", part: shared + "extern int v; int klpp_foo(int *p) { v = 1; *p = 2; return v; }", want: "foo named unit-knowledge×1"},
	{name: "the same, and another value", whole: shared + "static int v; int get(void) { return v; } int foo(int *p) { v = 1; *p = 2; return v; }", part: shared + "extern int v; int klpp_foo(int *p) { v = 1; *p = 3; return v; }", want: "foo unexplained"},
	{name: "a variable of the file, defined", whole: shared + "static int v = 3; void set(int x) { v = x; } int foo(int x) { return g(x) + v; }", part: shared + "static int v = 3; int klpp_foo(int x) { return g(x) + v; }", want: "foo unexplained"},
	{name: "callers that only the unit has", whole: shared + "noinline static int foo(int x) { return x ? g(x) : 7; } int user(int x) { return foo((x & 3) + 5) + 1; } int user2(void) { return foo(9) + 2; }",
		part: shared + "int klpp_foo(int x) { return x ? g(x) : 7; }", want: "foo named unit-knowledge×1"},
	{name: "copied into one caller, in the unit for two", whole: shared + big + "int foo(int x) { return helper(x); }\nint bar(int x) { return helper(x) + 1; }",
		part: shared + big + "int klpp_foo(int x) { return helper(x); }", textEqual: true, want: "foo named inlining×1"},
	{name: "the same, and a variable of its own, of which nothing is left", whole: shared + "static int v; void set(int x) { v = x; }\n" + big + "int foo(int x) { return helper(x) + v; }\nint bar(int x) { return helper(x) + 1; }",
		part: shared + "static int v;\n" + big + "int klpp_foo(int x) { return helper(x) + v; }", textEqual: true, want: "foo unexplained"},
	{name: "the same, and nothing is known of the texts", whole: shared + big + "int foo(int x) { return helper(x); }\nint bar(int x) { return helper(x) + 1; }",
		part: shared + big + "int klpp_foo(int x) { return helper(x); }", want: "foo unexplained"},
	{name: "a function of its own in the part only", whole: shared + "static int helper(int x) { return g(x) ^ 3; }\nint foo(int x) { return helper(x); }",
		part: shared + "noinline static int helper(int x) { return g(x) ^ 3; }\nint klpp_foo(int x) { return helper(x); }", textEqual: true,
		want: "helper named callee-not-inlined×1 foo named inlining×1"},
}

func TestProve(t *testing.T) {
	for _, c := range provedCases {
		t.Run(c.name, func(t *testing.T) {
			proofs := proveText(t, &c)
			var got []string
			for _, p := range proofs {
				got = append(got, p.Function, p.Verdict)
				for _, r := range p.Rules {
					got = append(got, fmt.Sprintf("%s×%d", r.Rule, r.Count))
				}
				if (p.Verdict == ProofUnexplained || p.WholeSize == 0) && p.Difference == "" {
					t.Errorf("%s: no difference is told", p.Function)
				}
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got  %s\nwant %s\n%+v", text, c.want, proofs)
			}
		})
	}
}

// proveText proves an extraction of small C.
func proveText(t *testing.T, c *provedCase) []Proof {
	t.Helper()
	renamed := map[string]string{"klpp_foo": "foo"}
	obj, dump := cctest.Compile(t, "gcc-12", c.whole, cctest.Kernel...)
	whole, err := readUnit(obj)
	if err != nil {
		t.Fatal(err)
	}
	in := proofInput{whole: whole, textEqual: c.textEqual, replaced: []string{"foo"}}
	if in.wholeDump, err = compiler.ParseClones(dump); err != nil {
		t.Fatal(err)
	}
	o := SourceObject{Renamed: renamed}
	o.Object, o.Clones = cctest.Compile(t, "gcc-12", c.part, cctest.Kernel...)
	file, err := object.Read(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	if in.levelled, err = delta.RestoreNames(file, renamed, true); err != nil {
		t.Fatal(err)
	}
	if in.part, err = delta.NewUnit(file); err != nil {
		t.Fatal(err)
	}
	if in.partDump, err = restoredDump(o); err != nil {
		t.Fatal(err)
	}
	in.apart = func(tail string) (*delta.Unit, error) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(c.whole+tail), 0o644); err != nil {
			return nil, err
		}
		cmd := exec.Command("gcc-12", append(append([]string{}, cctest.Kernel...), "-w", "-c", "a.c")...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "a.o"))
		if err != nil {
			return nil, err
		}
		return readUnit(data)
	}
	proofs, err := in.prove()
	if err != nil {
		t.Fatal(err)
	}
	return proofs
}

// One token of the extracted text is another: whatever changes the code must be
// unexplained, where the unit's code equals the part's and where only the unit
// without its knowledge does.
func TestProveCatchesMutations(t *testing.T) {
	const body = `{ static int calls; int n = helper(x + 1); calls += n; if (n > 3 && !v) n = g(n) - x; while (n & 8) n = h(n >> 1, "text"); p->a = n; p->b += v; return n ? calls : -2; }`
	mutations := [][2]string{
		{"x + 1", "x - 1"}, {"x + 1", "x + 2"}, {"helper(", "g("}, {"calls += n", "calls -= n"}, {"n > 3", "n >= 3"}, {"3 &&", "3 ||"}, {"!v", "v"},
		{"- x", "- n"}, {"n & 8", "n | 8"}, {">> 1", "<< 1"}, {`"text"`, `"test"`}, {"p->a", "p->b"}, {"+= v", "= v"}, {"? calls", "? n"}, {"-2", "2"},
	}
	for _, unit := range []struct{ helper, want string }{
		{"__attribute__((noipa)) static int helper(int x) { return g(x) * 3 + 1; }\n", ProofIdentical}, // nothing is known of it in the unit either
		{"static int helper(int x) { return g(x) * 3 + 1; }\n", ProofNamed},                            // inlined in the unit
	} {
		whole := shared + "static int v; void set(int x, int **p) { v = x; *p = &v; }\n" + unit.helper + "int (*const table[])(int) = { helper };\nint foo(int x, struct s *p) " + body
		part := shared + "extern int v; int helper(int);\nint klpp_foo(int x, struct s *p) "
		for _, m := range append([][2]string{{"", ""}}, mutations...) {
			c := provedCase{whole: whole, part: part + strings.Replace(body, m[0], m[1], 1)}
			want := ProofUnexplained
			if m[0] == "" {
				want = unit.want
			} else if !strings.Contains(body, m[0]) {
				t.Fatalf("the text has no %q", m[0])
			}
			if p := proveText(t, &c); len(p) != 1 || p[0].Verdict != want {
				t.Errorf("%q for %q: %+v, want %s", m[1], m[0], p, want)
			}
		}
	}
}
