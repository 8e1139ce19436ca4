// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/patch"
	"kmend/internal/run"
)

// tree opens the test kernel with a state directory of the test's own.
func tree(t testing.TB) *Tree {
	t.Helper()
	k := kerneltest.Open(t)
	tr, err := OpenConfig(Config{SourceDir: k.SourceDir, ObjDir: k.ObjDir, Compiler: k.Compiler, MakeVars: k.MakeVars, StateDir: filepath.Join(t.TempDir(), "state")})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func commands(t testing.TB, tr *Tree, sources ...string) []*Command {
	t.Helper()
	cs, err := tr.Commands(context.Background(), sources)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// sample holds files of every kind: built in and modules, several flags of their
// own (CFLAGS_x.o, CFLAGS_REMOVE_x.o, subdir-ccflags, ccflags-remove-y),
// composite modules, objects of another directory's makefile, generated headers.
var sample = []string{
	"fs/proc/cmdline.c", "kernel/bpf/core.c", "kernel/trace/trace_clock.c", "kernel/sched/build_policy.c",
	"lib/string.c", "mm/util.c", "security/selinux/netlink.c", "crypto/rsa_helper.c", "arch/x86/kernel/tsc.c",
	"virt/kvm/eventfd.c", "fs/xfs/libxfs/xfs_bit.c", "drivers/net/ethernet/intel/e1000e/mac.c", "net/bluetooth/a2mp.c",
	"drivers/gpu/drm/i915/i915_mm.c", "sound/core/misc.c", "arch/x86/mm/pat/set_memory.c",
}

// savedCommand reads what kbuild noted about an object it made.
func savedCommand(t *testing.T, obj string, c *Command) [][]string {
	t.Helper()
	file := filepath.Join(obj, filepath.Dir(c.Object), "."+filepath.Base(c.Object)+".cmd")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	_, cmd, ok := strings.Cut(line, " := ")
	if !ok {
		t.Fatalf("%s: %s", file, line)
	}
	cmd = strings.ReplaceAll(strings.ReplaceAll(cmd, "$(pound)", "#"), "$$", "$")
	words, err := splitShell(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return words
}

// The commands are those that a real make runs, and what we compile with them
// has the same code as what make compiles.
func TestCommandsAndObjectsEqualKbuild(t *testing.T) {
	tr := tree(t)
	cs := commands(t, tr, sample...)
	argv := append([]string{"-C", tr.cfg.SourceDir, "O=" + tr.cfg.ObjDir}, tr.cfg.MakeVars...)
	argv = append(argv, "-j2")
	for _, c := range cs {
		argv = append(argv, c.Object)
		o := filepath.Join(tr.cfg.ObjDir, c.Object)
		os.Remove(o)
		t.Cleanup(func() {
			os.Remove(o)
			os.Remove(filepath.Join(filepath.Dir(o), "."+filepath.Base(o)+".cmd"))
		})
	}
	unlock, err := tr.lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("make", argv...).CombinedOutput()
	unlock()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range cs {
		want := savedCommand(t, tr.cfg.ObjDir, c)
		if !slices.Equal(c.Gcc, want[0]) {
			t.Errorf("%s:\n got %q\nwant %q", c.Source, c.Gcc, want[0])
		}
		if len(want) > 1 && !slices.Equal(c.Objtool, want[1]) || len(want) == 1 && c.Objtool != nil {
			t.Errorf("%s: objtool %q want %q", c.Source, c.Objtool, want[1:])
		}
		theirs, err := os.ReadFile(filepath.Join(tr.cfg.ObjDir, c.Object))
		if err != nil {
			t.Fatal(err)
		}
		ours := compileWith(t, tr, c, nil, nil)
		if d := diffObjects(t, theirs, ours); d != "" {
			t.Errorf("%s: %s", c.Source, d)
		}
	}
}

// compileWith compiles on the bench with other options than section flags.
func compileWith(t *testing.T, tr *Tree, c *Command, overlay map[string][]byte, extra []string) []byte {
	t.Helper()
	b, err := tr.newBench(Job{Command: c, Overlay: overlay})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.extra = extra
	r := &Result{}
	if err := b.gcc(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if err := b.objtool(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if err := b.collect(r); err != nil {
		t.Fatal(err)
	}
	return r.Object
}

// diffObjects compares all allocated sections and their relocations (by symbol
// name); "" if they are equal.
func diffObjects(t *testing.T, a, b []byte) string {
	t.Helper()
	x, y := dump(t, a), dump(t, b)
	for k, v := range x {
		if y[k] != v {
			return fmt.Sprintf("section %s differs", k)
		}
	}
	if len(x) != len(y) {
		return fmt.Sprintf("%d sections, %d sections", len(x), len(y))
	}
	return ""
}

func dump(t *testing.T, obj []byte) map[string]string {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(obj))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	name := func(i uint32) string {
		if i == 0 {
			return ""
		}
		s := syms[i-1]
		if elf.ST_TYPE(s.Info) == elf.STT_SECTION {
			return "section " + f.Sections[s.Section].Name
		}
		return fmt.Sprintf("%s %d %d", s.Name, s.Value, s.Size)
	}
	out := map[string]string{}
	for _, s := range f.Sections {
		var text string
		switch {
		case s.Type == elf.SHT_RELA && f.Sections[s.Info].Flags&elf.SHF_ALLOC != 0:
			data, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+24 <= len(data); i += 24 {
				info := binary.LittleEndian.Uint64(data[i+8:])
				text += fmt.Sprintf("%x %d %s %x\n", binary.LittleEndian.Uint64(data[i:]), uint32(info), name(uint32(info>>32)), binary.LittleEndian.Uint64(data[i+16:]))
			}
		case s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS:
			data, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			text = string(data)
		case s.Flags&elf.SHF_ALLOC != 0:
			text = fmt.Sprint(s.Size)
		default:
			continue
		}
		out[s.Name] += text + "\n--\n" // COMDAT and group sections can share a name
	}
	return out
}

func TestUnits(t *testing.T) {
	tr := tree(t)
	cs := commands(t, tr, "fs/proc/cmdline.c", "lib/string.c", "virt/kvm/kvm_main.c", "arch/x86/kvm/vmx/vmx.c", "net/bluetooth/a2mp.c", "drivers/char/nvram.c")
	want := []Unit{
		{"fs/proc/cmdline.c", "fs/proc/cmdline.o", nil, false},
		{"lib/string.c", "lib/string.o", nil, true},
		{"virt/kvm/kvm_main.c", "arch/x86/kvm/../../../virt/kvm/kvm_main.o", []string{"kvm"}, false},
		{"arch/x86/kvm/vmx/vmx.c", "arch/x86/kvm/vmx/vmx.o", []string{"kvm_intel"}, false},
		{"net/bluetooth/a2mp.c", "net/bluetooth/a2mp.o", []string{"bluetooth"}, false},
		{"drivers/char/nvram.c", "drivers/char/nvram.o", []string{"nvram"}, false},
	}
	for i, c := range cs {
		if fmt.Sprint(c.Unit) != fmt.Sprint(want[i]) {
			t.Errorf("%+v, want %+v", c.Unit, want[i])
		}
	}
}

func TestNotBuilt(t *testing.T) {
	tr := tree(t)
	for src, want := range map[string]string{
		"kernel/sched/rt.c":                       "included by kernel/sched/build_policy.c",
		"drivers/usb/gadget/udc/atmel_usba_udc.c": "CONFIG_USB_ATMEL_USBA is not set",
		"net/no_such_file.c":                      "no such file",
		"fs/proc/nommu.c":                         "does not build it",
		"arch/arm64/kernel/setup.c":               "does not build it",
		"arch/x86/entry/vdso/vclock_gettime.c":    "",
	} {
		cs, err := tr.Commands(context.Background(), []string{src, "fs/proc/cmdline.c"})
		var nb *NotBuiltError
		if !errors.As(err, &nb) || nb.Source != src || nb.Code() != "not-built" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", src, err)
		}
		if cs == nil || cs[0] != nil || cs[1] == nil {
			t.Errorf("%s: the other command is missing", src)
		}
	}
	for _, src := range []string{"../x.c", "/etc/x.c", "fs/../fs/proc/cmdline.c", "fs/proc/cmdline.h"} {
		if _, err := tr.Commands(context.Background(), []string{src}); err == nil {
			t.Errorf("%s accepted", src)
		}
	}
}

func TestCompileIsDeterministic(t *testing.T) {
	tr := tree(t)
	c := commands(t, tr, "net/ipv4/tcp_ipv4.c")[0]
	before := treeState(t, tr, c)
	var first *Result
	for _, d := range []string{"a", "a directory with a long name and blanks"} {
		tmp := filepath.Join(t.TempDir(), d)
		if err := os.Mkdir(tmp, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("TMPDIR", tmp)
		r, err := tr.Compile(context.Background(), Job{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r
			continue
		}
		if !bytes.Equal(r.Object, first.Object) || !bytes.Equal(r.Clones, first.Clones) || len(r.Types) != len(first.Types) {
			t.Error("the result depends on the temporary directory")
		}
		if e, _ := os.ReadDir(tmp); len(e) != 0 {
			t.Errorf("left behind: %v", e)
		}
	}
	if bytes.Contains(first.Object, []byte("kmend-cc")) || bytes.Contains(first.Clones, []byte("/src/")) || !bytes.Contains(first.Clones, []byte("Callgraph clone;")) {
		t.Error("a private path got into the result, or no clones")
	}
	if !slices.Contains(first.Deps, "include/net/tcp.h") || !slices.Contains(first.Deps, "net/ipv4/tcp_ipv4.c") || len(first.Types) == 0 {
		t.Errorf("%d dependencies, %d bytes of types", len(first.Deps), len(first.Types))
	}
	if after := treeState(t, tr, c); after != before {
		t.Errorf("the tree was written:\n%s\n%s", before, after)
	}
}

// treeState lists the directories of a unit in source and O=.
func treeState(t *testing.T, tr *Tree, c *Command) string {
	var b strings.Builder
	for _, d := range []string{filepath.Join(tr.cfg.SourceDir, filepath.Dir(c.Source)), filepath.Join(tr.cfg.ObjDir, filepath.Dir(c.Object))} {
		es, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			if i, err := e.Info(); err == nil {
				fmt.Fprintln(&b, d, e.Name(), i.Size(), i.ModTime())
			}
		}
	}
	return b.String()
}

func TestCompileErrorsAndWarnings(t *testing.T) {
	tr := tree(t)
	tr.Cache = run.CacheAt(filepath.Join(t.TempDir(), "objects"))
	c := commands(t, tr, "fs/proc/cmdline.c")[0]
	orig, err := os.ReadFile(filepath.Join(tr.cfg.SourceDir, c.Source))
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Replace(orig, []byte("return 0;"), []byte("return nothing_known;"), 1)
	_, _, err = tr.CompilePair(context.Background(), Job{Command: c,
		Overlay:  map[string][]byte{c.Source: append([]byte("#line 500\n"), broken...)},
		Diagnose: map[string][]byte{c.Source: broken}})
	var ce *CompileError
	if !errors.As(err, &ce) || ce.Code() != "does-not-compile" || ce.Original || !strings.Contains(ce.Log, "fs/proc/cmdline.c:11:") || !strings.Contains(ce.Log, "nothing_known") || strings.Contains(ce.Log, "/kmend-cc") {
		t.Fatalf("%v", err)
	}
	warned := bytes.Replace(orig, []byte("return 0;"), []byte("int unused_one = 0; return 0;"), 1)
	b, a, err := tr.CompilePair(context.Background(), Job{Command: c, Overlay: map[string][]byte{c.Source: warned}})
	if err != nil {
		t.Fatal(err)
	}
	if w := NewWarnings(b, a); len(w) != 1 || !strings.HasPrefix(w[0], "fs/proc/cmdline.c: In function") || !strings.Contains(w[0], "unused_one") {
		t.Fatalf("%q", w)
	}
	// Both again come from the cache, the same.
	b2, a2, err := tr.CompilePair(context.Background(), Job{Command: c, Overlay: map[string][]byte{c.Source: warned}})
	if err != nil || !b2.Cached || !a2.Cached || !bytes.Equal(a2.Object, a.Object) || !slices.Equal(a2.Warnings, a.Warnings) || !slices.Equal(a2.Deps, a.Deps) || !bytes.Equal(b2.Clones, b.Clones) {
		t.Fatal("cache:", err, b2.Cached, a2.Cached)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tr.Compile(ctx, Job{Command: c, Overlay: map[string][]byte{c.Source: append(warned, '\n')}}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestCRC(t *testing.T) {
	k := kerneltest.Open(t)
	tr := tree(t)
	for _, src := range []string{"fs/seq_file.c", "drivers/net/mii.c", "virt/kvm/kvm_main.c"} {
		c := commands(t, tr, src)[0]
		r, err := tr.Compile(context.Background(), Job{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		names, err := Exports(r.Object)
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		crcs, err := tr.CRC(context.Background(), Job{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		if len(crcs) != len(names) {
			t.Errorf("%s: %d exports, %d versions", src, len(names), len(crcs))
		}
		for _, n := range names {
			e, ok := k.Export(n)
			if !ok || e.CRC != crcs[n] {
				t.Errorf("%s: %#x, the kernel has %#x (%v)", n, crcs[n], e.CRC, ok)
			}
		}
	}
	c := commands(t, tr, "fs/proc/cmdline.c")[0]
	r, err := tr.Compile(context.Background(), Job{Command: c})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := Exports(r.Object); err != nil || len(names) != 0 {
		t.Error(names, err)
	}
}

// Blank lines all over a file, then #line: the object must not change.
func TestLinePreserveOnKernelSource(t *testing.T) {
	tr := tree(t)
	for _, c := range commands(t, tr, "net/ipv4/tcp_ipv4.c", "fs/ext4/inode.c") {
		orig, err := os.ReadFile(filepath.Join(tr.cfg.SourceDir, c.Source))
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		var from []int
		n := 0
		cont := false
		for line := range bytes.Lines(orig) {
			n++
			if n%7 == 0 && !cont {
				text, from = append(text, '\n'), append(from, 0)
			}
			text, from = append(text, line...), append(from, n)
			cont = bytes.HasSuffix(line, []byte("\\\n"))
		}
		out, shifted := patch.LinePreserve(text, from)
		t.Logf("%s: %d lines, %d directives, %d lines shifted", c.Source, n, bytes.Count(out, []byte("\n#line ")), shifted)
		if shifted > n/2 {
			t.Errorf("%s: %d of %d lines shifted", c.Source, shifted, n)
		}
		before := compileWith(t, tr, c, nil, sectionFlags)
		after := compileWith(t, tr, c, map[string][]byte{c.Source: out}, sectionFlags)
		moved := compileWith(t, tr, c, map[string][]byte{c.Source: text}, sectionFlags)
		if diffObjects(t, before, moved) == "" {
			t.Errorf("%s: no teeth, the object has no line numbers", c.Source)
		}
		if d := diffObjects(t, before, after); d != "" {
			t.Logf("%s: %s (lines in statements that a blank line cuts cannot be kept)", c.Source, d)
			x, y, z := dump(t, before), dump(t, after), dump(t, moved)
			kept, lost := 0, 0
			for k := range x {
				if x[k] != z[k] {
					if x[k] == y[k] {
						kept++
					} else {
						lost++
					}
				}
			}
			t.Logf("%s: of %d sections with line numbers %d equal", c.Source, kept+lost, kept)
		}
	}
}
