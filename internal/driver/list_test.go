// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// record reads a list of one object.
func record(t *testing.T, line string) *Record {
	t.Helper()
	var rec Record
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&struct{ *Record }{&rec}); err != nil {
		t.Fatalf("%.200q: %v", line, err)
	}
	return &rec
}

// chains is what a list says of a function, as "symbol kind/kind".
func (rec *Record) chains(name string) []string {
	var out []string
	for _, f := range rec.Functions {
		for _, i := range f.Impacted {
			if f.Name == name {
				s := i.Symbol
				for _, r := range i.Chain {
					s += " " + r.Kind
				}
				out = append(out, s)
			}
		}
	}
	return out
}

func TestListText(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	want := `== a.o: a.c, level inline-clone
fields: 3 impacted functions
	caller: fields cloned as fields.isra.0 (isra), fields.isra.0 called by caller
	caller2: fields cloned as fields.isra.0 (isra), fields.isra.0 called by caller2
	fields.isra.0: fields cloned as fields.isra.0 (isra)
leaf: 1 impacted function
	top: leaf inlined into middle, middle inlined into top
no other function depends on: top
laef: not in this translation unit; did you mean leaf?
`
	got := b.ok("-O2 -flive-patching -c a.c -flive-patch-list=fields -flive-patch-list=leaf -flive-patch-list=top -flive-patch-list=laef")
	if got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestListJSON(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	rec := record(t, b.ok("-O2 -c a.c -o x.o -flive-patch-list=all,json"))
	if rec.Version != 1 || rec.Object != "x.o" || rec.Source != "a.c" || !strings.Contains(rec.Compiler, "12.") || rec.Facts {
		t.Errorf("%+v", rec)
	}
	if got, want := rec.chains("leaf"), []string{"top inlined inlined"}; !slices.Equal(got, want) {
		t.Errorf("leaf: %q, want %q", got, want)
	}
	if !slices.Contains(rec.Alone, "top") || len(rec.Unknown) != 0 {
		t.Errorf("alone %q, unknown %q", rec.Alone, rec.Unknown)
	}
}

// TestListFiles: a directory has a list for each object, and what is no
// directory is shared.
func TestListFiles(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource, "sub/b.c": "int lone(void) { return 1; }\n", "empty.c": ""})
	b.ok("-O2 -c a.c -flive-patch-list=leaf,lists/")
	b.ok("-O2 -c sub/b.c -o sub/b.o -flive-patch-list=leaf,lists") // is a directory by now
	b.ok("-O2 -c sub/b.c -o sub/b.o -flive-patch-list=all,json,lists/")
	b.ok("-O2 -c sub/b.c -o " + b.dir + "/sub/b.o -flive-patch-list=all,lists/")
	b.ok("-O2 -c empty.c -flive-patch-list=all,lists/")
	if got := b.read("lists/a.o.txt"); !strings.Contains(got, "top: leaf inlined into middle") {
		t.Errorf("lists/a.o.txt: %q", got)
	}
	if got := b.read("lists/sub/b.o.txt"); got != "== sub/b.o: sub/b.c, level plain\nleaf: not in this translation unit\n" {
		t.Errorf("lists/sub/b.o.txt: %q", got)
	}
	if got := b.read("lists/empty.o.txt"); got != "== empty.o: empty.c, level plain\n" {
		t.Errorf("lists/empty.o.txt: %q", got)
	}
	record(t, b.read("lists/sub/b.o.json"))
	b.read("lists/" + b.dir + "/sub/b.o.txt")
	b.ok("-O2 -c a.c -flive-patch-list=leaf,shared.json")
	b.ok("-O2 -c sub/b.c -flive-patch-list=leaf,shared.json")
	lines := strings.Split(strings.TrimSpace(b.read("shared.json")), "\n")
	if len(lines) != 2 || record(t, lines[0]).Object != "a.o" || len(record(t, lines[1]).Unknown) != 1 {
		t.Errorf("shared.json: %q", lines)
	}
	// What cannot be written is an error: a lost list would look like none.
	if o := b.kmend("-O2 -c a.c -flive-patch-list=leaf,no/such/dir"); o.exit == 0 || !strings.Contains(o.stderr, "write the list") {
		t.Errorf("%+v", o)
	}
}

