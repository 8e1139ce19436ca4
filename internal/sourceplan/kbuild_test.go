// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/extract"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/plan"
)

// byKbuild writes a result out and compiles its files by the kernel's own
// makefiles, against a build directory.
func byKbuild(t *testing.T, k *kernel.Kernel, r *Result, build string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	args := []string{"-C", build, "M=" + dir}
	for _, f := range r.Write(k) {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if stem, ok := strings.CutSuffix(f.Name, ".c"); ok {
			args = append(args, stem+".o")
		}
	}
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		t.Fatalf("make %q: %v\n%s", args, err, out)
	}
	return dir
}

// sameFunctions wants kbuild's object of a unit to have the code that kmend
// compiled, byte for byte but for what relocations fill in: kbuild does not put
// each function into a section of its own.
func sameFunctions(t *testing.T, dir string, u *Unit) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, strings.TrimSuffix(u.Object.File, ".c")+".o"))
	if err != nil {
		t.Fatal(err)
	}
	byKbuild, ours := code(t, data, u), code(t, u.Object.Object, u)
	for name := range u.Object.Renamed {
		if len(ours[name]) == 0 || !bytes.Equal(byKbuild[name], ours[name]) {
			t.Errorf("%s, by kbuild, is\n%x\nand by kmend\n%x", name, byKbuild[name], ours[name])
		}
	}
}

// code is that of the replaced functions in an object, under their own names or
// the new ones, with zeroes where relocations go.
func code(t *testing.T, data []byte, u *Unit) map[string][]byte {
	t.Helper()
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, s := range f.Symbols {
		name := strings.TrimPrefix(s.Name, extract.Prefix)
		if s.Section == nil || u.Object.Renamed[name] == "" || s.Value+s.Size > uint64(len(s.Section.Data)) {
			continue
		}
		text := bytes.Clone(s.Section.Data)
		for _, r := range s.Section.Relocs {
			if r.Offset+4 <= uint64(len(text)) {
				clear(text[r.Offset : r.Offset+4])
			}
		}
		out[name] = text[s.Value : s.Value+s.Size]
	}
	return out
}

// What is written compiles by itself: self-contained against no more than the
// headers package, and by default against the prepared tree.
func TestKbuild(t *testing.T) {
	k := kerneltest.Open(t)
	headers, err := filepath.Glob(filepath.Join(filepath.Dir(k.ObjDir), "root/usr/src/linux-headers-"+k.Release))
	if err != nil || len(headers) != 1 {
		kerneltest.Missing(t, "no headers package in the store: %q %v", headers, err)
	}
	for _, c := range []struct {
		what  string
		specs []plan.FunctionSpec
	}{
		{"internal header", []plan.FunctionSpec{{File: "fs/drop_caches.c", Name: "drop_caches_sysctl_handler"}}},
		{"module", []plan.FunctionSpec{{File: "drivers/net/dummy.c", Name: "dummy_xmit"}}},
		{"two units", []plan.FunctionSpec{{File: "fs/proc/cmdline.c", Name: "cmdline_proc_show"}, {File: "kernel/freezer.c", Name: "__set_task_frozen"}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			b := asked(t, k, c.specs...)
			for _, style := range []struct {
				what  string
				opt   Options
				build string
			}{
				{"headers package", Options{SelfContained: true}, headers[0]},
				{"prepared tree", Options{}, k.ObjDir},
			} {
				r := made(t, k, b, style.opt)
				if len(r.Units) != len(c.specs) {
					t.Fatalf("%d units, want %d", len(r.Units), len(c.specs))
				}
				dir := byKbuild(t, k, r, style.build)
				for _, u := range r.Units {
					sameFunctions(t, dir, u)
				}
			}
		})
	}
}
