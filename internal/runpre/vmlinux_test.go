// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"strings"
	"testing"

	"kmend/internal/object"
)

// The plain build that runs and the one with function sections are the same
// program; the tail jump is shorter in the former.
func TestPlainAgainstFunctionSections(t *testing.T) {
	im := link(t, compile(t, "other.c"), compile(t, "unit.c"))
	f := load(t, compile(t, "unit.c", split...))
	m := im.match(t, f)
	m.only(t)
	if len(m.Funcs) < 12 {
		t.Errorf("%d functions were compared, at least 12 expected: %v", len(m.Funcs), m.Funcs)
	}
	if n := m.of(t, "tail").Normalised[RuleBranchWidth]; n == 0 {
		t.Error("tail: no branch of different width was normalised")
	}
	for name, want := range map[string]bool{"tail": true, "untraced": false} {
		if got := m.of(t, name).Fentry; got != want {
			t.Errorf("%s: Fentry is %v", name, got)
		}
	}
	for _, name := range []string{"tail", "count", "dispatch", "unlikely_path.cold"} {
		r := m.of(t, name)
		if r.Symbol.Addr != im.addr(t, name) || r.Symbol.Name != name || r.Symbol.Sympos != 0 || r.Size == 0 {
			t.Errorf("%s: matched %+v", name, r.Symbol)
		}
	}
	// Statics: the address of a static local, and which of two equally named
	// file statics is ours.
	sym := func(name string) Value {
		s, err := f.Symbol(name)
		if err != nil {
			t.Fatal(err)
		}
		v, ok := m.Values[s]
		if !ok {
			t.Fatalf("no value of %s", name)
		}
		return v
	}
	for _, s := range f.Symbols {
		if strings.HasPrefix(s.Name, "calls.") || s.Name == "neighbour" || s.Name == "published" || s.Name == "helper" {
			v := sym(s.Name)
			if v.Addr != im.addr(t, s.Name) || v.Named < 0 || v.Symbols[v.Named].Name != s.Name {
				t.Errorf("value of %s is %+v", s.Name, v)
			}
		}
	}
	hits := im.Lookup("hits")
	if v := sym("hits"); len(hits) != 2 || v.Addr != hits[1].Addr || v.Symbols[v.Named].Sympos != 2 {
		t.Errorf("hits is at %#x, entries %+v", v.Addr, hits)
	}
	if r := m.of(t, "twin"); r.Symbol.Sympos != 2 {
		t.Errorf("twin: %+v, want the second entry", r.Symbol)
	}
}

// Every variation of the source shows in the function concerned and only there.
func TestDifferences(t *testing.T) {
	f := load(t, compile(t, "unit.c", split...))
	other := compile(t, "other.c")
	for _, c := range []struct {
		flag   string
		differ []string // the first is looked at
		why    string
	}{
		{"-DLIMIT=1001", []string{"neighbour"}, "05 e9 03 00 00"},
		{"-DHELPER=other", []string{"neighbour"}, "refers to other, ours to helper"},
		{`-DTEXT="value %u"`, []string{"count"}, `refers to "value %u", ours to "value %d"`},
		{"-DENTRY=31", []string{"table"}, "differ at 0x8"},
		{"-DCOLD=8", []string{"unlikely_path.cold", "unlikely_path"}, "instructions differ"},
		// The other unit's twin is now the one that is equal, but not the one
		// that loops calls.
		{"-DTWIN=13", []string{"twin"}, "contradicts"},
	} {
		im := link(t, other, compile(t, "unit.c", c.flag))
		m := im.match(t, f)
		m.only(t, c.differ...)
		if r := m.of(t, c.differ[0]); r.Verdict != Mismatch || !strings.Contains(r.Why, c.why) {
			t.Errorf("%s: %s is %s at %#x: %s; want %q", c.flag, c.differ[0], r.Verdict, r.Offset, r.Why, c.why)
		}
	}
}

