// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// factsOf compiles a source with all dumps of facts, each through a pipe, since
// GCC begins a file anew for every instance of a pass, and joins them.
func factsOf(t testing.TB, c *Compiler, source string) *Facts {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	names, err := c.FactDumps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	args := append(slices.Clone(c.Argv[1:]), "-O2", "-c", "a.c")
	cmd := exec.Command(c.Argv[0])
	dumps, errs := make([]*FactDump, len(names)), make([]error, len(names))
	var readers sync.WaitGroup
	for i, n := range names {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		args = append(args, fmt.Sprintf("-fdump-%s=/dev/fd/%d", n, 3+i))
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		readers.Go(func() { dumps[i], errs[i] = ReadFactDump(n, r) })
	}
	cmd.Args, cmd.Dir = append(cmd.Args, args...), dir
	out, err := cmd.CombinedOutput()
	for _, w := range cmd.ExtraFiles {
		w.Close()
	}
	readers.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := JoinFacts(dumps)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *Facts) has(from, to string) bool {
	return slices.ContainsFunc(f.Uses, func(u FactUse) bool { return u.From == from && u.To == to })
}

func TestFacts(t *testing.T) {
	const source = `
int g(int); extern int h;
__attribute__((noinline)) static int twice(int x) { return x * 2; }
extern int alias(int) __attribute__((alias("twice")));
int uses_alias(int x) { return alias(x) + g(0) + alias(x); }
struct s { int a, b; };
__attribute__((noinline)) static int isra(struct s *p) { return p->a * 3; }
int uses_isra(struct s *p) { return isra(p) + g(0) + isra(p); }
static int (*const table[])(int) = { twice };
int uses_table(int x) { return table[0](x); }
int alone(int x) { return g(x); }
`
	for _, command := range []string{"gcc-12", "gcc-11"} {
		f := factsOf(t, identify(t, command), source)
		if !f.has("twice", "uses_alias") || !f.has("isra", "uses_isra") {
			t.Errorf("%s: %+v: want twice in uses_alias, isra in uses_isra", command, f.Uses)
		}
		for _, u := range f.Uses {
			if u.To == "alone" || u.From == "" || u.To == "" || strings.HasPrefix(u.From, "*") {
				t.Errorf("%s: %+v", command, u)
			}
		}
	}
}

// TestOtherWords: a compiler whose dumps say the same in other words is refused.
func TestOtherWords(t *testing.T) {
	for _, words := range []string{"s/ipa-modref: call to/ipa-modref: the call of/", "s/found to be/seems to be/"} {
		cc := filepath.Join(t.TempDir(), "gcc-99")
		script(t, cc, `case "$*" in *=stdout*) gcc-12 "$@" | sed '`+words+`';; *) exec gcc-12 "$@";; esac`)
		if have, err := identify(t, cc).FactDumps(t.Context()); err == nil || !strings.Contains(err.Error(), "does not understand") {
			t.Errorf("%s: %q, %v", words, have, err)
		}
	}
}

func TestReadFactDump(t *testing.T) {
	d, err := ReadFactDump("tree-dse-details", strings.NewReader(`
;; Function a (*sym, funcdef_no=1, decl_uid=2, cgraph_uid=2, symbol_order=7)
`+strings.Repeat("x", 1<<20)+`
ipa-modref: call to b/3 kills v  Deleted dead store: ipa-modref: call to c.part.0/9 does not use ref: q
Function found to be looping pure: a/7
Function found to be nothrow: a
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.uses) != 2 || d.uses[0].callee != (node{"b", 3}) || d.uses[1].callee != (node{"c.part.0", 9}) || d.uses[0].in != "sym" || d.pass != "dse" {
		t.Errorf("uses %+v of pass %q", d.uses, d.pass)
	}
	if len(d.found) != 1 || d.found[0].fn != (node{"a", 7}) || !strings.Contains(d.found[0].what, "looping pure") {
		t.Errorf("found %+v", d.found)
	}
	if _, err := JoinFacts([]*FactDump{d}); err == nil {
		t.Error("facts without a call graph were joined")
	}
}

func FuzzReadFactDump(f *testing.F) {
	f.Add("tree-fre-details", "a/1 (a) @0x1\n  Type: function definition\n  Calls: b/2 \n", ";; Function a (a, funcdef_no=1, symbol_order=1)\nipa-modref: call to b/2 does not use ref: x\n")
	f.Add("ipa-cp-details", "a/1 (a) @0x1\n  References: b/2 (alias) \n", ";; Function a (a, funcdef_no=1, symbol_order=1)\nSetting value range of param 1 (now 1) [5, 6]\n")
	f.Add("ipa-pure-const", "", "Function b.isra.0/4 found to be malloc\nFunction found to be const: c\n")
	f.Fuzz(func(t *testing.T, dump, graph, text string) {
		var dumps []*FactDump
		for name, in := range map[string]string{graphDump: graph, dump: text} {
			d, err := ReadFactDump(name, strings.NewReader(in))
			if err != nil {
				return
			}
			dumps = append(dumps, d)
		}
		facts, err := JoinFacts(dumps)
		if err == nil && !slices.IsSortedFunc(facts.Uses, compareUses) {
			t.Fatal("not sorted")
		}
	})
}
