// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/kernel"
	"kmend/internal/object"
)

// tinyMakefile is the little of a kernel's makefiles that building one needs.
const tinyMakefile = `
allnoconfig:
	@(echo '# config'; cat $(KCONFIG_ALLCONFIG)) > $(O)/.config
vmlinux: good.o mm/bug.o $(EXTRA)
	@cd $(O) && ld -z muldefs -e 0 -o vmlinux $^
%.o:
	@mkdir -p $(O)/$(@D)
	@echo "  CC      $@"
	@$(CC) -O2 $(KCFLAGS) -c -o $(O)/$@ $(CURDIR)/$*.c
asm.o:
	@echo "error: no such instruction" >&2; false
.PHONY: allnoconfig vmlinux
`

// linkSource links only if the compiler finds that a function which it must not
// inline has no effect, as arch/x86/kernel/alternative.c of the kernel does.
const linkSource = `extern int missing[], missing_end[];
static __attribute__((noinline)) void seal(int *start, int *end) { }
void sealed(void) { seal(missing, missing_end); }
`

// tinyBuild is a build of a source with a unit that does not compile at
// only-inline-static, as mm/shmem.c of the kernel.
func tinyBuild(t *testing.T, level compiler.Level, extra string) *build {
	t.Helper()
	src := t.TempDir()
	files := map[string]string{
		"Makefile": "EXTRA := " + extra + tinyMakefile, "mm/bug.c": sources["bug.c"], "broken.c": sources["broken.c"],
		"link.c": linkSource,
		"good.c": "int off(void) { return 0; }\nint user(void) { return off() + 1; }\n",
	}
	for name, text := range files {
		file := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	flags, err := gcc12(t).LevelFlags(t.Context(), level)
	if err != nil {
		t.Fatal(err)
	}
	return &build{kernel: &kernel.Kernel{SourceDir: src, BuildID: "00"}, compiler: gcc12(t), level: level, flags: flags, dir: t.TempDir()}
}

// start does what build.make does before it runs make.
func (b *build) start(t *testing.T) {
	t.Helper()
	b.source = b.kernel.SourceDir
	err := os.MkdirAll(b.objDir(), 0o755)
	if err = errors.Join(err, b.load()); err == nil {
		err = b.configure(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func units(list []Failure) (names []string) {
	for _, f := range list {
		names = append(names, f.Unit)
	}
	return names
}

// calls says whether the function named user calls another one.
func calls(t *testing.T, file string) bool {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(o.Section(".text").Relocs, func(r object.Reloc) bool { return r.Sym.Name == "off" })
}

func TestUnitsThatDoNotCompileAreLeftOut(t *testing.T) {
	b := tinyBuild(t, compiler.OnlyInlineStatic, "")
	b.start(t)
	var counted int64
	b.progress = func(_ string, done, _ int64) { counted = done }
	failed, err := b.round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(units(failed), []string{"mm/bug.c"}) || !strings.HasPrefix(failed[0].Reason, "mm/bug.c: In function 'user': mm/bug.c:3:") || !strings.Contains(failed[0].Reason, "BUILD_BUG failed") {
		t.Fatalf("failed: %+v", failed)
	}
	if counted != 2 {
		t.Errorf("%d compiles seen, want 2", counted)
	}
	if failed, err = b.round(t.Context()); err != nil || len(failed) != 0 {
		t.Fatalf("second round: %+v, %v", failed, err)
	}
	if !calls(t, filepath.Join(b.objDir(), "good.o")) {
		t.Error("good.c was not compiled at the level: a function that is not static was inlined")
	}
	if calls(t, filepath.Join(b.objDir(), "mm/bug.o")) {
		t.Error("bug.c was not compiled as plain")
	}
	for _, unit := range []string{"good.c", "mm/bug.c"} {
		if _, err := os.Stat(filepath.Join(b.objDir(), unit+".000i.ipa-clones")); err != nil {
			t.Errorf("%s has no dump: %v", unit, err)
		}
	}
	// Another process goes on where this one was.
	again := *b
	again.state = buildState{}
	again.start(t)
	if !slices.Equal(units(again.state.Without), []string{"mm/bug.c"}) || again.state.Done {
		t.Errorf("state of an unfinished build: %+v", again.state)
	}
	// With other flags all is open again.
	again.flags = append([]string{"-fno-ipa-ra"}, again.flags...)
	again.start(t)
	if len(again.state.Without) != 0 {
		t.Errorf("left out with other flags: %q", units(again.state.Without))
	}
	if _, err := os.Stat(filepath.Join(b.objDir(), "mm/bug.o")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the object that was compiled without the level is still there")
	}
}

func TestUnitsThatDoNotLinkAreLeftOut(t *testing.T) {
	b := tinyBuild(t, compiler.OnlyInlineStatic, "link.o")
	b.start(t)
	var all []string
	for range 3 {
		failed, err := b.round(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, units(failed)...)
		for _, f := range failed {
			if f.Unit == "link.c" && (!strings.HasPrefix(f.Reason, "link.c:(.text+0x") || !strings.Contains(f.Reason, "undefined reference to `missing") || strings.Count(f.Log, "\n") != 2) {
				t.Errorf("link.c: reason %q, log %q", f.Reason, f.Log)
			}
		}
	}
	if !slices.Equal(all, []string{"mm/bug.c", "link.c"}) {
		t.Errorf("left out: %q", all)
	}
}

func TestUndefined(t *testing.T) {
	log := "ld: a/b.o: in function `f':\nb.c:(.text+0x1): undefined reference to `x'\nld: b.c:(.text+0x2): undefined reference to `y'\n" +
		"ld: c.o: in function `g':\nc.c:(.text+0x1): undefined reference to `x'\nmake: *** [Makefile:1: vmlinux] Error 1\n"
	got := undefined(log)
	if len(got) != 2 || got[0].object != "a/b.o" || got[1].object != "c.o" || len(got[0].lines) != 2 || got[0].lines[1] != "b.c:(.text+0x2): undefined reference to `y'" {
		t.Errorf("%+v", got)
	}
	if got := undefined("ld: cannot find -lx\nx.c:1: undefined reference to `y'\n"); len(got) != 0 {
		t.Errorf("of no object: %+v", got)
	}
}

func TestKernelsThatDoNotBuild(t *testing.T) {
	for _, c := range []struct {
		name  string
		level compiler.Level
		extra string
		want  string
	}{
		{"a unit that never compiles", compiler.InlineClone, "broken.o", "broken.c fails without the level, too"},
		{"an object that is not from C", compiler.InlineClone, "asm.o", "asm.o fails, and is not from a C file"},
		{"plain", compiler.Plain, "broken.o", "build a kernel at level plain"},
		{"no vmlinux", compiler.InlineClone, "missing", "build a kernel at level inline-clone"},
		{"what is made is no kernel", compiler.InlineClone, "", "read image"},
	} {
		b := tinyBuild(t, c.level, c.extra)
		if _, err := b.make(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if b.state.Done {
			t.Errorf("%s: done", c.name)
		}
	}
}

func TestBuildRefusesWhatItCannotDo(t *testing.T) {
	b := tinyBuild(t, compiler.Plain, "")
	b.dir = filepath.Join(b.dir, "a b")
	if _, err := b.make(t.Context()); err == nil || !strings.Contains(err.Error(), "XDG_CACHE_HOME") {
		t.Errorf("a path with a blank: %v", err)
	}
	b = tinyBuild(t, compiler.Plain, "")
	unlock, err := b.lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(b.objDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.make(t.Context()); err == nil || !strings.Contains(err.Error(), "another kmend") {
		t.Errorf("two builds at a time: %v", err)
	}
	unlock()
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.make(dead); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// A source that drops an option is not the kernel that the figures are of.
	b = tinyBuild(t, compiler.Plain, "")
	makefile := filepath.Join(b.kernel.SourceDir, "Makefile")
	data, err := os.ReadFile(makefile)
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.Replace(string(data), "cat $(KCONFIG_ALLCONFIG)", "grep -v FUTEX $(KCONFIG_ALLCONFIG)", 1))
	if err := os.WriteFile(makefile, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.make(t.Context()); err == nil || !strings.Contains(err.Error(), "CONFIG_FUTEX=y") {
		t.Errorf("an option that is not taken: %v", err)
	}
}
