// SPDX-License-Identifier: Apache-2.0

package impact

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/delta"
	"kmend/internal/object"
)

var (
	programs  = flag.Int("programs", 3, "how many random programs TestRandomPrograms compiles")
	firstSeed = flag.Uint64("seed", 1000, "the first of their seeds")
)

// generator writes small C files: functions that call earlier ones.
type generator struct {
	*rand.Rand
	b     strings.Builder
	funcs []genFunc
}

// genFunc is a function that later ones may call.
type genFunc struct {
	name   string
	params string // i: int, p: struct s *
	void   bool
}

func (g *generator) pick(of ...string) string { return of[g.IntN(len(of))] }

// value is an expression of ints that are in scope.
func (g *generator) value(f *genFunc, depth int) string {
	opts := []string{fmt.Sprint(g.IntN(9)), "l", "g", fmt.Sprintf("v%d", g.IntN(4))}
	for i, p := range f.params {
		if p == 'i' {
			opts = append(opts, fmt.Sprintf("a%d", i), fmt.Sprintf("a%d", i))
		} else {
			opts = append(opts, fmt.Sprintf("a%d->%s", i, g.pick("x", "y", "z")))
		}
	}
	if depth > 0 {
		return "(" + g.value(f, depth-1) + " " + g.pick("+", "-", "*", "&", "|", "<", "==") + " " + g.value(f, depth-1) + ")"
	}
	return g.pick(opts...)
}

func (g *generator) args(f, callee *genFunc) string {
	var out []string
	for _, p := range callee.params {
		if p == 'i' {
			out = append(out, g.value(f, g.IntN(2)))
			continue
		}
		opts := []string{"&loc", "&gs"}
		for i, q := range f.params {
			if q == 'p' {
				opts = append(opts, fmt.Sprintf("a%d", i), fmt.Sprintf("a%d", i))
			}
		}
		out = append(out, g.pick(opts...))
	}
	return strings.Join(out, ", ")
}

func (g *generator) call(f *genFunc) string {
	if len(g.funcs) == 0 || g.IntN(5) == 0 {
		return g.pick("ext();", "l += ext1("+g.value(f, 0)+");", "ext2(&loc);")
	}
	// Later ones more often, so that chains get long.
	c := &g.funcs[len(g.funcs)-1-min(g.IntN(len(g.funcs)), g.IntN(len(g.funcs)))]
	s := c.name + "(" + g.args(f, c) + ");"
	if !c.void && g.IntN(4) > 0 {
		s = g.pick("l = ", "l += ", "loc.x = ", "v1 = ", "g = ") + s
	}
	return s
}

func (g *generator) statement(f *genFunc, depth int) string {
	switch n := g.IntN(12); {
	case n < 5:
		return g.call(f)
	case n < 7:
		to := []string{"l", "g", "v0", "v1", "loc.y"}
		for i, p := range f.params {
			if p == 'p' {
				to = append(to, fmt.Sprintf("a%d->%s", i, g.pick("x", "y")))
			}
		}
		return g.pick(to...) + " " + g.pick("=", "+=", "^=") + " " + g.value(f, 1) + ";"
	case n < 9 && depth > 0:
		return "if (" + g.value(f, 1) + ") {" + g.statement(f, depth-1) + g.statement(f, depth-1) + "}" + g.pick("", " else "+g.statement(f, depth-1))
	case n < 10 && depth > 0:
		return "for (i = 0; i < " + g.value(f, 0) + "; i++) {" + g.statement(f, 0) + "}"
	case n == 10:
		return "if (" + g.value(f, 1) + ") { rare(l); " + g.pick("", "return"+map[bool]string{true: "", false: " " + g.value(f, 0)}[f.void]+";") + "}"
	}
	return "l " + g.pick("+=", "*=", "^=") + " " + g.value(f, 1) + ";"
}

