// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/impact"
)

const (
	// The store of 0 goes, since the callee always writes (ipa-modref).
	killSource = `
int g(int);
__attribute__((noinline)) void set(int *p) { *p = g(1); }
int user(void) { int v = 0; set(&v); return v; }
int bystander(void) { return g(2); }
`
	// Two calls of a function that only reads become one, and the stack is not
	// aligned for a callee that calls nothing.
	pureSource = `
extern int table[];
__attribute__((noinline)) int look(int x) { return table[x] + table[x + 1]; }
int twice(int x) { int a = look(x); int b = look(x); return a * b; }
`
	// The callers pass a field instead of a pointer (ipa-sra).
	israSource = `
int g(int); int h;
struct s { int a, b; };
static __attribute__((noinline)) int fields(struct s *p, int y) { return g(p->a) + y; }
int caller(struct s *p) { return fields(p, h); }
int caller2(struct s *p) { return fields(p, h + 1); }
`
	// A callee that leads to cold code is cold itself: the call moves away.
	coldSource = `
__attribute__((cold)) void complain(int);
int g(int);
__attribute__((noinline)) void bad(int x) { complain(x); }
int work(int x) { if (x > 3) bad(x); return g(x) + 1; }
`
	// In host the body of choose is copied without its call of big, which then has
	// one caller left and is inlined into it. Opaque, choose calls big.
	rippleSource = `
int g(int);
static int big(int x) { int i, r = 0; for (i = 0; i < x; i++) { r += g(i); r ^= g(r + 1); r += g(r * 3); r -= g(r + 5); r ^= g(i ^ 7); } return r; }
static int choose(int x, int all) { if (all) return big(x) + 1; return g(x); }
int host(int x) { return choose(x, 0) * 3; }
int user(int x) { return big(x + 2) * 5; }
`
	// With the body of core in it, walk is too large to be inlined; with core
	// opaque it is not. Users call walk, which leads to core.
	betweenSource = `
int g(int); int h;
static int core(int x) { int r = g(x); r ^= g(r + 1); r += g(r * 3); r -= g(r + 5); r ^= g(r ^ 7); return r; }
static int walk(int x) { h++; g(x); return core(x + h) + 1; }
int first(int x) { return walk(x + 1) * 3; }
int second(int x) { return walk(x + 2) * 5; }
int third(int x) { return walk(x + 7) * 9; }
`
	// All callers pass 0 or 1: what is done for the rest goes.
	rangeSource = `
int g(int);
static __attribute__((noinline)) int mode(int m) { if (m > 1) return g(7); return g(!m); }
int a(int x) { return mode(x & 1); }
int b(int x) { return mode(x > 5) + 1; }
int c(int x) { return mode(x == 2) + 2; }
`
	// A static variable that nobody writes is a constant.
	foldSource = `
static int limit = 5;
int read_limit(int x) { return x < limit; }
int other(int x) { return x + 1; }
`
	// Equal bodies become one.
	foldedSource = `
int g(int);
static __attribute__((noinline)) int one(int x) { g(x); g(x + 1); g(x * 3); return g(x) + 7; }
static __attribute__((noinline)) int two(int x) { g(x); g(x + 1); g(x * 3); return g(x) + 7; }
int uses(int x) { return one(x) * 3 + two(x + 1); }
`
	alwaysSource = `
int g(int);
static inline __attribute__((always_inline)) int always(int x) { return g(x) + 1; }
int host(int x) { return always(x) * 2; }
`
)

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		name, gcc, text, hide string
		want                  string // missed: symbol class optimisations
		copied                string // of a ripple: how it is known that there is no copy
	}{
		{"modref kill", "gcc-12", killSource, "set", "user fact ipa-modref", ""},
		{"pure calls merged", "gcc-12", pureSource, "look", "twice fact ipa-pure-const,ipa-stack-alignment", ""},
		{"pure calls merged by GCC 11", "gcc-11", pureSource, "look", "twice fact ipa-pure-const,ipa-stack-alignment", ""},
		{"caller of a clone", "gcc-12", israSource, "fields", "", ""},
		{"cold callee", "gcc-12", coldSource, "bad", "work cold guess-branch-probability", ""},
		{"ripple", "gcc-12", rippleSource, "choose", "user ripple", "no reference leads from it to choose"},
		{"ripple through a callee", "gcc-12", betweenSource, "core", "first ripple; second ripple; third ripple", "with walk declared noinline"},
		{"folded bodies", "gcc-12", foldedSource, "one", "uses fact ipa-icf; two fact ipa-icf", ""},
		{"nobody", "gcc-12", killSource, "bystander", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := audit(t, c.gcc, c.text, c.hide, Options{Disassemble: true})
			var got []string
			for _, m := range f.Missed {
				got = append(got, strings.TrimSpace(m.Symbol+" "+string(m.Class)+" "+strings.Join(m.Optimisations, ",")))
				if len(m.Evidence) == 0 || !strings.HasPrefix(m.Disassembly, "--- "+m.Symbol) {
					t.Errorf("%s: evidence %q, disassembly %q", m.Symbol, m.Evidence, m.Disassembly)
				}
				if m.Class == Ripple && !strings.Contains(m.Evidence[len(m.Evidence)-1], c.copied) {
					t.Errorf("%s: evidence %q does not say that it cannot have a copy", m.Symbol, m.Evidence)
				}
				if m.Class.Unsafe() != (m.Class == Fact) {
					t.Errorf("%s: class %s, unsafe %v", m.Symbol, m.Class, m.Class.Unsafe())
				}
			}
			if s := strings.Join(got, "; "); s != c.want || f.Verdict != Audited {
				t.Errorf("missed %q, want %q (%s %s)", s, c.want, f.Verdict, f.Why)
			}
		})
	}
}

