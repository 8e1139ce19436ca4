// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
)

// builtTree lays out what a build of the stock kernel would leave in an O=
// directory: the same image, configuration, exports and three of its modules.
func builtTree(t *testing.T, k *kernel.Kernel) string {
	t.Helper()
	obj := t.TempDir()
	link := func(target, name string) {
		p := filepath.Join(obj, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, p); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		p := filepath.Join(obj, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link(k.SourceDir, "source")
	link(k.ConfigFile(), ".config")
	link(k.Symvers, "Module.symvers")
	link(k.Bzimage, "arch/x86/boot/bzImage")
	link(k.Vmlinux, "vmlinux")
	write("include/config/kernel.release", k.Release+"\n")
	write("init/.main.o.cmd", "cmd_init/main.o := gcc-12\n")
	order := ""
	for _, name := range []string{"ext4", "jbd2", "mbcache", "crc16"} {
		m, err := k.Module(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(filepath.Join(k.ModulesDir, "kernel"), m.Path)
		if err != nil {
			t.Fatal(err)
		}
		link(m.Path, rel)
		order += rel + "\n"
	}
	write("modules.order", order)
	return obj
}

func TestTree(t *testing.T) {
	stock := kerneltest.Open(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	obj := builtTree(t, stock)
	k, err := kernel.Add(t.Context(), "tree:"+obj, kernel.AddOptions{Name: "mine"})
	if err != nil {
		t.Fatal(err)
	}
	if k.Name != "mine" || k.Release != stock.Release || k.BuildID != stock.BuildID || k.ObjDir != obj || k.Compiler != stock.Compiler || k.ModuleN != 4 {
		t.Errorf("%+v", k)
	}
	if src, err := filepath.EvalSymlinks(stock.SourceDir); err != nil || k.SourceDir != src {
		t.Errorf("source %s, want %s (%v)", k.SourceDir, src, err)
	}
	k, err = kernel.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if k.Config("CONFIG_LIVEPATCH") != "y" {
		t.Error("its configuration was not found")
	}
	deps, err := k.ModuleDepends("ext4")
	slices.Sort(deps)
	if err != nil || !slices.Equal(deps, []string{"crc16", "jbd2", "mbcache"}) {
		t.Errorf("ext4 depends on %v, %v", deps, err)
	}
	if b := kerneltest.ModuleData(t, k, "ext4"); len(b) < 100000 {
		t.Errorf("ext4 has %d bytes", len(b))
	}
	if kerneltest.Image(t, k).Symbols().Len() != stock.Symbols {
		t.Error("another number of symbols")
	}
	if n, err := k.DiskUse(t.Context()); err != nil || n > 200<<20 {
		t.Errorf("%d bytes in the store, %v", n, err)
	}
	if again, err := kernel.Add(t.Context(), "tree:"+obj, kernel.AddOptions{Name: "mine"}); err != nil || again.Fresh {
		t.Errorf("added again: %v", err)
	}
	// A tree that is built anew after the add is another kernel: here, one
	// whose image says another build id.
	b, err := os.ReadFile(k.Vmlinux)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.Vmlinux, otherBuildID(t, b, k.BuildID), 0o644); err != nil {
		t.Fatal(err)
	}
	k, err = kernel.Open("mine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Image(); err == nil || !strings.Contains(err.Error(), "rebuilt since") {
		t.Errorf("another image: %v", err)
	}
}

// otherBuildID changes the build id in an image.
func otherBuildID(t *testing.T, image []byte, id string) []byte {
	t.Helper()
	i := strings.Index(string(image), "GNU\x00\x06\xf8")
	if len(id) < 4 || id[:4] != "06f8" || i < 0 {
		t.Skipf("written for the build id of %s", kerneltest.DefaultName)
	}
	image = slices.Clone(image)
	image[i+4]++
	return image
}

// TestTreeRefusals: each part that does not fit is an error that says which.
func TestTreeRefusals(t *testing.T) {
	stock := kerneltest.Open(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	replace := func(obj, name string, edit func(string) string) {
		t.Helper()
		p := filepath.Join(obj, name)
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
		if text := edit(string(b)); text != "" {
			if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(string) string { return "" }
	for _, c := range []struct {
		name, file string
		edit       func(string) string
		want       string
	}{
		{"no exports", "Module.symvers", remove, "build vmlinux and modules first"},
		{"never built", "init/.main.o.cmd", remove, "build vmlinux and modules first"},
		{"no configuration", ".config", remove, "not the O= directory"},
		{"no livepatch", ".config", func(s string) string { return strings.Replace(s, "CONFIG_LIVEPATCH=y", "", 1) }, "without CONFIG_LIVEPATCH"},
		{"another compiler", ".config", func(s string) string {
			return strings.Replace(s, "CONFIG_CC_VERSION_TEXT=\"gcc-12", "CONFIG_CC_VERSION_TEXT=\"gcc-13", 1)
		}, "do not belong together"},
		{"another release", "include/config/kernel.release", func(string) string { return "6.1.0-99-amd64\n" }, "the image is release"},
		{"a CRC", "Module.symvers", func(s string) string { return "0x00000001" + s[10:] }, "does not fit the image"},
		{"an export less", "Module.symvers", func(s string) string { _, s, _ = strings.Cut(s, "\n"); return s }, "does not fit the image"},
		{"a truncated image", "arch/x86/boot/bzImage", func(s string) string { return s[:len(s)/2] }, "truncated"},
		{"a module missing", "modules.order", func(s string) string { return s + "drivers/no/such.ko\n" }, "run make modules"},
		{"a dependency missing", "modules.order", func(s string) string {
			return s[:strings.Index(s, "\n")+1]
		}, "is not among the kernel's modules"},
	} {
		obj := builtTree(t, stock)
		// One of the two images will do; vmlinux takes less time.
		other := "arch/x86/boot/bzImage"
		if c.file == other {
			other = "vmlinux"
		}
		if err := os.Remove(filepath.Join(obj, other)); err != nil {
			t.Fatal(err)
		}
		replace(obj, c.file, c.edit)
		if _, err := kernel.Add(t.Context(), "tree:"+obj, kernel.AddOptions{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if all, err := kernel.List(); err != nil || len(all) != 0 {
		t.Errorf("left: %v %v", all, err)
	}
}
