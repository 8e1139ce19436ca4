// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
)

// procKallsyms is the SHA-256 of what /proc/kallsyms said of vmlinux when the
// image with this build id was booted (as root, without KASLR): the kernel's
// own decoding of names, addresses, types and order.
var procKallsyms = map[string]string{
	"06f8bde30046985060c60820f7a11515a33afb06": "b1a312e7ca674d6439d8893aac2e1539292759197ebaf86ae8c4c9ed7ab8112a",
}

func TestRealKallsymsEqualProc(t *testing.T) {
	k := kerneltest.Open(t)
	want, ok := procKallsyms[k.BuildID]
	if !ok {
		t.Skipf("/proc/kallsyms of build %s was not recorded", k.BuildID)
	}
	h := sha256.New()
	for _, s := range kerneltest.Image(t, k).Symbols().All() {
		fmt.Fprintf(h, "%016x %c %s\n", s.Addr, s.Type, s.Name)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("SHA-256 %s, the booted kernel gave %s", got, want)
	}
}

// TestRealExports compares two tables that know nothing of each other: every
// __ksymtab entry's value must be the address of the kallsyms entry of its
// name, and Module.symvers must say the same CRCs as the image.
func TestRealExports(t *testing.T) {
	k := kerneltest.Open(t)
	im := kerneltest.Image(t, k)
	table := im.Symbols()
	le := binary.LittleEndian
	n := 0
	for _, name := range []string{"__ksymtab", "__ksymtab_gpl"} {
		s, ok := im.Section(name)
		if !ok {
			t.Fatalf("no section %s", name)
		}
		b, err := im.Bytes(s.Addr, int(s.Size))
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(b); off += 12 {
			rel := func(o int) uint64 { return s.Addr + uint64(o) + uint64(int64(int32(le.Uint32(b[o:])))) }
			value := rel(off)
			str, err := im.Bytes(rel(off+4), 128)
			if err != nil {
				t.Fatal(err)
			}
			export := string(str[:slices.Index(str, 0)])
			found := false
			for _, c := range table.Lookup(export) {
				found = found || c.Addr == value
			}
			// Linker script symbols may be exported and not be in kallsyms.
			if !found && len(table.Lookup(export)) > 0 {
				t.Errorf("%s is exported at %#x, kallsyms has %+v", export, value, table.Lookup(export))
			}
			if found {
				n++
			}
			entry := table.Lookup("__ksymtab_" + export)
			if len(entry) != 1 || entry[0].Addr != s.Addr+uint64(off) {
				t.Errorf("__ksymtab_%s is at %#x, kallsyms has %+v", export, s.Addr+uint64(off), entry)
			}
		}
	}
	if n < 5000 {
		t.Errorf("only %d exports have their kallsyms entry", n)
	}
	have, err := im.Exports()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range have {
		if got, ok := k.Export(name); !ok || got != want {
			t.Errorf("Export(%s) = %+v, the image has %+v", name, got, want)
		}
	}
	if e, ok := k.Export("loop_register_transfer"); ok {
		t.Errorf("an export that 6.1 does not have: %+v", e)
	}
	if e, ok := k.Export("ext4_mark_inode_dirty"); ok {
		t.Errorf("not exported, but found: %+v", e)
	}
	if e, ok := k.Export("cdrom_open"); !ok || e.Object != "cdrom" || e.CRC == 0 {
		t.Errorf("Export(cdrom_open) = %+v, %v", e, ok)
	}
}

// TestRealSympos: two names that are both global and local on Debian's 6.1.
func TestRealSympos(t *testing.T) {
	k := kerneltest.Open(t)
	table := kerneltest.Image(t, k).Symbols()
	for _, name := range []string{"user_read", "user_destroy"} {
		list := table.Lookup(name)
		if len(list) != 2 {
			t.Errorf("%d entries of %s, 2 expected: %+v", len(list), name, list)
			continue
		}
		types := string([]byte{list[0].Type, list[1].Type})
		if strings.ToUpper(types) != "TT" || types == "TT" || types == "tt" {
			t.Errorf("%s: types %q, one global and one local function expected", name, types)
		}
		if list[0].Addr >= list[1].Addr || table.Sympos(list[0]) != 1 || table.Sympos(list[1]) != 2 {
			t.Errorf("%s: %+v", name, list)
		}
	}
	for _, s := range table.All() {
		if table.Sympos(s) < 0 {
			t.Fatalf("%+v is not found in its own table", s)
		}
	}
}

