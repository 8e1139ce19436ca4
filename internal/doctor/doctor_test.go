// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/run"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// ftraced are the flags by which functions can be live patched.
var ftraced = []string{"-O2", "-pg", "-mfentry"}

// identify asks a compiler what it is. Clang is no package that kmend needs.
func identify(t *testing.T, command ...string) *compiler.Compiler {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := exec.LookPath(command[0]); err != nil && strings.HasPrefix(command[0], "clang") {
		t.Skipf("%v (apt-get install %s)", err, command[0])
	}
	cc, err := compiler.Identify(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	return cc
}

// at returns the flags at levels.
func at(t *testing.T, cc *compiler.Compiler, levels ...compiler.Level) []Setting {
	t.Helper()
	var out []Setting
	for _, l := range levels {
		flags, err := cc.LevelFlags(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Setting{Name: l.String(), Flags: slices.Concat(ftraced, flags)})
	}
	return out
}

// examine prints what is found, as the golden files have it.
func examine(t *testing.T, cc *compiler.Compiler, settings []Setting) string {
	t.Helper()
	var b strings.Builder
	for i, s := range settings {
		e, err := Examine(t.Context(), cc, s, Options{Switches: i == 0})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "== %s: %s\n", s.Name, strings.Join(s.Flags, " "))
		for _, r := range e.Results {
			if r.Broken != "" {
				t.Errorf("%s: %s is broken: %s", s.Name, r.Probe, r.Broken)
			}
			if r.Used || r.Without != "" {
				fmt.Fprintf(&b, "%s: used %v, shown %q, unsafe %v, off %q, without %q, claimed %s\n", r.Probe, r.Used, r.Shown, r.Unsafe, r.Off, r.Without, r.Claimed)
			}
		}
		for _, v := range e.Verdict {
			fmt.Fprintln(&b, v)
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: found\n%swant\n%s(rewrite with -update)", path, got, want)
	}
}

// TestGCC12 is the table of docs/doctor.md.
func TestGCC12(t *testing.T) {
	cc := identify(t, "gcc-12")
	golden(t, "gcc-12", examine(t, cc, append(at(t, cc, compiler.Plain, compiler.InlineClone, compiler.None), Setting{Name: "no -pg", Flags: []string{"-O2"}})))
}

func TestGCC11(t *testing.T) {
	cc := identify(t, "gcc-11")
	golden(t, "gcc-11", examine(t, cc, at(t, cc, compiler.Plain, compiler.InlineClone)))
}

func TestClang14(t *testing.T) {
	cc := identify(t, "clang-14")
	golden(t, "clang-14", examine(t, cc, []Setting{{Name: "plain", Flags: ftraced}}))
}

// TestEveryProbeFindsItsFact: "not used" means something only if the probe can
// say "used", which it does for one compiler at least.
func TestEveryProbeFindsItsFact(t *testing.T) {
	var all strings.Builder
	for _, name := range []string{"gcc-12", "gcc-11", "clang-14"} {
		data, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	for i := range Probes {
		if !strings.Contains(all.String(), "\n"+Probes[i].Name+": used true,") {
			t.Errorf("no compiler uses the fact of %s: the probe may be too weak to find it", Probes[i].Name)
		}
	}
}

func TestProbesAreWellFormed(t *testing.T) {
	names := map[string]bool{}
	for i := range Probes {
		p := &Probes[i]
		if names[p.Name] || p.Fact == "" || p.Source == "" || p.One == p.Two || p.Changed == p.Watched {
			t.Errorf("%s: twice, or incomplete", p.Name)
		}
		names[p.Name] = true
		if p.About == Variable && deeds[p.Name] == "" {
			t.Errorf("%s: the verdict has no word for what a patch must not do", p.Name)
		}
		// Whatever differs is in BODY: the function watched must not have it.
		for line := range strings.Lines(p.Text) {
			if strings.Contains(line, p.Watched+"(") && strings.Contains(line, "BODY") && !strings.Contains(line, p.Changed+"(") {
				t.Errorf("%s: the function watched has the difference in it", p.Name)
			}
		}
		if a, b := p.Program(false, open), p.Program(true, open); strings.Count(a, "\n") != strings.Count(b, "\n") {
			t.Errorf("%s: the variants have different lines", p.Name)
		}
	}
}

func subjectOf(t *testing.T, flags ...string) *subject {
	return &subject{identify(t, "gcc-12"), run.NewJobs(0), flags}
}

func probeNamed(t *testing.T, name string) *Probe {
	t.Helper()
	for i := range Probes {
		if Probes[i].Name == name {
			return &Probes[i]
		}
	}
	t.Fatalf("no probe %s", name)
	return nil
}

// TestRegistersWithAndWithoutProfiling: GCC drops ipa-ra with -pg and prints it
// as enabled all the same.
func TestRegistersWithAndWithoutProfiling(t *testing.T) {
	p := probeNamed(t, "registers-kept")
	for _, c := range []struct {
		flags   string
		used    bool
		off     string
		without string
	}{
		{"-O2", true, "-fno-ipa-ra", ""},
		{"-O2 -fno-ipa-ra", false, "", ""},
		{"-O2 -pg", false, "", "-pg"},
		{"-O2 -pg -mfentry", false, "", "-pg -mfentry"},
		{"-O2 -fpatchable-function-entry=5", false, "", "-fpatchable-function-entry=5"},
		{"-O2 -pg -fno-ipa-ra", false, "", ""},
	} {
		s := subjectOf(t, strings.Fields(c.flags)...)
		r := s.probe(t.Context(), p, byNoipa)
		s.switches(t.Context(), p, &r)
		if r.Used != c.used || r.Off != c.off || r.Without != c.without || r.Broken != "" {
			t.Errorf("%s: %+v, want used %v, off %q, without %q", c.flags, r, c.used, c.off, c.without)
		}
		claims, err := s.claims(t.Context())
		if want := !strings.Contains(c.flags, "-fno-ipa-ra"); err != nil || (claims["-fipa-ra"] == "enabled") != want {
			t.Errorf("%s: -Q says -fipa-ra is %s (%v), want enabled %v", c.flags, claims["-fipa-ra"], err, want)
		}
	}
}

// TestProbeThatMeasuresItselfIsBroken: the function watched differs by itself.
func TestProbeThatMeasuresItselfIsBroken(t *testing.T) {
	p := &Probe{
		Name: "wrong", Text: "GLOBAL int callee(int x) { return x; }\nint watch(int x) { BODY }\n",
		One: `return callee(x);`, Two: `return callee(x + 1);`, Changed: "callee", Watched: "watch",
	}
	for _, h := range []hiding{byNoipa, byWeak} {
		if r := subjectOf(t, ftraced...).probe(t.Context(), p, h); r.Used || !strings.HasPrefix(r.Broken, "control: ") {
			t.Errorf("found %+v, want a broken control", r)
		}
	}
}

// TestBothControlsHold: noipa and weak hide the same from GCC.
func TestBothControlsHold(t *testing.T) {
	s := subjectOf(t, ftraced...)
	for _, name := range []string{"store-dropped", "argument-unused", "argument-bits", "variable-unwritten", "folded", "result-unused"} {
		for _, h := range []hiding{byNoipa, byWeak} {
			if r := s.probe(t.Context(), probeNamed(t, name), h); !r.Used || r.Broken != "" {
				t.Errorf("%s, hidden in way %d: %+v", name, h, r)
			}
		}
	}
}

func TestFlagsThatCannotBeProbed(t *testing.T) {
	for flags, want := range map[string]string{
		"-fsyntax-only": "leaves no object; leave out flags that stop it early",
		"--version":     "leaves no object",
		"-S":            "not an ELF file",
		"-E":            "not an ELF file",
		"-m32":          "not a 64-bit",
		"-flto":         "has no code of that name",
		"-fnonsense":    "unrecognized command-line option",
		"other.c":       "cannot specify '-o'",
	} {
		_, err := Examine(t.Context(), identify(t, "gcc-12"), Setting{Name: "x", Flags: strings.Fields(flags)}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "gcc-12 "+flags) && flags != "-flto" {
			t.Errorf("%s: error %v, want %q", flags, err, want)
		}
	}
}

// TestNothingIsLeftBehind: flags that make a compiler leave files leave none.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Chdir(t.TempDir())
	s := subjectOf(t, "-O2", "-save-temps", "-pipe", "-MD", "-g", "-gsplit-dwarf", "-fstack-usage", "-da")
	if r := s.probe(t.Context(), probeNamed(t, "pure"), byNoipa); r.Broken != "" || !r.Used {
		t.Errorf("found %+v", r)
	}
	_, _ = s.claims(t.Context()) // fails with some of the flags
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// fake makes a compiler that runs a shell script before gcc-12.
func fake(t *testing.T, script string) *compiler.Compiler {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nfor last; do :; done\n"+script+"\nexec gcc-12 \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return identify(t, path)
}

func TestCompilersThatDoNotWork(t *testing.T) {
	isCompile := `case "$last" in *probe.c) compile=1;; esac; [ "$compile" ] && `
	_, err := Examine(t.Context(), fake(t, isCompile+`{ echo out of order >&2; exit 3; }`), Setting{Flags: ftraced}, Options{})
	var failed *run.Error
	if !errors.As(err, &failed) || failed.Exit != 3 || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("a compiler that fails: %v", err)
	}
	if _, err = Examine(t.Context(), fake(t, isCompile+`exit 0`), Setting{Flags: ftraced}, Options{}); err == nil || !strings.Contains(err.Error(), "leaves no object") {
		t.Errorf("a compiler that does nothing: %v", err)
	}
	s := &subject{fake(t, isCompile+`grep -q "fresh();" "$last" && { echo internal compiler error >&2; exit 4; }`), run.NewJobs(0), ftraced}
	if r := s.probe(t.Context(), probeNamed(t, "malloc"), byNoipa); !strings.Contains(r.Broken, "internal compiler error") {
		t.Errorf("a compiler that fails on one probe: %+v", r)
	}
	if r := s.probe(t.Context(), probeNamed(t, "pure"), byNoipa); r.Broken != "" || !r.Used {
		t.Errorf("and on no other: %+v", r)
	}
	t.Chdir(filepath.Dir(s.cc.Argv[0]))
	if _, err := (&subject{identify(t, "./cc"), run.NewJobs(0), ftraced}).works(t.Context()); err != nil {
		t.Errorf("a compiler by its relative path: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Examine(ctx, identify(t, "gcc-12"), Setting{Flags: ftraced}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFlagsOf(t *testing.T) {
	command := strings.Fields("gcc-12 -Wp,-MMD,kernel/.fork.o.d -nostdinc -I./include -include ./include/linux/kconfig.h -D__KERNEL__ -fmacro-prefix-map=/src/= -Wall -std=gnu11 -fno-common -m64 -O2 --param allow-store-data-races=0 -pg -mfentry -DCC_USING_FENTRY -fdump-ipa-clones -pipe -c -o kernel/fork.o -x c kernel/fork.c")
	got, err := FlagsOf(command)
	want := "-std=gnu11 -fno-common -m64 -O2 --param=allow-store-data-races=0 -pg -mfentry"
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("FlagsOf = %q, %v; want %s", got, err, want)
	}
	if _, err := FlagsOf([]string{"gcc", "-O2", "-fplugin=./scripts/randomize.so"}); err == nil || !strings.Contains(err.Error(), "-fplugin=./scripts/randomize.so") {
		t.Errorf("a plugin: %v", err)
	}
}

func FuzzParseClaims(f *testing.F) {
	f.Add([]byte("  -fipa-ra                    \t\t[enabled]\n  -fipa-pta \t[disabled]\n  -fivopts  [maybe]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for option, state := range parseClaims(b) {
			if !strings.HasPrefix(option, "-f") || state != "enabled" && state != "disabled" {
				t.Fatalf("%q is %q", option, state)
			}
		}
	})
}
