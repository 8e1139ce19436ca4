// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"kmend/internal/delta"
	"kmend/internal/object"
	"kmend/internal/special"
)

const prelude = `
extern int ext(int); extern int printk(const char *, ...); extern void keep(int (*)(int)); extern void take(int *);
#define noinline __attribute__((noinline))
#define __init __attribute__((section(".init.text")))
#define sched __attribute__((section(".sched.text")))
#define WARN() asm volatile("1: ud2\n.pushsection __bug_table,\"aw\"\n.long 1b - .\n.long 0\n.word 7\n.word 1\n.popsection")
`

func compile(t *testing.T, text string) *delta.Unit {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "unit.c"), []byte(prelude+text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc-12", "-O2", "-std=gnu11", "-fno-PIE", "-mcmodel=kernel", "-mno-red-zone", "-mno-sse", "-fno-asynchronous-unwind-tables",
		"-fno-jump-tables", "-w", "-ffunction-sections", "-fdata-sections", "-c", "unit.c")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "unit.o"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	u, err := delta.NewUnit(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range u.Items { // objtool, which makes unwind data, did not run
		if it.Kind == delta.Func {
			it.Orc = []special.Entry{{Section: &object.Section{Name: special.OrcUnwindIP, Type: 1}, At: it.Start, Orc: make([]byte, special.OrcStride)}}
		}
	}
	return u
}

func stems(items []*delta.Item) string {
	var out []string
	for _, it := range items {
		stem, _ := delta.Stem(it.Name)
		out = append(out, stem)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func TestSelect(t *testing.T) {
	for _, tc := range []struct{ name, before, after, included, needs, refused, pins string }{
		{name: "callee outside", before: `int f(int x) { return ext(x); }`, after: `int f(int x) { return ext(x) + 1; }`, included: "f", needs: "ext"},
		{name: "new helper comes along, old one stays outside",
			before:   `static noinline int old(int x) { return ext(x) * ext(2); } int f(int x) { return old(x); }`,
			after:    `static noinline int old(int x) { return ext(x) * ext(2); } static noinline int n(int x) { return ext(x) * ext(3); } int f(int x) { return old(x) + n(x); }`,
			included: "f n", needs: "ext old"},
		{name: "state stays outside", before: `static int s; int f(int x) { s += x; return s; } int g(void) { return s; }`,
			after: `static int s; int f(int x) { s += x + 1; return s; } int g(void) { return s; }`, included: "f", needs: "s"},
		{name: "static local stays outside", before: `int f(int x) { static int n; n += x; return n; }`, after: `int f(int x) { static int n; n += x + 1; return n; }`,
			included: "f", needs: "n.0"},
		{name: "new state comes along", before: `int f(int x) { return ext(x); }`, after: `int f(int x) { static int n; n += x; return n; }`, included: "f n"},
		{name: "call of a replaced function is direct, its address is the old one",
			before: `static noinline int a(int x) { return ext(x) * ext(2); } int f(int x) { keep(a); return a(x); }`,
			after:  `static noinline int a(int x) { return ext(x) * ext(3); } int f(int x) { keep(a); return a(x) + 1; }`, included: "a f", needs: "a ext keep"},
		{name: "its own address is the old one", before: `int f(int x) { keep(f); return ext(x); }`, after: `int f(int x) { keep(f); return ext(x + 1); }`, included: "f", needs: "ext f keep"},
		{name: "address of a new function pins", before: `int f(int x) { return ext(x); }`,
			after: `static int cb(int x) { return ext(x) * 5; } int f(int x) { keep(cb); return ext(x); }`, included: "cb f", needs: "ext keep", pins: "f takes the address of new function cb"},
		{name: "address of new state pins", before: `int f(int x) { return ext(x); }`,
			after: `static int v; int f(int x) { take(&v); return ext(x); }`, included: "f v", needs: "ext take", pins: "f takes the address of new state v"},
		{name: "a weak alias is whatever has the name", before: `noinline int a(int x) { return ext(x) * 2; } int w(int) __attribute__((weak, alias("a"))); int f(int x) { return w(x); }`,
			after: `noinline int a(int x) { return ext(x) * 2; } int w(int) __attribute__((weak, alias("a"))); int f(int x) { return w(x) + 1; }`, included: "f", needs: "w"},
		{name: "init code", before: `noinline int __init i(int x) { return ext(x); } int f(int x) { return ext(x); }`,
			after: `noinline int __init i(int x) { return ext(x); } int f(int x) { return i(x); }`, included: "f", refused: "init-reference i"},
		{name: "new table with a new callback", before: `int f(int x) { return ext(x); }`,
			after:    `static int cb(int x) { return ext(x) * 5; } static int (*const t[])(int) = {cb, cb}; int f(int x) { return t[x & 1](x); }`,
			included: "cb f t", needs: "ext", pins: "t takes the address of new function cb"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Select(delta.Compare(compile(t, tc.before), compile(t, tc.after)))
			if got := stems(c.Included); got != tc.included {
				t.Errorf("included %q, want %q", got, tc.included)
			}
			var needs, refused []string
			for _, n := range c.Needs {
				needs = append(needs, n.Name())
			}
			for _, r := range c.Refusals {
				refused = append(refused, r.Code+" "+r.Symbol)
			}
			if got := strings.Join(needs, " "); got != tc.needs {
				t.Errorf("needs %q, want %q", got, tc.needs)
			}
			if got := strings.Join(refused, ", "); got != tc.refused {
				t.Errorf("refused %q, want %q", got, tc.refused)
			}
			if got := strings.Join(c.Pins, ", "); got != tc.pins {
				t.Errorf("pins %q, want %q", got, tc.pins)
			}
		})
	}
}

// What is cut out must hold the same code, and lead to the same places, as
// what GCC made.
func TestCut(t *testing.T) {
	before := `static noinline int sched old(int x) { return ext(x) * ext(2); } int sched f(int x) { return old(x); }`
	after := `static noinline int sched old(int x) { return ext(x) * ext(2); } int sched f(int x) { WARN(); return printk("tail of a string") + printk("of a string") + old(x); }`
	r := delta.Compare(compile(t, before), compile(t, after))
	c := Select(r)
	p, err := c.Cut(nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.File.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	text := f.Section(".text.f")
	if text == nil {
		t.Fatalf("no section for f among %d", len(f.Sections))
	}
	var calls []string
	for _, rel := range text.Relocs {
		if strings.Contains(object.RelocName(rel.Type), "32") && rel.Sym.IsUndefined() {
			calls = append(calls, rel.Sym.Name)
			if rel.Addend != -4 {
				t.Errorf("call of %s has addend %d, want -4", rel.Sym.Name, rel.Addend)
			}
		}
	}
	slices.Sort(calls)
	if got := strings.Join(slices.Compact(calls), " "); got != "old printk" { // the assembler had resolved the call of old
		t.Errorf("calls %q, want %q", got, "old printk")
	}
	strs := f.Section(".rodata.str1.1")
	if strs == nil || !strings.Contains(string(strs.Data), "tail of a string\x00") || !strings.Contains(string(strs.Data), "\x00of a string\x00") {
		t.Errorf("string pool is %q", strs.Data)
	}
	bug := f.Section(special.BugTable)
	if bug == nil || len(bug.Data) != 12 || len(bug.Relocs) != 1 || bug.Relocs[0].Sym.Name != "f" {
		t.Fatalf("bug table is %+v", bug)
	}
	if at := bug.Relocs[0].Addend; string(text.Data[at:at+2]) != "\x0f\x0b" {
		t.Errorf("bug entry leads to % x, want ud2", text.Data[at:at+2])
	}
}