// TestRealImage ties ELF sections, symbols, BTF and banner together.
func TestRealImage(t *testing.T) {
	k := kerneltest.Open(t)
	im := kerneltest.Image(t, k)
	table := im.Symbols()
	if im.BuildID != k.BuildID || len(im.BuildID) != 40 {
		t.Errorf("build id %q, recorded %q", im.BuildID, k.BuildID)
	}
	if !strings.HasPrefix(im.Banner, "Linux version "+k.Release+" ") || !strings.Contains(im.Banner, k.CompilerID) {
		t.Errorf("banner %q", im.Banner)
	}
	text, ok := im.Section(".text")
	if s := table.Lookup("_text"); !ok || len(s) != 1 || s[0].Addr != text.Addr {
		t.Errorf("_text is %v, .text %+v", s, text)
	}
	if s := table.Lookup("__per_cpu_start"); len(s) != 1 || s[0].Addr != 0 {
		t.Errorf("__per_cpu_start: %v", s)
	}
	if s := table.Lookup("__x86_return_thunk"); len(s) != 1 {
		t.Errorf("__x86_return_thunk: %v", s)
	} else if b, err := im.Bytes(s[0].Addr, 1); err != nil || len(b) != 1 {
		t.Errorf("bytes of __x86_return_thunk: %v", err)
	}
	if _, err := im.Bytes(0xffffffffff000000, 1); err == nil {
		t.Error("bytes from outside the image: no error")
	}
	if _, err := im.Bytes(text.Addr, -1); err == nil {
		t.Error("a negative size: no error")
	}
	spec, err := k.BTF()
	if err != nil {
		t.Fatal(err)
	}
	var st *btf.Struct
	if err := spec.TypeByName("task_struct", &st); err != nil || st.Size < 1000 {
		t.Errorf("struct task_struct: %v %v", st, err)
	}
}

