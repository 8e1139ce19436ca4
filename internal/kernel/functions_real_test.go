// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
)

// The stock kernel's list is made once, and is made again when what is there is
// of another build.
func TestFunctionsOfTheStockKernel(t *testing.T) {
	k := kerneltest.Open(t)
	c := &kernel.Kernel{Name: k.Name, BuildID: k.BuildID, Vmlinux: k.Vmlinux, ModulesDir: k.ModulesDir, Dir: t.TempDir()}
	l, err := c.Functions(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	with := func(prefix, object string) (names []string) {
		l.Prefix(prefix, object, func(n string) bool {
			names = append(names, n)
			return true
		})
		return names
	}
	for _, q := range []struct {
		prefix, object string
		want           []string
	}{
		{"show_vfsm", "", []string{"show_vfsmnt"}},
		{"ext4_fill_s", "ext4", []string{"ext4_fill_super"}},
		{"ext4_fill_s", "vmlinux", nil},
		{"start_kernel", "", nil}, // runs at boot only
	} {
		if got := with(q.prefix, q.object); !slices.Equal(got, q.want) {
			t.Errorf("%s in %q: got %q, want %q", q.prefix, q.object, got, q.want)
		}
	}
	if n := len(with("", "")); n < 100_000 {
		t.Errorf("only %d functions", n)
	}
	path := filepath.Join(c.Dir, "functions")
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("kmend functions 1 other 1 1\n"), first[:100]...), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Functions(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(first, again) {
		t.Errorf("made again, the list is another (%v)", err)
	}
}
