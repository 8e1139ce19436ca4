// SPDX-License-Identifier: Apache-2.0

package cctest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Kernel are the options by which a kernel makes code that can be live patched:
// -pg -mfentry, no position independence, no .eh_frame, a section for each
// function and variable.
var Kernel = []string{"-O2", "-pg", "-mfentry", "-fno-pie", "-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"}

// Compile makes an object of a C source, named a.c, with a compiler and options,
// and returns it with GCC's .ipa-clones dump, which is empty if no body was
// copied, or by a compiler that writes none.
func Compile(t testing.TB, cc, source string, options ...string) (object, clones []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{}, options...)
	if filepath.Base(cc)[:1] == "g" {
		args = append(args, "-fdump-ipa-clones=clones")
	}
	cmd := exec.Command(cc, append(args, "-c", "a.c")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cc, err, out)
	}
	object, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	clones, err = os.ReadFile(filepath.Join(dir, "clones"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return object, clones
}