func (g *generator) function(n int) {
	f := genFunc{name: fmt.Sprintf("f%d", n), params: g.pick("i", "ii", "p", "pi", "ip", "pii", "")}
	f.void = g.IntN(4) == 0
	var params []string
	for i, p := range f.params {
		params = append(params, map[rune]string{'i': "int ", 'p': "struct s *"}[p]+fmt.Sprintf("a%d", i))
	}
	if params == nil {
		params = []string{"void"}
	}
	fmt.Fprintf(&g.b, "%s%s%s %s(%s)\n{\n\tint l = %s, i; struct s loc = { 0, 1, 2 };\n", g.pick("static ", "static ", "static ", ""), g.pick("__attribute__((noinline)) ", "", ""),
		map[bool]string{true: "void", false: "int"}[f.void], f.name, strings.Join(params, ", "), "0")
	for range 1 + g.IntN(5) {
		fmt.Fprintf(&g.b, "\t%s\n", g.statement(&f, 2))
	}
	if strings.HasPrefix(f.params, "i") && !f.void && g.IntN(8) == 0 { // recursion
		self := f
		fmt.Fprintf(&g.b, "\tif (a0 > 3) { a0--; l += %s(%s); }\n", f.name, g.args(&f, &self))
	}
	if !f.void {
		fmt.Fprintf(&g.b, "\treturn %s;\n", g.pick("l", "l", "l + loc.y", g.value(&f, 1), "3"))
	}
	g.b.WriteString("}\n")
	g.funcs = append(g.funcs, f)
}

func generate(seed uint64) string {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.b.WriteString("struct s { int x, y, z; };\nvoid ext(void); int ext1(int); void ext2(struct s *); void rare(int) __attribute__((cold));\nextern int g; extern struct s gs;\nstatic int v0, v1, v2 = 5, v3;\n")
	for n := range 7 + g.IntN(6) {
		g.function(n)
	}
	// Roots, so that the statics are not dropped.
	for r := range 3 {
		f := genFunc{params: "pi"}
		fmt.Fprintf(&g.b, "int root%d(struct s *a0, int a1)\n{\n\tint l = 0; struct s loc = { 1, 2, 3 };\n", r)
		for range 3 {
			fmt.Fprintf(&g.b, "\t%s\n", g.call(&f))
		}
		g.b.WriteString("\treturn l + loc.x;\n}\n")
	}
	return g.b.String()
}

// randomUnit is a random program as gcc-12 makes it at level inline-clone.
type randomUnit struct {
	t    *testing.T
	text string
	dir  string
	base map[string]madeUnit // as it is, by further flags
}

type madeUnit struct {
	items *delta.Unit
	unit  *Unit
}

// made compiles the program with a line behind its end and further flags.
func (r *randomUnit) made(tail string, flags ...string) (*delta.Unit, *Unit) {
	r.t.Helper()
	write(r.t, filepath.Join(r.dir, "a.c"), r.text+tail)
	if err := os.Remove(filepath.Join(r.dir, "clones")); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	args := append([]string{"-O2", "-pg", "-mfentry", "-fno-pie", "-w", "-flive-patching=inline-clone", "-ffunction-sections", "-fdata-sections",
		"-fdump-ipa-clones=clones", "-c", "a.c"}, flags...)
	cmd := exec.Command("gcc-12", args...)
	cmd.Dir = r.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("gcc-12: %v\n%s\n%s", err, out, r.text+tail)
	}
	dump, err := os.ReadFile(filepath.Join(r.dir, "clones"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(r.dir, "a.o"))
	if err != nil {
		r.t.Fatal(err)
	}
	obj, err := object.Read(data)
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := NewUnit(dump, obj)
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := delta.NewUnit(obj)
	if err != nil {
		r.t.Fatal(err)
	}
	return d, u
}

// hide is the line that makes a body opaque to the rest of the unit.
func hide(name string) string {
	return fmt.Sprintf("extern __typeof__(%s) %s __attribute__((noipa));\n", name, name)
}

// changed lists the functions whose code differs when a body is hidden: not
// the function itself and its clones.
func (r *randomUnit) changed(name string, flags ...string) (changed []string, before, after *Unit) {
	key := strings.Join(flags, " ")
	if _, ok := r.base[key]; !ok {
		d, u := r.made("", flags...)
		r.base[key] = madeUnit{d, u}
	}
	b, before := r.base[key].items, r.base[key].unit
	a, after := r.made(hide(name), flags...)
	res := delta.Compare(b, a)
	add := func(it *delta.Item) {
		if it.Kind == delta.Func && delta.Source(it.Name) != name && !slices.Contains(changed, it.Name) {
			changed = append(changed, it.Name)
		}
	}
	for _, c := range res.Changed {
		add(c.Before)
	}
	for _, it := range res.Removed {
		add(it)
	}
	slices.Sort(changed)
	return changed, before, after
}

