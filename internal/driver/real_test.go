// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealCompiler: which compiler is taken.
func TestRealCompiler(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	b.cc = ""
	major := func() string { return strings.TrimSpace(b.ok("-dumpversion")) }
	if got, want := major(), strings.TrimSpace(b.do(exec.Command("gcc", "-dumpversion")).stdout); got != want {
		t.Errorf("by default GCC %s, want that of gcc, %s", got, want)
	}
	if err := os.MkdirAll(filepath.Join(b.dir, "include/config"), 0o755); err != nil {
		t.Fatal(err)
	}
	conf := func(text string) {
		writeFile(t, filepath.Join(b.dir, autoConf), "CONFIG_X=y\nCONFIG_CC_VERSION_TEXT="+text+"\nCONFIG_Y=y\n")
	}
	for _, text := range []string{"gcc-11 (Debian 11.3.0-12) 11.3.0", `"gcc-11 (Debian 11.3.0-12) 11.3.0"`} { // with quotes before 5.17
		conf(text)
		if got := major(); got != "11" {
			t.Errorf("in the directory of a kernel configured with %s: GCC %s", text, got)
		}
	}
	conf("gcc-99 (Debian) 99.0")
	if o := b.kmend("-dumpversion"); o.exit == 0 || !strings.Contains(o.stderr, "gcc-99") || !strings.Contains(o.stderr, "CONFIG_CC_VERSION_TEXT") {
		t.Errorf("a compiler that is not there: %+v", o)
	}
	b.cc = "gcc-12"
	if got := major(); got != "12" {
		t.Errorf("with %s=gcc-12: GCC %s", CompilerVar, got)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(b.dir, "loop")
	if err := os.WriteFile(loop, []byte("#!/bin/sh\nexec "+exe+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, cc := range []string{exe, "ccache " + exe, loop} {
		b.cc = cc
		if o := b.kmend("-dumpversion"); o.exit == 0 || !strings.Contains(o.stderr, "kmend cc itself") {
			t.Errorf("%s=%s: %+v", CompilerVar, cc, o)
		}
	}
}

func TestClang(t *testing.T) {
	if _, err := exec.LookPath("clang-14"); err != nil {
		t.Skip("clang-14 is not installed: apt-get install clang-14")
	}
	b := newBench(t, map[string]string{"a.c": chainSource})
	b.cc = "clang-14"
	if o := b.kmend("-O2 -flive-patching=none -c a.c"); o.exit != 3 || !strings.Contains(o.stderr, NearestVar) || !strings.Contains(o.stderr, "without renaming them") {
		t.Errorf("%+v", o)
	}
	if o := b.kmend("-O2 -c a.c -flive-patch-list=leaf"); o.exit != 3 || !strings.Contains(o.stderr, "needs GCC") {
		t.Errorf("%+v", o)
	}
	b.env = []string{NearestVar + "=1"}
	o := b.kmend("-O2 -flive-patching=none -S a.c -o -")
	if o.exit != 0 || strings.Count(o.stderr, "\n") > 1 {
		t.Errorf("%+v", o)
	}
	if !strings.Contains(o.stdout, "leaf\n") {
		t.Error("leaf is inlined")
	}
	if o := b.kmend("-O2 -flive-patching=none -c a.c"); o.exit != 0 || strings.Count(o.stderr, "warning: Clang 14") != 1 {
		t.Errorf("%+v", o)
	}
}

// TestHint: a level that breaks code which relies on inlining.
func TestHint(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": `
extern void bad(void) __attribute__((error("BUILD_BUG failed")));
int never(void) { return 0; }
int f(void) { if (never()) bad(); return 1; }
`, "syntax.c": "int f( { }\n"})
	b.ok("-O2 -c a.c")
	b.ok("-O2 -flive-patching=inline -c a.c")
	for _, list := range []string{"", " -flive-patch-list=f,list"} {
		for _, level := range []string{"only-inline-static", "none"} {
			o := b.kmend("-O2 -flive-patching=" + level + " -c a.c" + list)
			_, hint, _ := strings.Cut(o.stderr, "kmend cc: ")
			want := "at level " + level + ", code that relies on inlining does not compile: a.c: call to 'bad' declared with attribute error: BUILD_BUG failed; use level inline or inline-clone for this unit\n"
			if o.exit != 1 || hint != want || strings.Count(o.stderr, "error: call to") != 1 {
				t.Errorf("%s%s: %+v", level, list, o)
			}
		}
		if o := b.kmend("-O2 -flive-patching=none -c syntax.c" + list); o.exit != 1 || strings.Contains(o.stderr, "kmend") {
			t.Errorf("a plain error: %+v", o)
		}
	}
}

// TestCcache: kmend cc starts ccache, and the other way round.
func TestCcache(t *testing.T) {
	b := newBench(t, map[string]string{"a.c": chainSource})
	hits := func() string {
		cmd := exec.Command("ccache", "--print-stats")
		cmd.Env = append(os.Environ(), b.env...)
		hits, misses := "", ""
		for line := range strings.Lines(b.do(cmd).stdout) {
			switch f := strings.Fields(line); f[0] {
			case "direct_cache_hit":
				hits = f[1]
			case "cache_miss":
				misses = f[1]
			}
		}
		return hits + " hits, " + misses + " misses"
	}
	fresh := func() {
		b.env = []string{"CCACHE_DIR=" + t.TempDir(), "CCACHE_CONFIGPATH=/dev/null"}
	}
	fresh()
	b.cc = "ccache gcc-12"
	for range 2 {
		b.ok("-O2 -flive-patching -c a.c")
	}
	b.ok("-O2 -c a.c")
	if got := hits(); got != "1 hits, 2 misses" {
		t.Errorf("kmend cc, ccache, gcc: %s", got)
	}
	want := b.ok("-O2 -c a.c -flive-patch-list=all")
	if again := b.ok("-O2 -c a.c -flive-patch-list=all"); again != want || !strings.Contains(want, "leaf inlined") {
		t.Errorf("lists through ccache: %q, then %q", want, again)
	}

	fresh()
	b.cc = "gcc-12"
	link := filepath.Join(b.dir, "kmend-cc")
	exe, err := os.Executable()
	if err == nil {
		err = os.Symlink(exe, link)
	}
	if err != nil {
		t.Fatal(err)
	}
	behind := func(line string) outcome {
		cmd := b.command(append([]string{link}, strings.Fields(line)...)...)
		cmd.Path, err = exec.LookPath("ccache")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args[0] = "ccache"
		return b.do(cmd)
	}
	for range 2 {
		if o := behind("-O2 -flive-patching -c a.c"); o.exit != 0 || o.stderr != "" {
			t.Fatalf("%+v", o)
		}
	}
	if o := behind("-O2 -c a.c"); o.exit != 0 {
		t.Fatalf("%+v", o)
	}
	if got := hits(); got != "1 hits, 2 misses" {
		t.Errorf("ccache, kmend cc, gcc: %s", got)
	}
	b.env = append(b.env, "CCACHE_COMPILERCHECK=%compiler% --version") // as docs/levels.md asks for
	for _, cc := range []string{"gcc-11", "gcc-12"} {
		b.cc = cc
		if o := behind("-O2 -c a.c -o c.o"); o.exit != 0 || !strings.Contains(b.read("c.o"), " "+strings.TrimPrefix(cc, "gcc-")+".") {
			t.Errorf("%s behind ccache: %+v, or the object of another compiler", cc, o)
		}
	}
	if o := behind("-O2 -c a.c -flive-patch-list=all,list"); o.exit == 0 || !strings.Contains(o.stderr, "behind ccache") {
		t.Errorf("a list behind ccache: %+v", o)
	}
}
