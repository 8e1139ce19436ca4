// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestParseSymvers(t *testing.T) {
	m, err := parseSymvers([]byte("0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_SYMBOL\t\n" +
		"0x0000002a\tsnd_x\tsound/pci/hda/snd-hda-codec\tEXPORT_SYMBOL_GPL\tSND_NS\n" +
		"0x00000000\told\tvmlinux\tEXPORT_SYMBOL_GPL\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Export{
		{"phys_base", 0x4c9d28b0, "vmlinux", false, ""},
		{"snd_x", 42, "snd_hda_codec", true, "SND_NS"},
		{"old", 0, "vmlinux", true, ""},
	} {
		if m[want.Name] != want {
			t.Errorf("%+v, want %+v", m[want.Name], want)
		}
	}
	for _, bad := range []string{
		"0x1\tx\tvmlinux\n",
		"1\tx\tvmlinux\tEXPORT_SYMBOL\t\n",
		"0xfffffffff\tx\tvmlinux\tEXPORT_SYMBOL\t\n",
		"0x1\tx\tvmlinux\tEXPORT_OTHER\t\n",
		"0x1\t\tvmlinux\tEXPORT_SYMBOL\t\n",
		"0x1\tx\tvmlinux\tEXPORT_SYMBOL\t\n0x2\tx\tb\tEXPORT_SYMBOL\t\n",
	} {
		if m, err := parseSymvers([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, m)
		}
	}
}

func FuzzSymvers(f *testing.F) {
	f.Add([]byte("0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_SYMBOL\t\n"))
	f.Add([]byte("0x1\tx\ta/b-c\tEXPORT_SYMBOL_GPL\tNS"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseSymvers(b)
		for name, e := range m {
			if err == nil && (name == "" || e.Name != name || e.Object == "") {
				t.Errorf("%q: %+v", name, e)
			}
		}
	})
}