// TestNoListIsSaid: who waits for a list on the terminal is told that there is
// none; in a build nothing is said.
func TestNoListIsSaid(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	if o := b.kmend("-O2 -S a.c -flive-patch-list=leaf"); o.exit != 0 || !strings.Contains(o.stderr, "no list of impacted functions: -S") {
		t.Errorf("%+v", o)
	}
	b.ok("-O2 -S a.c -flive-patch-list=leaf,lists/")
}

// TestMake: nothing is lost and nothing mixed up when make runs many at once.
func TestMake(t *testing.T) {
	const n = 30
	files := map[string]string{"Makefile": "OBJS := $(patsubst %.c,%.o,$(wildcard *.c))\nall: $(OBJS)\n%.o: %.c\n\t$(CC) -O2 -flive-patching -flive-patch-list=all,$(LIST) -c $< -o $@\n"}
	for i := range n {
		files[fmt.Sprintf("f%02d.c", i)] = fmt.Sprintf("int g(int);\nstatic int leaf%d(int x) { return g(x) + %d; }\nint top%d(int x) { return leaf%d(x) * 3; }\n", i, i, i, i)
	}
	b := newBench(t, files)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"all.txt", "all.json"} {
		cmd := exec.Command("make", "-s", "-B", "-j4", "CC="+exe, "LIST="+list)
		cmd.Dir, cmd.Env = b.dir, b.command().Env
		if o := b.do(cmd); o.exit != 0 || o.stdout+o.stderr != "" {
			t.Fatalf("make: %+v", o)
		}
	}
	text := b.read("all.txt")
	lines := strings.Split(strings.TrimSpace(b.read("all.json")), "\n")
	if len(lines) != n {
		t.Fatalf("%d records, want %d", len(lines), n)
	}
	for _, line := range lines {
		rec := record(t, line)
		var i int
		if _, err := fmt.Sscanf(rec.Object, "f%02d.o", &i); err != nil {
			t.Fatal(err)
		}
		if got, want := rec.chains(fmt.Sprintf("leaf%d", i)), []string{fmt.Sprintf("top%d inlined", i)}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", rec.Object, got, want)
		}
		para := fmt.Sprintf("== f%02d.o: f%02d.c, level inline-clone\nleaf%d: 1 impacted function\n\ttop%d: leaf%d inlined into top%d\nno other function depends on: top%d\n", i, i, i, i, i, i, i)
		if strings.Count(text, para) != 1 {
			t.Errorf("all.txt has not once:\n%s", para)
		}
	}
}

const factSource = `
int g(int); extern int h;
__attribute__((noinline)) void deep(int *p) { *p = h; }
__attribute__((noinline)) void fill(int *p) { deep(p); }
int uses_kill(void) { int v = 0; fill(&v); return g(v) + v; }
__attribute__((noinline)) static int twice(int x) { return x * 2; }
int uses_const(int x) { return twice(x) + g(0) + twice(x); }
__attribute__((noinline)) void nothing(int x) { if (x > 3) return; }
int uses_dead(int x) { nothing(x); return g(x); }
__attribute__((noinline)) void dies(int x) { g(x); for (;;) g(1); }
int uses_noreturn(int x) { if (x > 3) dies(x); return g(x); }
int ren(int) __asm__("renamed");
__attribute__((noinline)) int ren(int x) { return x * 3; }
int uses_ren(int x) { return ren(x) + g(0) + ren(x); }
__attribute__((noinline)) static int narrow(int x, int y) { return g(x & 1) + (y > 7) + g(y); }
int n1(int v) { return narrow(v & 2, 5); }
int n2(int v) { return narrow(v & 2, 6) + 1; }
int n3(int v) { return narrow(0, 6) + 2; }
`

