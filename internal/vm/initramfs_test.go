// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/vm/vmtest"
)

func TestArchive(t *testing.T) {
	write := func(order []string) []byte {
		a := newArchive()
		for _, p := range order {
			a.file(p, 0o640, []byte("data of "+p))
		}
		a.symlink("/b/link", "file")
		a.char("/dev/null", 1, 3)
		var b bytes.Buffer
		if err := a.writeTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	one, two := write([]string{"/b/c/file", "/a"}), write([]string{"/a", "/b/c/file"})
	if !bytes.Equal(one, two) {
		t.Error("the archive depends on the order in which files are added")
	}
	if len(one)%4 != 0 || !bytes.HasPrefix(one, []byte("070701")) {
		t.Error("not a newc archive")
	}
	tool, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("another reader of the format is missing: apt-get install cpio")
	}
	dir := t.TempDir()
	cmd := exec.Command(tool, "-i", "--no-absolute-filenames", "b/*", "b", "a")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(one)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	if b, err := os.ReadFile(dir + "/b/c/file"); err != nil || string(b) != "data of /b/c/file" {
		t.Errorf("read back: %q, %v", b, err)
	}
	if target, err := os.Readlink(dir + "/b/link"); err != nil || target != "file" {
		t.Errorf("link: %q, %v", target, err)
	}
	if info, err := os.Stat(dir + "/a"); err != nil || info.Mode() != fs.FileMode(0o640) {
		t.Errorf("mode: %v, %v", info, err)
	}
}

func TestAgentImage(t *testing.T) {
	file := vmtest.Agent(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	image, err := agentImage(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	if len(image) >= len(whole) || len(f.Sections) != 0 || len(f.Progs) == 0 {
		t.Errorf("%d of %d bytes, %d sections", len(image), len(whole), len(f.Sections))
	}
	if _, err := agentImage("/bin/sh"); err == nil || !strings.Contains(err.Error(), "linked dynamically") {
		t.Errorf("a dynamic program: %v", err)
	}
	for _, n := range []int{0, 4, 40, 64, 100} {
		cut := filepath.Join(t.TempDir(), "cut")
		if err := os.WriteFile(cut, whole[:n], 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := agentImage(cut); err == nil {
			t.Errorf("the first %d bytes of a program are taken", n)
		}
	}
}

func TestInitramfsRefusals(t *testing.T) {
	agent := vmtest.Agent(t)
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 100<<20); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		files []File
		want  string
	}{
		{"own path", []File{{big, "/init"}}, "kmend's own"},
		{"relative", []File{{big, "x"}}, "not absolute"},
		{"missing", []File{{dir + "/none", "/x"}}, "no such file"},
		{"device", []File{{"/dev/null", "/x"}}, "neither a file nor a directory"},
		{"dynamic", []File{{"/bin/cat", "/x"}}, "its loader /lib64/ld-linux-x86-64.so.2 is not in the guest"},
		{"too big", []File{{big, "/x"}}, "--memory"},
	} {
		_, err := buildInitramfs(&Machine{Agent: agent, MemoryMB: 256, Files: c.files}, "t")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if a, err := buildInitramfs(&Machine{Agent: agent, MemoryMB: 256, Files: []File{{dir, "/d"}}, Shell: true}, "t"); err == nil || a != nil {
		t.Error("a directory of 100 MiB is put into a guest of 256 MiB")
	}
	if err := os.Truncate(big, 10); err != nil {
		t.Fatal(err)
	}
	a, err := buildInitramfs(&Machine{Agent: agent, MemoryMB: 256, Files: []File{{dir, "/d"}, {big, ""}}, Shell: true}, "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/d/big", "/root/big", "/bin/sh", "/bin/grep", "/init", "/dev/console"} {
		if !a.has(p) {
			t.Errorf("no %s in the guest", p)
		}
	}
}

func TestMissingBusybox(t *testing.T) {
	var missing *MissingToolError
	if err := addBusybox(newArchive(), filepath.Join(t.TempDir(), "busybox")); !errors.As(err, &missing) || missing.Package != "busybox-static" {
		t.Errorf("no busybox: %v", err)
	}
	if err := addBusybox(newArchive(), "/bin/cat"); err == nil || !strings.Contains(err.Error(), "busybox-static") {
		t.Errorf("a dynamic busybox: %v", err)
	}
}

func TestModuleName(t *testing.T) {
	dir := testModules(t)
	if name, err := moduleName(filepath.Join(dir, "lp_cmdline.ko")); err != nil || name != "lp_cmdline" {
		t.Errorf("%q, %v", name, err)
	}
	for _, l := range testLoads(t, "pktgen") {
		if _, err := moduleName(l.Path); err == nil || !strings.Contains(err.Error(), "not a livepatch") {
			t.Errorf("an ordinary module: %v", err)
		}
	}
	if _, err := moduleName("/bin/sh"); err == nil {
		t.Error("a program is taken for a module")
	}
	if _, err := moduleName(dir + "/none.ko"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestMachineChecks(t *testing.T) {
	for _, m := range []Machine{
		{BuildID: "00"},
		{Image: "x"},
		{Image: "x", BuildID: "00", CPUs: 1000},
		{Image: "x", BuildID: "00", MemoryMB: 1},
		{Image: "x", BuildID: "00", CPUModel: "a b"},
	} {
		if _, err := Boot(t.Context(), m); err == nil {
			t.Errorf("booted %+v", m)
		}
	}
}

func FuzzModinfo(f *testing.F) {
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	if data, err := os.ReadFile("/proc/self/exe"); err == nil {
		f.Add(data[:4096])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := modinfo(bytes.NewReader(data))
		if err == nil {
			softDependencies(info)
		}
		interpreter(data)
	})
}