func TestChangedConstantOffset(t *testing.T) {
	im := link(t, compileText(t, "int f(int x) { return x ^ 0x12345678; }"))
	f := load(t, compileText(t, "int f(int x) { return x ^ 0x12345679; }", split...))
	r := im.match(t, f).of(t, "f")
	// call __fentry__ (5), mov %edi,%eax (2), then xor.
	if r.Verdict != Mismatch || r.Offset != 7 || !strings.Contains(r.Why, "ours 35 79 56 34 12, running 35 78 56 34 12") {
		t.Errorf("f is %s at %#x: %s", r.Verdict, r.Offset, r.Why)
	}
}

func TestWeak(t *testing.T) {
	f := load(t, compile(t, "unit.c", split...))
	im := link(t, compile(t, "other.c", "-DSTRONG"), compile(t, "unit.c"))
	m := im.match(t, f)
	m.only(t, "overridden")
	if r := m.of(t, "overridden"); r.Verdict != Mismatch || !r.Weak {
		t.Errorf("overridden: %+v", r)
	}
	// The dead body has no name any more and follows another function.
	found := false
	for _, r := range m.Funcs {
		found = found || r.Normalised[RuleOverriddenWeak] > 0
	}
	if !found {
		t.Error("no function has the dead body of the weak one behind it")
	}
	im = link(t, compile(t, "other.c"), compile(t, "unit.c"))
	if r := im.match(t, f).of(t, "overridden"); r.Verdict != Equal || !r.Weak {
		t.Errorf("overridden, but not: %+v", r)
	}
}

func TestMissingAndBinding(t *testing.T) {
	im := link(t, compileText(t, "int f(int x) { return x + 1; }"))
	f := load(t, compileText(t, "int g(int x) { return x + 1; } static int f(int x) { return x + 1; } int (*p)(int) = f;", split...))
	m := im.match(t, f)
	if r := m.of(t, "g"); r.Verdict != Missing {
		t.Errorf("g: %+v", r)
	}
	if r := m.of(t, "f"); r.Verdict != Missing || !strings.Contains(r.Why, "local") {
		t.Errorf("a static f matched a global one: %+v", r)
	}
}

const twins = `
extern int published;
static __attribute__((noinline)) int twin(int x) { published += x; return x * 11; }
`

// A function that runs twice: nothing tells which one is ours, or a caller
// does, or its neighbours in emission order do.
func TestTwins(t *testing.T) {
	alone := twins + "int (*NAME)(int) = twin;\n"
	called := twins + "int NAME(int x) { return twin(x) + twin(x + 2) + 1; }\n"
	between := "int NAME(int x) { return x + 3; }" + twins + "int (*p_NAME)(int) = twin; int NAME2(int x) { return x + 4; }\n"
	common := compileText(t, "int published;")
	text := func(src, name string) string { return strings.ReplaceAll(src, "NAME", name) }

	im := link(t, common, compileText(t, text(alone, "a")), compileText(t, text(alone, "b")))
	r := im.match(t, load(t, compileText(t, text(alone, "b"), split...))).of(t, "twin")
	if r.Verdict != Ambiguous || !strings.Contains(r.Why, "2 running functions are named twin") {
		t.Errorf("alone: %+v", r)
	}
	for i, name := range []string{"a", "b"} {
		im = link(t, common, compileText(t, text(called, "a")), compileText(t, text(called, "b")))
		f := load(t, compileText(t, text(called, name), split...))
		for _, funcs := range [][]string{nil, {"twin"}} { // also if only the twin was asked for
			r = im.match(t, f, funcs...).of(t, "twin")
			if r.Verdict != Equal || r.Symbol.Sympos != i+1 {
				t.Errorf("called from %s: %+v", name, r)
			}
		}
		im = link(t, common, compileText(t, text(between, "a")), compileText(t, text(between, "b")))
		r = im.match(t, load(t, compileText(t, text(between, name), split...))).of(t, "twin")
		if r.Verdict != Equal || r.Symbol.Sympos != i+1 || r.Normalised[RuleOrder] != 1 {
			t.Errorf("between neighbours of %s: %+v", name, r)
		}
	}
}

// A local and a global symbol share a name: the position counts all entries.
func TestSymposOverAllBindings(t *testing.T) {
	im := link(t, compileText(t, "static int dup(int x) { return x - 7; } int (*p)(int) = dup;"), compileText(t, "int dup(int x) { return x + 9; }"))
	r := im.match(t, load(t, compileText(t, "int dup(int x) { return x + 9; }", split...))).of(t, "dup")
	if r.Verdict != Equal || r.Symbol.Sympos != 2 || !r.Symbol.Global {
		t.Errorf("dup: %+v", r)
	}
}