func TestCallersOfClonesArePredicted(t *testing.T) {
	f := audit(t, "gcc-12", israSource, "fields", Options{})
	if len(f.Predicted) != 2 || f.Hits() != 2 || f.CloneCallers() != 2 || f.Over() != 0 || len(f.Missed) != 0 {
		t.Errorf("%+v, want the two callers, both observed", f)
	}
}

func TestNoFactIsUsedWithFactsOff(t *testing.T) {
	l := level(t, compiler.InlineClone)
	for _, c := range [][2]string{{killSource, "set"}, {pureSource, "look"}} {
		if f := audit(t, "gcc-12", c[0], c[1], Options{Flags: l.Flags, FactsOff: l.FactsOff()}); len(f.Missed) != 0 {
			t.Errorf("%s: missed %+v, want none", c[1], f.Missed)
		}
	}
}

func TestAlwaysInline(t *testing.T) {
	for _, gcc := range []string{"gcc-11", "gcc-12"} {
		f := audit(t, gcc, alwaysSource, "always", Options{})
		if f.Verdict != AlwaysInline || len(f.Predicted) != 1 || f.Predicted[0].Symbol != "host" || f.Over() != 0 {
			t.Errorf("%s: %+v, want the verdict that it cannot be hidden and host as predicted", gcc, f)
		}
	}
}

func TestUnknownAndUnhidable(t *testing.T) {
	u := open(t, "gcc-12", killSource, Options{})
	var unknown *impact.UnknownError
	if _, err := u.Audit(t.Context(), []string{"usre"}); !errors.As(err, &unknown) || !slices.Contains(unknown.Near, "user") {
		t.Errorf("usre: %v, want an error that names user", err)
	}
	for _, name := range []string{"x; int y", "nowhere"} {
		var not *NotHiddenError
		if _, err := u.Hide(t.Context(), name); !errors.As(err, &not) || not.AlwaysInline {
			t.Errorf("hide %q: %v, want a refusal", name, err)
		}
	}
	if _, err := Open(t.Context(), &gccUnit{"gcc-12", "int broken(", t.TempDir()}, "a.c", Options{}); !errors.As(err, new(*RefusedError)) {
		t.Errorf("broken text: %v, want the compiler's refusal", err)
	}
}

