// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kmend/internal/cctest"
	"kmend/internal/closure"
	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/object"
	"kmend/internal/oracle"
	"kmend/internal/runpre"
)

// bindCase is a fix of a small unit, and an extraction from it by hand.
type bindCase struct {
	name          string
	before, after string
	part          string
	renamed       string   // names by spaces, instead of foo
	copied        string   // functions that the extractor says it copied
	narrowed      string   // functions that the audit found fitted to their callers
	asIs          bool     // edits are to come
	refused       []string // codes with symbols
	copy          string   // what must be copied instead
	binds         string   // NAME→NAME of the kernel, for items of the unit
	included      string   // with kinds, what goes along
}

const (
	noInline = "__attribute__((noinline)) "
	fooWas   = "int g(int), h(int);\nint foo(int x) { return g(x) + 1; }\n"
	fooIs    = "int g(int), h(int);\nint foo(int x) { return g(x) + 2; }\n"
	fooPart  = "int g(int), h(int);\nint klpp_foo(int x) { return g(x) + 2; }\n"
	helperIn = "static int helper(int x) { return g(x) * 5; }\n"
	typed    = "struct s { int a; int b; };\nint g(int); static int v = 3; void set(int x) { v = x; }\n"
	// as fortify-string.h does it
	fortified = "int real_cmp(int) __asm__(\"cmp\"); extern inline __attribute__((always_inline, gnu_inline)) int cmp(int x) { return real_cmp(x & 7); }\n"
	counts    = "int g(int); int foo(int x) { static int count = 3; count += g(x); return count + 1; } int bar(int x) { static int count = 3; count += g(x); return count + 7; }\n"
)

