// SPDX-License-Identifier: Apache-2.0

package klptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// Source is C to compile as if it stood in the kernel's tree.
type Source struct {
	Path   string // where it stands, e.g. "fs/proc/cmdline.c"
	Text   string // its text; "" for the kernel's own
	Module bool   // it is part of a module
}

// Text returns the kernel's own source of a file with replacements made, each
// of which must apply exactly once.
func Text(t testing.TB, k *kernel.Kernel, path string, oldnew ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(k.SourceDir, path))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for i := 0; i+1 < len(oldnew); i += 2 {
		if n := strings.Count(text, oldnew[i]); n != 1 {
			t.Fatalf("%s has %d places that read %q, 1 expected", path, n, oldnew[i])
		}
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	return text
}

// Compile compiles a source with the kernel's flags, every function and datum
// in a section of its own, and runs objtool on the object.
func Compile(t testing.TB, k *kernel.Kernel, src Source) *object.File {
	t.Helper()
	if _, err := exec.LookPath(k.Compiler); err != nil {
		t.Fatalf("%s is missing: apt-get install %s", k.Compiler, k.Compiler)
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, filepath.Base(src.Path)), filepath.Join(dir, "out.o")
	text := src.Text
	if text == "" {
		text = Text(t, k, src.Path)
	}
	if err := os.WriteFile(in, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, k, append(flags(t, k, src), "-c", "-o", out, in)...)
	objtool := []string{filepath.Join(k.ObjDir, "tools/objtool/objtool"), "--hacks=jump_label", "--hacks=noinstr", "--orc", "--retpoline", "--rethunk", "--sls", "--static-call", "--uaccess"}
	if src.Module {
		objtool = append(objtool, "--module")
	}
	run(t, k, append(objtool, out)...)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// flags takes the kernel's command line for scripts/mod/empty.c, which every
// prepared build directory has, and makes it one for another file.
func flags(t testing.TB, k *kernel.Kernel, src Source) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(k.ObjDir, "scripts/mod/.empty.o.cmd"))
	if err != nil {
		t.Fatalf("the build directory is not prepared: %v", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	_, line, ok := strings.Cut(line, ":= ")
	if !ok {
		t.Fatalf("no command in %.200q", line)
	}
	var args []string
	for _, a := range strings.Fields(line) {
		switch {
		case a == "-c":
			return append(args, more(k, src)...)
		case strings.HasPrefix(a, "-Wp,-MMD") || strings.HasPrefix(a, "-DKBUILD_") || strings.HasPrefix(a, "-D__KBUILD_") || a == "-g":
		default:
			args = append(args, a)
		}
	}
	t.Fatalf("no -c in %.200q", line)
	return nil
}

func more(k *kernel.Kernel, src Source) []string {
	base := strings.NewReplacer("-", "_", ",", "_").Replace(strings.TrimSuffix(filepath.Base(src.Path), ".c"))
	dir := filepath.Dir(src.Path)
	args := []string{"-g0", "-w", "-ffunction-sections", "-fdata-sections", "-iquote", filepath.Join(k.SourceDir, dir), "-I" + filepath.Join(k.SourceDir, dir), "-I" + filepath.Join(k.ObjDir, dir),
		`-DKBUILD_MODFILE="` + dir + "/" + base + `"`, `-DKBUILD_BASENAME="` + base + `"`, `-DKBUILD_MODNAME="` + base + `"`, "-D__KBUILD_MODNAME=kmod_" + base}
	if src.Module {
		args = append(args, "-DMODULE")
	}
	return args
}

func run(t testing.TB, k *kernel.Kernel, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = k.ObjDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", argv[0], err, out)
	}
}
