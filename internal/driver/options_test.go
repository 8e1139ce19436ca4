// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/compiler"
)

func parse(t *testing.T, line string) *Command {
	t.Helper()
	c, err := Parse(strings.Fields(line))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return c
}

// TestOursIsTakenOut: the compiler gets all the rest, in order, and the level's
// flags in the place of the option.
func TestOursIsTakenOut(t *testing.T) {
	c := parse(t, "-O2 -flive-patching=inline -D X -flive-patch-list=f,facts,l.json -c a.c -o a.o -flive-patch-list=g")
	if got, want := strings.Join(c.With([]string{"-1", "-2"}), " "), "-O2 -1 -2 -D X -c a.c -o a.o"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	l := c.List
	if c.Level != compiler.Inline || !slices.Equal(l.Funcs, []string{"f", "g"}) || l.All || !l.Facts || !l.JSON || l.File != "l.json" {
		t.Errorf("level %v, list %+v", c.Level, l)
	}
	for line, level := range map[string]compiler.Level{
		"-flive-patching -c a.c": compiler.InlineClone, "-c a.c": compiler.Plain,
		"-flive-patching=inline-only-static -flive-patching=only-inline-static -c a.c": compiler.OnlyInlineStatic,
		"-flto -fno-lto -flive-patching a.c":                                           compiler.InlineClone,
		"-flive-patching -fipa-modref -fno-ipa-modref -c":                              compiler.InlineClone,
		"-flive-patching=inline-clone -fipa-cp -c a.c":                                 compiler.InlineClone,
		"-D -flto -include -fwhole-program -flive-patching -c a.c":                     compiler.InlineClone,
	} {
		if c := parse(t, line); c.Level != level {
			t.Errorf("%s: level %v, want %v", line, c.Level, level)
		}
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"-flive-patching=inlin -c a.c":                       "did you mean inline",
		"-flive-patching=inline -flive-patching=none -c a.c": "contradicts",
		"-flive-patching -flto -c a.c":                       "link-time",
		"-flive-patching -flto=auto -c a.c":                  "link-time",
		"-fwhole-program -flive-patching -c a.c":             "static",
		"-fipa-pure-const -flive-patching -c a.c":            "switches ipa-pure-const off",
		"-fipa-sra -flive-patching=inline -c a.c":            "switches ipa-sra off",
		"-finline -flive-patching=none -c a.c":               "inlining off",
		"-flive-patch-list -c a.c":                           "for which function",
		"-flive-patch-list= -c a.c":                          "no name of a function",
		"-flive-patch-list=a-b -c a.c":                       "no name of a function",
		"-flive-patch-list=f, -c a.c":                        "no file",
		"-flive-patch-list=f,x -flive-patch-list=g,y -c a.c": "one list goes to one file",
		"-flive-patchlist=f -c a.c":                          "did you mean -flive-patch-list",
		"-flive-patch-list=f a.c":                            "needs -c",
		"-flive-patch-list=f -c a.c b.c":                     "several sources",
		"-flive-patch-list=f -c a.cc":                        "C only",
		"-flive-patch-list=f -flto -c a.c":                   "no code yet",
	} {
		_, err := Parse(strings.Fields(line))
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a usage error with %q", line, err, want)
		}
	}
}

// TestNoList: what a kernel's makefiles run with the flags of a compile and
// without one. None of it is an error, and none of it makes a list.
func TestNoList(t *testing.T) {
	const ours = " -flive-patching=inline-clone -flive-patch-list=all,d/"
	for _, line := range []string{
		"-E a.c", "-S a.c -o a.s", "-M a.c", "-MM a.c", "-fsyntax-only a.c", "-E -P -x c - ", "-c a.S -o a.o",
		"-Wp,-MMD,x.d -c -x assembler-with-cpp a.c -o a.o", "--version", "-print-file-name=plugin", "-dumpmachine",
		"-###  -c a.c", "-Werror -O2 -c -x c /dev/null -o /tmp/x.o", "-Werror -S -x c /dev/null -o /dev/null",
		"a.o b.o -o prog", "-nostdlib -Wl,--build-id -shared a.o -o a.so", "-c a.c -o /dev/null", "-c -x c-header a.h", "",
		"-m64 -m32 -c vclock_gettime.c -o vclock_gettime.o",
	} {
		c := parse(t, line+ours)
		if c.NoList() == "" {
			t.Errorf("%q makes a list", line)
		}
	}
	for line, object := range map[string]string{
		"-c -m32 -m64 dir/a.c": "a.o", "-c a.c -o x/b.o": "x/b.o", "-c a.i -ob.o": "b.o", "-x c -c - -o std.o": "std.o", "-c -MMD -MF a.c -I b.c d.c": "d.o",
	} {
		c := parse(t, line+ours)
		if why := c.NoList(); why != "" || c.Object() != object {
			t.Errorf("%q: object %q, want %q, no list: %q", line, c.Object(), object, why)
		}
	}
}

func TestResponseFiles(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "plain"), `-O2 "-DA=b c" -DQ='"x"' -D\ \"`)
	writeFile(t, filepath.Join(dir, "ours"), "-flive-patching=none\n@"+filepath.Join(dir, "plain")+" -c")
	c, err := Parse([]string{"@" + filepath.Join(dir, "plain"), "-flive-patching", "-c", "a.c"})
	if err != nil || c.Args[0] != "@"+filepath.Join(dir, "plain") || c.LevelAt != 1 {
		t.Errorf("%+v, %v: the file must be handed on as it is", c, err)
	}
	c, err = Parse([]string{"a.c", "@" + filepath.Join(dir, "ours"), "@nofile"})
	want := []string{"a.c", "-O2", "-DA=b c", `-DQ="x"`, `-D "`, "-c", "@nofile"}
	if err != nil || !slices.Equal(c.Args, want) || c.Level != compiler.None || c.LevelAt != 1 {
		t.Errorf("%+v, %v; want %q", c, err, want)
	}
	loop := filepath.Join(dir, "loop")
	writeFile(t, loop, "@"+loop)
	if _, err := Parse([]string{"@" + loop}); err == nil {
		t.Error("a file that names itself was read to its end")
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("-O2 -flive-patching=inline -flive-patch-list=f,facts,json,x -c a.c -o b")
	f.Add("-flive-patch-list=all -x c - -o")
	f.Fuzz(func(t *testing.T, text string) {
		var args []string
		for _, a := range splitArgs(text) {
			if !strings.HasPrefix(a, "@") {
				args = append(args, a)
			}
		}
		c, err := Parse(args)
		if err != nil {
			return
		}
		if slices.ContainsFunc(c.With(nil), isOurs) {
			t.Fatalf("%q: the compiler gets %q", args, c.With(nil))
		}
		c.NoList()
		c.Object()
	})
}