var bindCases = []bindCase{
	{name: "nothing but a function", before: fooWas, after: fooIs, part: fooPart, included: "foo function"},
	{name: "static local", before: counts, after: strings.Replace(counts, "+ 1", "+ 2", 1), binds: "count→count",
		part: "int g(int); int klpp_foo(int x) { static int count = 3; count += g(x); return count + 2; }", included: "foo function"},
	{name: "static local with another value", before: counts, after: strings.Replace(counts, "+ 1", "+ 2", 1),
		part: "int g(int); int klpp_foo(int x) { static int count = 4; count += g(x); return count + 2; }", refused: []string{"extracted-data count"}},
	{name: "static local of the fix", before: fooWas, after: "int g(int), h(int); int foo(int x) { static int count; count += g(x); return count; }",
		part: "int g(int), h(int); int klpp_foo(int x) { static int count; count += g(x); return count; }", included: "count state foo function"},
	{name: "static local that the unit has not", before: fooWas, after: fooIs, part: "int g(int), h(int); int klpp_foo(int x) { static int count; count += g(x); return count; }",
		refused: []string{"state-duplicated count"}},
	{name: "file static, defined", before: "int g(int); static int v = 3; void set(int x) { v = x; } int foo(int x) { return g(v) + 1; }", after: "int g(int); static int v = 3; void set(int x) { v = x; } int foo(int x) { return g(v) + 2; }",
		part: "int g(int); static int v = 3; int klpp_foo(int x) { v += x; return g(v) + 2; }", refused: []string{"extracted-data v"}},
	{name: "file static, declared", before: "int g(int); static int v = 3; void set(int x) { v = x; } int foo(int x) { return g(v) + 1; }", after: "int g(int); static int v = 3; void set(int x) { v = x; } int foo(int x) { return g(v) + 2; }",
		part: "int g(int); extern int v; int klpp_foo(int x) { return g(v) + 2; }", binds: "v→v", included: "foo function"},
	{name: "variable of the fix, declared", before: fooWas, after: "int g(int); int v = 3; int foo(int x) { return g(v) + 2; }", part: "int g(int); extern int v; int klpp_foo(int x) { return g(v) + 2; }",
		refused: []string{"extracted-data v"}},
	{name: "not extracted", before: fooWas, after: fooIs, part: "int bar(int x) { return x; }", renamed: "-", refused: []string{"extracted-set foo"}},
	{name: "one too many", before: fooWas + "int bar(int x) { return h(x); }", after: fooIs + "int bar(int x) { return h(x); }", part: fooPart + "int klpp_bar(int x) { return h(x); }", renamed: "foo bar",
		refused: []string{"extracted-set bar"}},
	{name: "under its own name", before: fooWas, after: fooIs, part: strings.ReplaceAll(fooPart, "klpp_", ""), renamed: "-", refused: []string{"extracted-set foo"}},
	{name: "init code", before: fooWas, after: fooIs, part: fooPart + `__attribute__((section(".init.text"))) int start(void) { return h(1); }`, refused: []string{"init-code start"}},
	{name: "per-CPU variable", before: fooWas, after: fooIs, part: fooPart + `__attribute__((section(".data..percpu"))) int each;`, refused: []string{"percpu-changed each"}},
	{name: "export", before: fooWas, after: fooIs, part: fooPart + `__attribute__((section("___ksymtab+foo"), used)) static const long __ksymtab_foo = 1;`, refused: []string{"export-changed __ksymtab_foo"}},
	{name: "registration", before: fooWas, after: fooIs, part: fooPart + `__attribute__((section("__param"), used)) static const long __param_foo = 1;`, refused: []string{"extracted-data __param_foo"}},
	{name: "callback, declared", before: fooWas + "static int cb(int x) { return h(x); } int each(int (*)(int)); int bar(void) { return each(cb); }",
		after: "int g(int), h(int), each(int (*)(int)); static int cb(int x) { return h(x); } int foo(int x) { return each(cb); } int bar(void) { return each(cb); }",
		part:  "int cb(int), each(int (*)(int)); int klpp_foo(int x) { return each(cb); }", binds: "cb→cb", included: "foo function"},
	{name: "callback, copied", before: fooWas + "static int cb(int x) { return h(x); } int each(int (*)(int)); int bar(void) { return each(cb); }",
		after: "int g(int), h(int), each(int (*)(int)); static int cb(int x) { return h(x); } int foo(int x) { return each(cb); } int bar(void) { return each(cb); }",
		part:  "int h(int), each(int (*)(int)); static int cb(int x) { return h(x); } int klpp_foo(int x) { return each(cb); }", copied: "cb", refused: []string{"extracted-data cb"}},
	{name: "callback of a header", before: fooWas + "static int cb(int x) { return h(x); } int each(int (*)(int)); int bar(void) { return each(cb); }",
		after: "int g(int), h(int), each(int (*)(int)); static int cb(int x) { return h(x); } int foo(int x) { return each(cb); } int bar(void) { return each(cb); }",
		part:  "int h(int), each(int (*)(int)); static int cb(int x) { return h(x); } int klpp_foo(int x) { return each(cb); }", binds: "cb→cb", included: "foo function"},
	{name: "helper that GCC inlined everywhere", before: "int g(int);\n" + helperIn + "int foo(int x) { return helper(x) + 1; }", after: "int g(int);\n" + helperIn + "int foo(int x) { return helper(x) + 2; }",
		part: "int helper(int); int klpp_foo(int x) { return helper(x) + 2; }", copy: "helper"},
	{name: "the same, copied", before: "int g(int);\n" + helperIn + "int foo(int x) { return helper(x) + 1; }", after: "int g(int);\n" + helperIn + "int foo(int x) { return helper(x) + 2; }",
		part: "int g(int);\n" + helperIn + "int klpp_foo(int x) { return helper(x) + 2; }", included: "foo function"},
	{name: "variable that GCC did away with", before: "int g(int); static int v = 3; int foo(int x) { return g(v) + 1; }", after: "int g(int); static int v = 3; int foo(int x) { return g(v) + 2; }",
		part: "int g(int); extern int v; int klpp_foo(int x) { return g(v) + 2; }", refused: []string{"extracted-data v"}},
	{name: "inline body in a header of a function elsewhere", before: fortified + "int foo(int x) { return cmp(x) + 1; }", after: fortified + "int foo(int x) { return cmp(x) + 2; }",
		part: fortified + "int klpp_foo(int x) { return cmp(x) + 2; }", included: "foo function"},
	{name: "the same types", before: typed + "int foo(struct s *p) { return g(p->a) + v; }", after: typed + "int foo(struct s *p) { return g(p->a) + v + 1; }",
		part: "struct s { int a; int b; };\nint g(int); extern int v; int klpp_foo(struct s *p) { return g(p->a) + v + 1; }", binds: "v→v", included: "foo function"},
	{name: "type with another layout", before: typed + "int foo(struct s *p) { return g(p->a) + v; }", after: typed + "int foo(struct s *p) { return g(p->a) + v + 1; }",
		part: "struct s { int b; int a; };\nint g(int); extern int v; int klpp_foo(struct s *p) { return g(p->a) + v + 1; }", refused: []string{"extracted-data struct s"}},
	{name: "variable of another type", before: typed + "int foo(struct s *p) { return g(p->a) + v; }", after: typed + "int foo(struct s *p) { return g(p->a) + v + 1; }",
		part: "struct s { int a; int b; };\nint g(int); extern unsigned v; int klpp_foo(struct s *p) { return g(p->a) + v + 1; }", refused: []string{"extracted-data variable v"}},
	{name: "helper of the fix", before: fooWas, after: "int g(int); " + noInline + helperIn + "int foo(int x) { return helper(x) + 2; }", part: "int helper(int); int klpp_foo(int x) { return helper(x) + 2; }", copy: "helper"},
	{name: "clone that changes", before: "int g(int); struct s { int a; }; " + noInline + "static int helper(struct s *p) { return g(p->a) + 1; } int foo(struct s *p) { return helper(p) + 1; }",
		after: "int g(int); struct s { int a; }; " + noInline + "static int helper(struct s *p) { return g(p->a) + 2; } int foo(struct s *p) { return helper(p) + 1; }",
		part:  "int g(int); struct s { int a; }; " + noInline + "static int helper(struct s *p) { return g(p->a) + 2; } int klpp_foo(struct s *p) { return helper(p) + 1; }", included: "foo function helper.isra.0 function"},
	{name: "clone that changes, with a caller that is gone", before: "int g(int); struct s { int a; }; " + noInline + "static int helper(struct s *p) { return g(p->a) + 1; } int foo(struct s *p) { return helper(p) + 1; }" +
		`__attribute__((section(".init.text"))) int start(struct s *p) { return helper(p); }`,
		after: "int g(int); struct s { int a; }; " + noInline + "static int helper(struct s *p) { return g(p->a) + 2; } int foo(struct s *p) { return helper(p) + 1; }" +
			`__attribute__((section(".init.text"))) int start(struct s *p) { return helper(p); }`,
		part: "int g(int); struct s { int a; }; int klpp_foo(struct s *p) { return g(p->a); }", renamed: "-", refused: []string{"clone-replaced helper.isra.0"}},
	{name: "function that GCC fitted to its callers, called as in the unit", narrowed: "fit", before: fooWas + noInline + "static int fit(int x) { return h(x); } int bar(int x) { return fit(x) + 1; } int (*const t[])(int) = { fit };",
		after: "int g(int), h(int); " + noInline + "static int fit(int x) { return h(x); } int foo(int x) { return fit(x) + 2; } int bar(int x) { return fit(x) + 1; } int (*const t[])(int) = { fit };",
		part:  "int fit(int); int klpp_foo(int x) { return fit(x) + 2; }", binds: "fit→fit", included: "foo function"},
	{name: "the same, and edits are to come", narrowed: "fit", asIs: true, before: fooWas + noInline + "static int fit(int x) { return h(x); } int bar(int x) { return fit(x) + 1; } int (*const t[])(int) = { fit };",
		after: "int g(int), h(int); " + noInline + "static int fit(int x) { return h(x); } int foo(int x) { return fit(x) + 2; } int bar(int x) { return fit(x) + 1; } int (*const t[])(int) = { fit };",
		part:  "int fit(int); int klpp_foo(int x) { return fit(x) + 2; }", copy: "fit"},
	{name: "function that GCC fitted to its callers, inlined in the unit", narrowed: "fit", before: fooWas + "static int fit(int x) { return h(x); } int bar(int x) { return fit(x) + 1; } int (*const t[])(int) = { fit };",
		after: "int g(int), h(int); static int fit(int x) { return h(x); } int foo(int x) { return fit(x) + 2; } int bar(int x) { return fit(x) + 1; } int (*const t[])(int) = { fit };",
		part:  "int fit(int); int klpp_foo(int x) { return fit(x) + 2; }", copy: "fit"},
}

