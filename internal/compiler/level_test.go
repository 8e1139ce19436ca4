// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseLevel(t *testing.T) {
	for _, l := range Levels {
		if got, err := ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("ParseLevel(%v) = %v, %v", l, got, err)
		}
	}
	if got, err := ParseLevel("inline-only-static"); err != nil || got != OnlyInlineStatic {
		t.Errorf("GCC's spelling: %v, %v", got, err)
	}
	if _, err := ParseLevel("inline-clones"); err == nil || !strings.Contains(err.Error(), "did you mean inline-clone") {
		t.Errorf("inline-clones: %v", err)
	}
}

// TestMain keeps what is remembered of compilers out of the user's cache.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kmend-test-")
	if err != nil {
		panic(err)
	}
	os.Setenv("XDG_CACHE_HOME", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// identify asks a compiler. scripts/setup installs those of the tests, but for
// Clang, which is large and of which the tests want little.
func identify(t *testing.T, argv ...string) *Compiler {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil && strings.HasPrefix(argv[0], "clang") {
		t.Skipf("%s is not installed: apt-get install %s", argv[0], argv[0])
	}
	c, err := Identify(t.Context(), argv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIdentify(t *testing.T) {
	for command, want := range map[string]string{
		"gcc-12": "GCC 12.", "gcc-11": "GCC 11.", "clang-14": "Clang 14.",
		"ccache gcc-12": "GCC 12.", "env LC_ALL=de_DE.UTF-8 gcc-12": "GCC 12.",
	} {
		t.Run(command, func(t *testing.T) {
			c := identify(t, strings.Fields(command)...)
			if !strings.HasPrefix(c.String(), want) || c.Text == "" {
				t.Errorf("%s is %s (%s), want %s", command, c, c.Text, want)
			}
		})
	}
	for _, command := range []string{"no-such-compiler", "true", "cat"} {
		if c, err := Identify(t.Context(), []string{command}); err == nil {
			t.Errorf("%s is %s", command, c)
		}
	}
}

func TestLevelFlags(t *testing.T) {
	for _, command := range []string{"gcc-11", "gcc-12"} {
		t.Run(command, func(t *testing.T) {
			c := identify(t, command)
			for level, want := range map[Level]string{
				Plain:            "",
				InlineClone:      "-flive-patching=inline-clone",
				Inline:           "-flive-patching=inline-clone -fno-ipa-cp -fno-ipa-cp-clone -fno-ipa-sra -fno-partial-inlining",
				OnlyInlineStatic: "-flive-patching=inline-only-static",
				None:             "-flive-patching=inline-only-static -fno-inline",
			} {
				flags, err := c.LevelFlags(t.Context(), level)
				if got := strings.Join(flags, " "); err != nil || got != want {
					t.Errorf("%v: %q, %v; want %q", level, got, err, want)
				}
			}
		})
	}
}

// script makes an executable out of shell code.
func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestLevelFlagsOfOtherVersions: a GCC without -flive-patching, as before 9,
// and one with a pass that kmend does not know.
func TestLevelFlagsOfOtherVersions(t *testing.T) {
	old := filepath.Join(t.TempDir(), "gcc-8")
	script(t, old, `for a; do case $a in
	-flive-patching*|-fno-ipa-modref|-fno-ipa-stack-alignment|-fno-ipa-reference-addressable) echo "unrecognized $a" >&2; exit 1;;
	esac; done
	case "$*" in *--help=optimizers*) gcc-12 "$@" | grep -v -e modref -e stack-align -e addressable;; *) exec gcc-12 "$@";; esac`)
	c := identify(t, old)
	flags, err := c.LevelFlags(t.Context(), InlineClone)
	want := "-fno-ipa-pta -fno-ipa-reference -fno-ipa-ra -fno-ipa-icf -fno-ipa-icf-functions -fno-ipa-icf-variables -fno-ipa-bit-cp -fno-ipa-vrp -fno-ipa-pure-const"
	if got := strings.Join(flags, " "); err != nil || got != want {
		t.Errorf("inline-clone: %q, %v; want %q", got, err, want)
	}
	if flags, err := c.LevelFlags(t.Context(), None); err != nil || !slices.Contains(flags, "-fno-inline") || !slices.Contains(flags, "-fno-ipa-sra") {
		t.Errorf("none: %q, %v", flags, err)
	}
	var refused *LevelError
	if _, err := c.LevelFlags(t.Context(), OnlyInlineStatic); !errors.As(err, &refused) || !strings.Contains(err.Error(), "GCC 9") {
		t.Errorf("only-inline-static: %v, want an error that names GCC 9", err)
	}

	next := filepath.Join(t.TempDir(), "gcc-99")
	script(t, next, `case "$*" in
	*--help=optimizers*-fno-ipa-new*) gcc-12 -O3 -Q --help=optimizers -flive-patching=inline-clone; echo "  -fipa-new [disabled]";;
	*--help=optimizers*) gcc-12 "$@"; echo "  -fipa-new [enabled]";;
	*-fno-ipa-new*) exit 0;;
	*) exec gcc-12 "$@";; esac`)
	c = identify(t, next)
	flags, err = c.LevelFlags(t.Context(), InlineClone)
	if got := strings.Join(flags, " "); err != nil || got != "-flive-patching=inline-clone -fno-ipa-new" {
		t.Errorf("a new pass: %q, %v", got, err)
	}
}

// TestAnswersAreRemembered: the second time costs no process, and another
// compiler in the same place is asked anew.
func TestAnswersAreRemembered(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	log, cc := filepath.Join(dir, "log"), filepath.Join(dir, "cc")
	script(t, cc, `echo x >>`+log+`; exec gcc-12 "$@"`)
	calls := func() int {
		data, _ := os.ReadFile(log)
		return strings.Count(string(data), "x")
	}
	question := func() string {
		flags, err := identify(t, cc).LevelFlags(t.Context(), Inline)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(flags, " ")
	}
	first := question()
	asked := calls()
	if asked < 3 {
		t.Fatalf("%d calls: the compiler was not asked", asked)
	}
	if again := question(); again != first || calls() != asked {
		t.Errorf("asked again: %d calls more, %q, then %q", calls()-asked, first, again)
	}
	script(t, cc, `echo x >>`+log+`; exec gcc-11 "$@"`+"\n# another file")
	if c := identify(t, cc); c.Version[0] != 11 {
		t.Errorf("after the compiler changed it is still %s", c)
	}
}

func TestClangIsRefused(t *testing.T) {
	c := identify(t, "clang-14")
	var refused *LevelError
	if _, err := c.LevelFlags(t.Context(), None); !errors.As(err, &refused) {
		t.Fatalf("level none: %v, want a LevelError", err)
	}
	if !slices.Contains(refused.Nearest, "-fno-inline") || len(refused.Differs) == 0 {
		t.Errorf("nearest %q, differs %q", refused.Nearest, refused.Differs)
	}
}

func TestConflicts(t *testing.T) {
	for _, c := range []struct {
		level  Level
		option string
		want   bool
	}{
		{InlineClone, "-fipa-modref", true}, {InlineClone, "-fipa-cp", false}, {Inline, "-fipa-cp", true},
		{InlineClone, "-flto", true}, {InlineClone, "-flto=auto", true}, {Plain, "-flto", false},
		{InlineClone, "-flto-partition=none", false}, {InlineClone, "-fno-ipa-modref", false},
		{None, "-finline", true}, {Inline, "-finline", false}, {InlineClone, "-fwhole-program", true},
	} {
		if why := c.level.Conflict(c.option); (why != "") != c.want {
			t.Errorf("%v with %s: %q", c.level, c.option, why)
		}
	}
}

// TestLevelsAct: what the compiler makes of a few functions at each level.
func TestLevelsAct(t *testing.T) {
	const source = `
int g(int); extern int h;
__attribute__((noinline)) static int twice(int x) { return x * 2; }         // const: called once for two
int pure2(int x) { return twice(x) + g(0) + twice(x); }
__attribute__((noinline)) static int add(int x, int y) { return g(x) + y + g(y); }
int clone1(int x) { return add(x, 7); }
int clone2(int x) { return add(x + 1, 7); }
int ext(int x) { return g(x) + 1; }                                         // inlined although extern
int useext(int x) { return ext(x) * 3; }
static int loc(int x) { return g(x) + 5; }
int useloc(int x) { return loc(x) * 5; }
static inline __attribute__((always_inline)) int always(int x) { return g(x) + 9; }
int usealways(int x) { return always(x); }
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"gcc-11", "gcc-12"} {
		c := identify(t, command)
		for _, level := range Levels {
			flags, err := c.LevelFlags(t.Context(), level)
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(command, append([]string{"-O2", "-S", "-o", "-", filepath.Join(dir, "a.c")}, flags...)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			asm := string(out)
			calls := func(from, to string) int {
				_, body, _ := strings.Cut(asm, "\n"+from+":\n")
				body, _, _ = strings.Cut(body, ".cfi_endproc")
				n := strings.Count(body, "call\t"+to+"\n") + strings.Count(body, "jmp\t"+to+"\n")
				return n
			}
			for what, is := range map[string]bool{
				"second pure call merged": calls("pure2", "twice") < 2,
				"constprop clone":         strings.Contains(asm, "add.constprop.0:"),
				"extern inlined":          calls("useext", "ext") == 0,
				"static inlined":          calls("useloc", "loc") == 0,
				"always_inline inlined":   calls("usealways", "always") == 0,
			} {
				last := map[string]Level{"second pure call merged": Plain, "constprop clone": InlineClone,
					"extern inlined": Inline, "static inlined": OnlyInlineStatic, "always_inline inlined": None}[what]
				if is != (level <= last) {
					t.Errorf("%s at %v: %s: %v", command, level, what, is)
				}
			}
		}
	}
}

func FuzzParseOptimizers(f *testing.F) {
	f.Add([]byte("  -fipa-ra \t\t[enabled]\n  -finline  [disabled]\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		on, seen, err := parseOptimizers(out)
		if err != nil {
			return
		}
		for _, o := range on {
			if !seen[o] {
				t.Fatalf("%q is on and not seen", o)
			}
		}
	})
}
