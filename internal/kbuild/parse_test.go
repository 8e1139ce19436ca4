// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestSplitShell(t *testing.T) {
	for in, want := range map[string]string{
		`gcc -DA='"x y"' "-DB=\"z\"" -o a.o a.c ; ./objtool  a.o`: `[["gcc" "-DA=\"x y\"" "-DB=\"z\"" "-o" "a.o" "a.c"] ["./objtool" "a.o"]]`,
		`a\ b ''`:       `[["a b" ""]]`,
		` ; ;`:          `[]`,
		`a "b'c" 'd"e'`: `[["a" "b'c" "d\"e"]]`,
	} {
		got, err := splitShell(in)
		if err != nil || fmt.Sprintf("%q", got) != want {
			t.Errorf("%s: %q %v", in, got, err)
		}
	}
	for _, in := range []string{"a | b", "a $(b)", "a `b`", "a > b", "a && b", "a 'b", `a "$b"`, "a *.c", `a\`} {
		if got, err := splitShell(in); err == nil {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func FuzzSplitShell(f *testing.F) {
	f.Add(`gcc -DA='"x y"' "-DB=\"z\"" -o a.o a.c`)
	f.Add("a\\\nb 'c\nd'")
	f.Fuzz(func(t *testing.T, s string) {
		cmds, err := splitShell(s)
		if err != nil {
			return
		}
		n := 0
		for _, c := range cmds {
			for _, w := range c {
				n += len(w)
			}
		}
		if n > len(s) {
			t.Fatal("more text than was given")
		}
	})
}

// TestSplitShellEqualsShell holds splitShell against the real shell.
func TestSplitShellEqualsShell(t *testing.T) {
	for _, in := range []string{`x -DA='"x y"' "-DB=\"z\"" a\ b '' "q\w" "l\
m" n\
o a#b`} {
		out, err := exec.Command("sh", "-c", strings.Replace(in, "x ", `printf '%s\0' `, 1)).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		got, err := splitShell(in)
		if err != nil || !slices.Equal(got[0][1:], want) {
			t.Errorf("%q, the shell has %q (%v)", got, want, err)
		}
	}
}

func TestParseDeps(t *testing.T) {
	dir := t.TempDir() + "/a b$c#d"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for f, text := range map[string]string{"x.c": "#include \"one two.h\"\n", "one two.h": ""} {
		if err := os.WriteFile(dir+"/"+f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("gcc-12", "-M", "-MT", "x", dir+"/x.c").Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseDeps(string(out))
	if err != nil || !slices.Contains(got, dir+"/x.c") || !slices.Contains(got, dir+"/one two.h") {
		t.Errorf("%q %v", got, err)
	}
	if _, err := parseDeps("nothing"); err == nil {
		t.Error("no error")
	}
}

func FuzzParseDeps(f *testing.F) {
	f.Add("x: a.c b\\ c.h \\\n d$$.h\n")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseDeps(s)
		if err == nil && len(got) > len(s) {
			t.Fatal("more files than bytes")
		}
	})
}

func FuzzParseTrace(f *testing.F) {
	f.Add("target a.o\nsource a.c\nprereqs a.c FORCE\nbuiltin a.o\nlib \nmodule \nsingle \nmulti \nmakefiles /s/Makefile\ndelayed \ncmd gcc -c -o a.o a.c\nend\nlist a.o b.o\n")
	tr := &Tree{cfg: Config{SourceDir: "/s", ObjDir: "/o", StateDir: "/t"}}
	f.Fuzz(func(t *testing.T, s string) {
		recs, _, err := parseTrace(s)
		if err != nil {
			return
		}
		for _, r := range recs {
			if c, err := tr.command(r); err == nil && c != nil && c.check() != nil {
				t.Fatal("an unchecked command")
			}
		}
	})
}

func FuzzParseCRC(f *testing.F) {
	f.Add("#SYMVER seq_open 0x8ebd2c5c\n")
	f.Add("__crc_seq_open = 0x8ebd2c5c;\n")
	f.Fuzz(func(t *testing.T, s string) { parseCRC(s) })
}

func TestParseCRC(t *testing.T) {
	for _, in := range []string{"#SYMVER seq_open 0x8ebd2c5c\n", "__crc_seq_open = 0x8ebd2c5c;\n"} {
		if m, err := parseCRC(in); err != nil || m["seq_open"] != 0x8ebd2c5c {
			t.Error(m, err)
		}
	}
	if _, err := parseCRC("error: x\n"); err == nil {
		t.Error("no error")
	}
}

func TestFailureThatIsNotTheSource(t *testing.T) {
	for log, want := range map[string]bool{
		"gcc: fatal error: Killed signal terminated program cc1\n":                     true,
		"/tmp/ccX.s: Assembler messages:\nfatal error: x.o: No space left on device\n": true,
		"fs/x.c:3:1: error: unknown type name 'foo'\n":                                 false,
		"fs/x.c:3:1: fatal error: y.h: No such file or directory\n":                    false,
	} {
		if notTheSource.MatchString(log) != want {
			t.Errorf("%q", log)
		}
	}
}