func TestBind(t *testing.T) {
	for _, c := range bindCases {
		t.Run(c.name, func(t *testing.T) {
			p := &Plan{}
			out, err := c.bind(t, p)
			var must *CopyError
			if errors.As(err, &must) || c.copy != "" {
				if must == nil || strings.Join(must.Functions, " ") != c.copy || len(must.Why) != len(must.Functions) {
					t.Fatalf("%v, want to copy %q", err, c.copy)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var refused []string
			for _, r := range p.Refusals {
				stem, _ := delta.Stem(r.Symbol)
				refused = append(refused, r.Code+" "+stem)
				if r.Why == "" || r.Advice == "" || r.File != "a.c" {
					t.Errorf("refusal %+v", r)
				}
			}
			if !slices.Equal(refused, c.refused) {
				t.Fatalf("refused %q, want %q: %v", refused, c.refused, p.Refusals)
			}
			if len(refused) > 0 {
				return
			}
			var binds, included []string
			for _, n := range out.cl.Needs {
				if n.Before != nil {
					stem, _ := delta.Stem(n.Name())
					was, _ := delta.Stem(n.Before.Name)
					binds = append(binds, stem+"→"+was)
				}
			}
			for _, it := range out.cl.Included {
				stem, _ := delta.Stem(it.Name)
				included = append(included, stem+" "+it.Kind.String())
			}
			slices.Sort(included)
			if got := strings.Join(binds, " "); got != c.binds {
				t.Errorf("bound %q, want %q", got, c.binds)
			}
			if got := strings.Join(included, " "); got != c.included {
				t.Errorf("included %q, want %q", got, c.included)
			}
		})
	}
}

// typing has the compiler describe types, as for a kernel's unit.
var typing = append([]string{"-gbtf"}, cctest.Kernel...)

func btfOf(f *object.File) []byte {
	if s := f.Section(".BTF"); s != nil {
		return s.Data
	}
	return nil
}

// bind ties the case's extraction to its unit, without a kernel.
func (c *bindCase) bind(t *testing.T, p *Plan) (*work, error) {
	t.Helper()
	var dumps [2]*compiler.Clones
	var units [2]*delta.Unit
	for i, text := range []string{c.before, c.after} {
		data, clones := cctest.Compile(t, "gcc-12", text, typing...)
		var err error
		if units[i], err = readUnit(data); err != nil {
			t.Fatal(err)
		}
		if dumps[i], err = compiler.ParseClones(clones); err != nil {
			t.Fatal(err)
		}
	}
	result := delta.Compare(units[0], units[1])
	compiled := &compiled{after: &kbuild.Result{Types: btfOf(units[1].File)}}
	w := &work{unitOf: compiled, source: "a.c", object: Vmlinux, result: result, clones: dumps, cl: closure.Select(result), asIs: c.asIs,
		match: &runpre.UnitMatch{Funcs: map[*object.Symbol]*runpre.FuncMatch{}}, unitAudit: &Audit{}}
	b := &Build{Plan: p, audited: map[string]*unitAudit{"a.c": {}}}
	for _, n := range strings.Fields(c.narrowed) {
		b.audited["a.c"].narrowed = append(b.audited["a.c"].narrowed, oracle.Change{Symbol: n, What: "it differs"})
	}
	o := &SourceObject{Source: "a.c", File: "livepatch_a.c", Renamed: map[string]string{}, Copied: strings.Fields(c.copied)}
	if c.renamed == "" {
		c.renamed = "foo"
	}
	for _, n := range strings.Fields(strings.Trim(c.renamed, "-")) {
		o.Renamed["klpp_"+n] = n
	}
	o.Object, o.Clones = cctest.Compile(t, "gcc-12", c.part, typing...)
	file, err := object.Read(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	o.Types = btfOf(file)
	return b.bind(p, w, o)
}