// copied lists the source functions whose bodies are in a function, and the
// clones that a unit has, those of the hidden function apart.
func copied(u *Unit, into, hidden string) []string {
	var out []string
	for _, c := range u.Clones.Clones {
		if from, to := delta.Source(c.From.Name), delta.Source(c.To.Name); to == into && from != into && from != hidden {
			out = append(out, from)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// clonesOf lists the clones that a unit has of a source function, numbers apart.
func clonesOf(u *Unit, source string) []string {
	var out []string
	for i := range u.Funcs {
		if delta.Source(u.Funcs[i].Name) == source {
			out = append(out, strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return -1
				}
				return r
			}, strings.TrimPrefix(u.Funcs[i].Name, source)))
		}
	}
	slices.Sort(out)
	return out
}

// rippled reports whether hiding a body moved decisions elsewhere that explain
// why a function differs: other bodies are in it, it became or ceased to be a
// clone, or one that it calls did.
func rippled(symbol, hidden string, before, after *Unit) bool {
	x := delta.Source(symbol)
	if !slices.Equal(copied(before, x, hidden), copied(after, x, hidden)) || !slices.Equal(clonesOf(before, x), clonesOf(after, x)) {
		return true
	}
	for _, u := range []*Unit{before, after} {
		for clone, users := range u.users {
			if s := delta.Source(clone); slices.Contains(users, symbol) && s != hidden && !slices.Equal(clonesOf(before, s), clonesOf(after, s)) {
				return true
			}
		}
	}
	return false
}

// specialised reports whether a function is a clone that was made for what the
// hidden function, or one that has its body, passes, or calls such a clone, whose
// interface has only what it needs. The clone's name is its own, so that no code
// of a patch takes it for the function, and old callers go on with the old one.
func specialised(symbol, hidden string, changed []string, predicted map[string]bool, u *Unit) bool {
	forHidden := func(clone string) bool {
		return isCloneName(clone) && !predicted[clone] && slices.Contains(changed, clone) &&
			slices.ContainsFunc(u.users[clone], func(user string) bool { return delta.Source(user) == hidden || predicted[user] })
	}
	for clone, users := range u.users {
		if forHidden(clone) && (clone == symbol || slices.Contains(users, symbol)) {
			return true
		}
	}
	return false
}

// TestRandomPrograms holds the prediction against the code: at inline-clone,
// whoever's code changes when a body is hidden is predicted, is a clone for what
// the hidden function passes, or differs because other inlining decisions were
// made or because of a guess how often code runs.
func TestRandomPrograms(t *testing.T) {
	hits, over, ripple, clones, cold := 0, 0, 0, 0, 0
	for seed := *firstSeed; seed < *firstSeed+uint64(*programs); seed++ {
		r := &randomUnit{t: t, text: generate(seed), dir: t.TempDir(), base: map[string]madeUnit{}}
		_, u := r.made("")
		for _, name := range u.Functions() {
			if delta.Source(name) != name {
				continue
			}
			list, err := u.Impacted(name)
			if err != nil {
				t.Fatal(err)
			}
			changed, before, after := r.changed(name)
			predicted := map[string]bool{}
			for _, i := range list {
				if delta.Source(i.Symbol) != name {
					predicted[i.Symbol] = true
				}
			}
			for _, x := range changed {
				switch {
				case predicted[x]:
					hits++
				case specialised(x, name, changed, predicted, before):
					clones++
				case rippled(x, name, before, after):
					ripple++
				default:
					if still, _, _ := r.changed(name, "-fno-guess-branch-probability", "-fno-ipa-profile"); slices.Contains(still, x) {
						t.Errorf("seed %d: %s changes when the body of %s is hidden, was not predicted, and nothing explains it:\n%s", seed, x, name, r.text)
						continue
					}
					cold++
				}
			}
			for x := range predicted {
				if !slices.Contains(changed, x) {
					over++
				}
			}
		}
	}
	t.Logf("%d programs: predicted and changed %d, predicted only %d; not predicted, by inlining elsewhere %d, clones for what is passed %d, by placement %d", *programs, hits, over, ripple, clones, cold)
	if hits < *programs {
		t.Errorf("only %d functions in %d programs depend on others: look at the generator", hits, *programs)
	}
}