func TestNarrowed(t *testing.T) {
	n, err := open(t, "gcc-12", rangeSource, Options{Disassemble: true}).Narrowed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n.Checked != 1 || len(n.InPlace) != 1 || n.InPlace[0].Symbol != "mode" || n.InPlace[0].Class != Fact ||
		!slices.Equal(n.InPlace[0].Optimisations, []string{"ipa-bit-cp"}) || n.InPlace[0].Disassembly == "" {
		t.Errorf("%+v, want mode, by ipa-bit-cp", n)
	}
	l := level(t, compiler.InlineClone)
	if n, err = open(t, "gcc-12", rangeSource, Options{Flags: l.Flags, FactsOff: true}).Narrowed(t.Context()); err != nil || len(n.InPlace) != 0 {
		t.Errorf("with facts off: %+v %v, want none", n, err)
	}
	if n, err = open(t, "gcc-12", israSource, Options{}).Narrowed(t.Context()); err != nil || !slices.Equal(n.Clones, []string{"fields.isra.0"}) {
		t.Errorf("%+v %v, want the clone of fields apart", n, err)
	}
}

func TestVariableFacts(t *testing.T) {
	facts, err := open(t, "gcc-12", foldSource, Options{}).VariableFacts(t.Context())
	if err != nil || len(facts) != 1 || facts[0].Symbol != "read_limit" || !slices.Equal(facts[0].Variables, []string{"limit"}) || facts[0].Unproven {
		t.Errorf("%+v %v, want read_limit for limit", facts, err)
	}
}

// TestVariableAddress: no pointer can lead to a static variable whose address
// nobody takes, so store goes on with the 1 that it wrote. No level forbids that.
func TestVariableAddress(t *testing.T) {
	const source = `
static int counter;
int store(int *p) { counter = 1; *p = 2; return counter; }
int read_counter(void) { return counter; }
`
	for _, opt := range []Options{{}, {Flags: []string{"-flive-patching=inline-clone"}, FactsOff: true}} {
		facts, err := open(t, "gcc-12", source, opt).VariableFacts(t.Context())
		if err != nil || len(facts) != 1 || facts[0].Symbol != "store" || !slices.Equal(facts[0].Variables, []string{"counter"}) || facts[0].Unproven {
			t.Errorf("%v: %+v %v, want store for counter", opt.Flags, facts, err)
		}
	}
}

// TestVariablesOfAssembly: a variable that C does not know cannot be given away,
// and does not keep the others from it.
func TestVariablesOfAssembly(t *testing.T) {
	const source = `
static int counter;
__asm__(".pushsection .data\n.type hidden,@object\n.size hidden,4\nhidden: .long 3\n.popsection");
int store(int *p) { counter = 1; *p = 2; return counter; }
int read_counter(void) { return counter; }
`
	facts, err := open(t, "gcc-12", source, Options{}).VariableFacts(t.Context())
	if err != nil || len(facts) != 1 || facts[0].Symbol != "store" {
		t.Errorf("%+v %v, want store", facts, err)
	}
}

// TestNullControl: the oracle sees no difference where only its own text is
// there, without the attribute.
func TestNullControl(t *testing.T) {
	for _, gcc := range []string{"gcc-11", "gcc-12"} {
		for _, text := range []string{killSource, pureSource, israSource, coldSource, rippleSource, rangeSource, foldSource, foldedSource, alwaysSource} {
			nullControl(t, open(t, gcc, text, Options{}))
		}
	}
}

func nullControl(t *testing.T, u *Unit) {
	t.Helper()
	names, _ := u.Functions()
	if len(names) == 0 {
		t.Fatal("the unit has no functions")
	}
	d, err := u.compare(t.Context(), variant{}, variant{tail: redeclare("", names...)})
	if err != nil {
		t.Fatal(err)
	}
	if c := d.changes(func(*delta.Item) bool { return false }); len(c) != 0 || !d.result.Empty() {
		t.Errorf("%s: redeclaring %d functions changes %+v", u.Source, len(names), c)
	}
}