func TestParseModulesDep(t *testing.T) {
	idx, err := parseModulesDep("/m", []byte("# made by depmod\nkernel/a/one.ko: kernel/b/two-x.ko.xz kernel/c/three.ko.zst\n"+
		"kernel/b/two-x.ko.xz: kernel/c/three.ko.zst\nkernel/c/three.ko.zst:\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(idx.list) != 3 || idx.byName["two_x"].Path != "/m/kernel/b/two-x.ko.xz" || !slices.Equal(idx.deps["one"], []string{"two_x", "three"}) {
		t.Errorf("%+v", idx)
	}
	k := &Kernel{Name: "k"}
	k.modulesOnce.Do(func() { k.modules = idx })
	if deps, err := k.ModuleDepends("one"); err != nil || !slices.Equal(deps, []string{"three", "two_x"}) {
		t.Errorf("load order %v %v", deps, err)
	}
	for _, bad := range []string{"nocolon\n", ": x\n", "a.ko: b.ko\n", "a.ko:\nx/a.ko:\n", "a\x00.ko:\n"} {
		if _, err := parseModulesDep("/m", []byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzModulesDep(f *testing.F) {
	f.Add([]byte("kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		idx, err := parseModulesDep("/m", b)
		if err != nil {
			return
		}
		for _, m := range idx.list {
			if idx.byName[m.Name] != m {
				t.Errorf("%+v is not found by its name", m)
			}
		}
	})
}

func TestModulesDepOrder(t *testing.T) {
	list := []string{"a.ko", "b.ko", "c-1.ko", "d.ko"}
	text, err := modulesDep("kernel", list, [][]string{{"b", "d"}, {"c_1"}, {"d"}, nil})
	if err != nil {
		t.Fatal(err)
	}
	want := "kernel/a.ko: kernel/b.ko kernel/c-1.ko kernel/d.ko\nkernel/b.ko: kernel/c-1.ko kernel/d.ko\nkernel/c-1.ko: kernel/d.ko\nkernel/d.ko:\n"
	if string(text) != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	if _, err := modulesDep("kernel", list[:2], [][]string{{"b"}, {"a"}}); err == nil || !strings.Contains(err.Error(), "itself") {
		t.Errorf("a cycle: %v", err)
	}
	if _, err := modulesDep("kernel", list[:1], [][]string{{"zz"}}); err == nil || !strings.Contains(err.Error(), "zz") {
		t.Errorf("an unknown dependency: %v", err)
	}
	if _, err := modulesDep("kernel", []string{"x/a-b.ko", "y/a_b.ko"}, [][]string{nil, nil}); err == nil {
		t.Error("two modules of one name: no error")
	}
}

func TestModuleName(t *testing.T) {
	for p, want := range map[string]string{
		"kernel/sound/snd-hda-intel.ko": "snd_hda_intel", "a/b.ko.xz": "b", "x.ko.zst": "x", "loop": "loop",
		"drivers/foo.kondor": "foo.kondor", "vmlinux": "vmlinux",
	} {
		if got := moduleName(p); got != want {
			t.Errorf("moduleName(%q) = %q, want %q", p, got, want)
		}
	}
}

// TestModuleData compiles a small object and reads it back in each compression.
func TestModuleData(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "m.c")
	code := `static const char info[] __attribute__((section(".modinfo"), used)) = "vermagic=1.2 SMP \0depends=a,b-c\0alias=x\0alias=y=z";`
	if err := os.WriteFile(src, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	obj := filepath.Join(dir, "m.ko")
	if out, err := exec.Command("gcc", "-c", "-o", obj, src).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	plain, err := os.ReadFile(obj)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(plain)
	w.Close()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"a.ko": plain, "a.ko.gz": gz.Bytes(), "a.ko.zst": z.EncodeAll(plain, nil)}
	cmd := exec.Command("xz", "--check=crc32", "--lzma2=dict=1MiB", "-c") // as scripts/Makefile.modinst
	cmd.Stdin = bytes.NewReader(plain)
	if files["a.ko.xz"], err = cmd.Output(); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		m := &Module{Name: "a", Path: filepath.Join(dir, name)}
		if err := os.WriteFile(m.Path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := m.Data()
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		info, err := m.Modinfo()
		if err != nil || info["vermagic"][0] != "1.2 SMP " || !slices.Equal(info["alias"], []string{"x", "y=z"}) {
			t.Errorf("%s: %v %v", name, info, err)
		}
		k := &Kernel{Magic: "1.2 SMP "}
		if deps, err := k.moduleDirectDeps(m); err != nil || !slices.Equal(deps, []string{"a", "b_c"}) {
			t.Errorf("%s: %v %v", name, deps, err)
		}
		k.Magic = "1.3 SMP "
		if _, err := k.moduleDirectDeps(m); err == nil || !strings.Contains(err.Error(), "not a module of this kernel") {
			t.Errorf("%s: a module of another kernel: %v", name, err)
		}
		if err := os.WriteFile(m.Path, b[:len(b)/2], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Modinfo(); err == nil {
			t.Errorf("%s: half of it: no error", name)
		}
	}
	m := &Module{Name: "m", Path: src}
	if _, err := m.Data(); err == nil || !strings.Contains(err.Error(), "not an ELF") {
		t.Errorf("C source as a module: %v", err)
	}
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	if exe, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(exe[:min(len(exe), 1<<16)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if info, err := readModinfo(bytes.NewReader(b)); err != nil && info != nil {
			t.Errorf("error %v and %v", err, info)
		}
	})
}

func FuzzReadImage(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	if exe, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(exe[:min(len(exe), 1<<16)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if im, err := ReadImage(b); err == nil && (im.BuildID == "" || im.Symbols() == nil) {
			t.Error("no error, but half an image")
		}
	})
}

func TestParseConfig(t *testing.T) {
	m := parseConfig([]byte("# comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"a \\\"b\\\" c\"\nCONFIG_D=0x10\nX=1\nCONFIG_E=\"\"\n"))
	for name, want := range map[string]string{"CONFIG_A": "y", "CONFIG_B": "", "CONFIG_C": `a "b" c`, "CONFIG_D": "0x10", "CONFIG_E": ""} {
		if m[name] != want {
			t.Errorf("%s=%q, want %q", name, m[name], want)
		}
	}
	if len(m) != 4 {
		t.Errorf("%v", m)
	}
	err := checkDrift(map[string]string{"CONFIG_A": "y", "CONFIG_B": "1"}, map[string]string{"CONFIG_B": "2", "CONFIG_C": "y", "CONFIG_GCC_PLUGINS": "y"})
	if err == nil {
		t.Fatal("drift was not seen")
	}
	for _, want := range []string{`CONFIG_A: was "y", is ""`, `CONFIG_B: was "1", is "2"`, `CONFIG_C: was not set, is "y"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %q is missing", err, want)
		}
	}
	if strings.Contains(err.Error(), "PLUGINS") {
		t.Error(err)
	}
	if err := checkDrift(m, m); err != nil {
		t.Error(err)
	}
}

// TestCompareVersions against dpkg itself.
func TestCompareVersions(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not installed: apt-get install dpkg")
	}
	vs := []string{"6.1.176-1", "6.1.99-1", "6.1.176-2", "6.1.0-50-amd64", "6.1.0-9-amd64", "6.12.9+bpo-amd64", "6.1~rc1", "6.1", "6.1.0-50-cloud-amd64", "6.01"}
	for _, a := range vs {
		for _, b := range vs {
			op := map[int]string{-1: "lt-nl", 0: "eq", 1: "gt-nl"}[sign(compareVersions(a, b))]
			if err := exec.Command("dpkg", "--compare-versions", a, op, b).Run(); err != nil {
				t.Errorf("dpkg does not agree that %s %s %s", a, op, b)
			}
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestGNUBuildID(t *testing.T) {
	note := func(kind uint32, name, desc string) []byte {
		b := []byte{byte(len(name)), 0, 0, 0, byte(len(desc)), 0, 0, 0, byte(kind), 0, 0, 0}
		pad := func(s string) string { return s + strings.Repeat("\x00", (4-len(s)%4)%4) }
		return append(b, pad(name)+pad(desc)...)
	}
	all := append(note(1, "Xen\x00", "abcde"), note(3, "GNU\x00", "\x01\x02\x03")...)
	if got := GNUBuildID(all); got != "010203" {
		t.Errorf("build id %q", got)
	}
	for n := range all {
		if got := GNUBuildID(all[:n]); got != "" && n < len(all)-1 {
			t.Errorf("%d bytes: build id %q", n, got)
		}
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 0, 0, 'G', 'N', 'U', 0}
	if got := GNUBuildID(huge); got != "" {
		t.Errorf("build id %q", got)
	}
	if id, err := RunningBuildID(); err == nil && len(id)%2 != 0 {
		t.Errorf("running build id %q", id)
	}
}

func FuzzGNUBuildID(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00aaaaaaaaaaaaaaaaaaaa"))
	f.Add([]byte("\x04\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00Xen\x00\xff\xff\xff\xff\xff\xff\xff\xff\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if id := GNUBuildID(data); len(id) > 2*len(data) {
			t.Error("more than there is")
		}
	})
}