func TestRealSpeed(t *testing.T) {
	k := kerneltest.Open(t)
	best := time.Hour
	for range 3 {
		start := time.Now()
		if _, err := kernel.OpenImage(k.Vmlinux); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	t.Logf("image read and decoded in %v", best)
	if best > 3*time.Second {
		t.Errorf("%v to read and decode the image", best)
	}
}

// TestRealBzImage unpacks vmlinuz again and compares with the image that the
// store keeps.
func TestRealBzImage(t *testing.T) {
	k := kerneltest.Open(t)
	b, err := os.ReadFile(k.Bzimage)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	out, err := kernel.UnpackBzImage(b)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes in %v", len(out), time.Since(start))
	want, err := os.ReadFile(k.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != string(want) {
		t.Error("differs from the kept image")
	}
}

func TestRealModules(t *testing.T) {
	k := kerneltest.Open(t)
	if n := len(k.Modules()); n != k.ModuleN || n < 1000 {
		t.Errorf("%d modules, %d recorded", n, k.ModuleN)
	}
	for _, name := range []string{"snd-hda-intel", "snd_hda_intel"} {
		m, err := k.Module(name)
		if err != nil {
			t.Fatal(err)
		}
		if m.Name != "snd_hda_intel" || filepath.Base(m.Path) != "snd-hda-intel.ko" {
			t.Errorf("%+v", m)
		}
	}
	if _, err := k.Module("lop"); err == nil || !strings.Contains(err.Error(), "did you mean loop") {
		t.Errorf("a wrong name: %v", err)
	}
	deps, err := k.ModuleDepends("ext4")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(deps, "jbd2") || slices.Contains(deps, "ext4") {
		t.Errorf("ext4 depends on %v", deps)
	}
	// Load order: what a module needs stands before it.
	deps, err = k.ModuleDepends("snd-hda-intel")
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range deps {
		needs, err := k.ModuleDepends(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range needs {
			if !slices.Contains(deps[:i], n) {
				t.Errorf("%v: %s needs %s before it", deps, d, n)
			}
		}
	}
	data := kerneltest.ModuleData(t, k, "loop")
	f, err := elf.NewFile(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := f.Symbols()
	if err != nil || len(syms) < 50 {
		t.Errorf("loop has %d symbols: %v", len(syms), err)
	}
	m, err := k.Module("loop")
	if err != nil {
		t.Fatal(err)
	}
	info, err := m.Modinfo()
	if err != nil {
		t.Fatal(err)
	}
	if v := info["vermagic"]; len(v) != 1 || v[0] != k.Vermagic() {
		t.Errorf("vermagic of loop is %q, of the kernel %q", v, k.Vermagic())
	}
}

// TestRealModulesDep compares our modules.dep with depmod's.
func TestRealModulesDep(t *testing.T) {
	k := kerneltest.Open(t)
	depmod, err := exec.LookPath("depmod")
	if err != nil {
		for _, p := range []string{"/sbin/depmod", "/usr/sbin/depmod"} {
			if _, serr := os.Stat(p); serr == nil {
				depmod, err = p, nil
			}
		}
	}
	if err != nil {
		kerneltest.Missing(t, "depmod is not installed: apt-get install kmod")
	}
	root := t.TempDir()
	dir := filepath.Join(root, "lib/modules", k.Release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// depmod does not follow a link to a directory, but does to files.
	src := filepath.Join(k.ModulesDir, "kernel")
	if out, err := exec.Command("cp", "-rs", src, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := exec.Command(depmod, "-b", root, k.Release).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	want, got := readDep(t, filepath.Join(dir, "modules.dep")), readDep(t, filepath.Join(k.ModulesDir, "modules.dep"))
	if len(want) < 1000 || len(got) != len(want) {
		t.Fatalf("%d modules, depmod has %d", len(got), len(want))
	}
	for p, deps := range want {
		if !slices.Equal(got[p], deps) {
			t.Errorf("%s: %v, depmod has %v", p, got[p], deps)
		}
	}
}

// readDep reads modules.dep with each line's dependencies sorted.
func readDep(t *testing.T, path string) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string][]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		p, deps, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("%s: %q", path, line)
		}
		f := strings.Fields(deps)
		slices.Sort(f)
		m[p] = f
	}
	return m
}

func TestRealConfig(t *testing.T) {
	k := kerneltest.Open(t)
	for name, want := range map[string]string{
		"CONFIG_LIVEPATCH": "y", "CONFIG_BLK_DEV_LOOP": "m", "CONFIG_NOSUCH": "",
		"CONFIG_CC_VERSION_TEXT": k.CompilerID,
	} {
		if got := k.Config(name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
}

// TestRealPrepared looks for what building one object, and comparing its CRCs,
// needs of the prepared directory.
func TestRealPrepared(t *testing.T) {
	k := kerneltest.Open(t)
	if k.Provider != "debian" {
		t.Skip("only a directory that an add has prepared")
	}
	for _, file := range []string{
		"scripts/genksyms/genksyms", "scripts/mod/modpost", "scripts/module.lds", "tools/objtool/objtool",
		"include/generated/asm-offsets.h", "lib/ctype.o", "lib/.ctype.o.cmd",
	} {
		if _, err := os.Stat(filepath.Join(k.ObjDir, file)); err != nil {
			t.Error(err)
		}
	}
	// The strings of Debian's own build.
	b, err := os.ReadFile(filepath.Join(k.ObjDir, "include/generated/package.h"))
	if err != nil || !strings.Contains(string(b), k.Version) {
		t.Errorf("package.h: %q %v", b, err)
	}
}