// TestFacts: uses of facts that no dump of clones shows, and that the level
// forbids.
func TestFacts(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": factSource})
	want := map[string]string{"fill": "uses_kill fact", "deep": "uses_kill fact", "twice": "uses_const fact", "nothing": "uses_dead fact", "dies": "uses_noreturn fact", "renamed": "uses_ren fact"}
	const flags = "-O2 -pg -mfentry -c a.c -flive-patch-list=all,json,facts"
	plain := record(t, b.ok(flags))
	without := record(t, b.ok(strings.TrimSuffix(flags, ",facts")))
	level := record(t, b.ok(flags+" -flive-patching=inline-clone"))
	for name, user := range want {
		if got := plain.chains(name); !slices.Contains(got, user) {
			t.Errorf("%s at plain: %q, want %q", name, got, user)
		}
		if got := without.chains(name); slices.Contains(got, user) {
			t.Errorf("%s without facts: %q: this test cannot fail", name, got)
		}
		if got := level.chains(name); slices.Contains(got, user) {
			t.Errorf("%s at inline-clone: %q", name, got)
		}
	}
	if !slices.ContainsFunc(plain.Narrowed, func(n Narrowed) bool {
		return n.Function == "narrow" && n.Param == 1 && strings.Contains(n.Known, "[5, 6]") && slices.Equal(n.Callers, []string{"n1", "n2", "n3"})
	}) || len(level.Narrowed) != 0 {
		t.Errorf("narrowed at plain %+v, at inline-clone %+v", plain.Narrowed, level.Narrowed)
	}
	b.cc = "gcc-11"
	if got := record(t, b.ok(flags)).chains("twice"); !slices.Contains(got, "uses_const fact") {
		t.Errorf("gcc-11: twice: %q", got)
	}
	if o := b.kmend(flags + " -fdump-tree-fre"); o.exit != 3 || !strings.Contains(o.stderr, "leave one of them out") {
		t.Errorf("with dumps of the user's own: %+v", o)
	}
}

// TestOwnDump: who asks for the dump himself has it where the compiler puts it.
func TestOwnDump(t *testing.T) {
	for _, flags := range []string{
		"-O2 -c a.c -fdump-ipa-clones", "-O2 -c a.c -o sub/x.o -fdump-ipa-clones", "-O2 -c a.c -o sub/x.o -fdump-ipa-clones=sub/d",
		"-O2 -c a.c -o sub/x.o -fdump-ipa-clones -dumpbase q -dumpdir sub/", "-O2 -c a.c -fdump-ipa-clones -save-temps", "-O2 -c a.c -fdump-ipa-all",
	} {
		b := newBench(t, map[string]string{"a.c": chainSource, "sub/x": ""})
		if o := b.real(flags); o.exit != 0 {
			t.Fatalf("%s: %+v", flags, o)
		}
		want := b.files()
		b.clear()
		writeFile(t, filepath.Join(b.dir, "a.c"), chainSource)
		if err := os.Mkdir(filepath.Join(b.dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := record(t, b.ok(flags+" -flive-patch-list=leaf,json")).chains("leaf"); len(got) != 1 {
			t.Errorf("%s: leaf: %q", flags, got)
		}
		delete(want, "sub/x")
		got := b.files()
		for name := range want {
			if strings.Contains(name, "clones") || name == "sub/d" {
				if got[name] != want[name] || want[name] == "" {
					t.Errorf("%s: %s differs", flags, name)
				}
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: %d files, want %d", flags, len(got), len(want))
		}
	}
	b := newBench(t, map[string]string{"a.c": chainSource})
	for _, flags := range []string{"-fdump-ipa-clones=stdout", "-fdump-ipa-all=x", "-fdump-ipa-clones -fdump-ipa-all"} {
		if o := b.kmend("-O2 -c a.c -flive-patch-list=leaf " + flags); o.exit != 3 || !strings.Contains(o.stderr, "dump") {
			t.Errorf("%s: %+v", flags, o)
		}
	}
}

// TestNoDumpIsAnError: an object that no compiler made just now has no list.
func TestNoDumpIsAnError(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	b.ok("-O2 -c a.c")
	b.cc = filepath.Join(b.dir, "cc")
	if err := os.WriteFile(b.cc, []byte("#!/bin/sh\ncase \"$*\" in *-E*|--version) exec gcc-12 \"$@\";; esac\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if o := b.kmend("-O2 -c a.c -flive-patch-list=leaf"); o.exit == 0 || !strings.Contains(o.stderr, "no .ipa-clones dump") {
		t.Errorf("%+v", o)
	}
}