// Two functions of a unit refer to one static variable; in what runs one of
// them refers to another variable of the same name.
func TestInconsistentValues(t *testing.T) {
	src := "static int seen; int NAME1(void) { return seen += 2; } int NAME2(int x) { seen = x; return 1; }"
	text := func(name string) string { return strings.ReplaceAll(src, "NAME", name) }
	im := link(t, compileText(t, text("a")), compileText(t, text("b")))
	f := load(t, compileText(t, text("b"), split...))
	im.match(t, f).only(t)

	seen := im.Lookup("seen")
	if len(seen) != 2 {
		t.Fatalf("%d symbols named seen", len(seen))
	}
	// b2 is: call __fentry__; mov %edi,seen(%rip) (89 3d disp32); ...
	at := im.addr(t, "b2") + 7
	disp := uint32(seen[0].Addr - (at + 4))
	im.patch(t, at, []byte{byte(disp), byte(disp >> 8), byte(disp >> 16), byte(disp >> 24)})
	m := im.match(t, f)
	m.only(t, "b1", "b2")
	if r := m.of(t, "b2"); !strings.Contains(r.Why, "section .bss.seen would be at") {
		t.Errorf("b2: %+v", r)
	}
	// Asked for b2 alone, nothing contradicts: it could be the other unit's b2
	// if that had the name, but what it refers to is what was found.
	m = im.match(t, f, "b2")
	for s, v := range m.Values {
		if s.Name == ".bss.seen" && v.Addr != seen[0].Addr {
			t.Errorf("value of seen is %#x", v.Addr)
		}
	}
}

// What follows a function must be padding.
func TestLongerRunningFunction(t *testing.T) {
	im := link(t, compileText(t, "int f(int x) { return x + 1; } int g(int x) { return x; }"))
	f := load(t, compileText(t, "int f(int x) { return x + 1; }", split...))
	m := im.match(t, f)
	m.only(t)
	r := m.of(t, "f")
	im.patch(t, r.Symbol.Addr+r.Size, []byte{0x31, 0xc0}) // xor %eax,%eax
	r = im.match(t, f).of(t, "f")
	if r.Verdict != Mismatch || !strings.Contains(r.Why, "goes on behind the end") {
		t.Errorf("f: %+v", r)
	}
}

// No flipped bit of a matched function's code goes unnoticed.
func TestEveryByteCounts(t *testing.T) {
	im := link(t, compile(t, "other.c"), compile(t, "unit.c"))
	f := load(t, compile(t, "unit.c", split...))
	m := im.match(t, f)
	m.only(t)
	flips := 0
	for s, r := range m.Funcs {
		code, err := im.Bytes(r.Symbol.Addr, int(r.Size))
		if err != nil {
			t.Fatal(err)
		}
		for i := range code {
			for _, bit := range []int{i % 8, (i + 3) % 8} { // all eight take four times as long
				code[i] ^= 1 << bit
				flips++
				if again := im.match(t, f, s.Name).of(t, s.Name); again.Verdict == Equal {
					t.Errorf("%s: bit %d of byte %#x flipped, still equal", s.Name, bit, i)
				}
				code[i] ^= 1 << bit
			}
		}
	}
	t.Logf("%d flips", flips)
}

func TestRequests(t *testing.T) {
	im := link(t, compileText(t, "int f(int x) { return x + 1; } int v = 3;"))
	f := load(t, compileText(t, "int f(int x) { return x + 1; } int v = 3;", split...))
	v := &vmlinux{mem: im, syms: im}
	if _, err := matchUnit(v, f, byName(t, f, []string{"v"})); err == nil {
		t.Error("a variable was taken for a function")
	}
	fn := byName(t, f, []string{"f"})
	fn[0].Size = 1 << 40
	if _, err := matchUnit(v, f, fn); err == nil {
		t.Error("a function larger than its section was accepted")
	}
	if _, err := matchUnit(v, &object.File{}, []*object.Symbol{nil}); err == nil {
		t.Error("a nil function was accepted")
	}
}
