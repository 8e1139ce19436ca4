// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// TestSameBodies: a directory as it was extracted has the bodies that extraction
// gives, one with another body has not.
func TestSameBodies(t *testing.T) {
	k := kerneltest.Open(t)
	r := made(t, k, asked(t, k, plan.FunctionSpec{File: "fs/drop_caches.c", Name: "drop_caches_sysctl_handler"}), Options{})
	dir := t.TempDir()
	for _, f := range r.Write(k) {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.SameBodies(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, r.Units[0].Object.File)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(text), "if (ret)", "if (!ret)", 1)
	if other == string(text) {
		t.Fatalf("no condition in:\n%s", text)
	}
	if err := os.WriteFile(file, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	var refused *EditError
	if err := r.SameBodies(dir); !errors.As(err, &refused) || !strings.Contains(err.Error(), "klpp_drop_caches_sysctl_handler") {
		t.Errorf("another body: %v", err)
	}
	if fix, err := r.Fix(k, dir); err != nil || !strings.Contains(string(fix), "\n-\tif (ret)\n+\tif (!ret)\n") {
		t.Errorf("%v:\n%s", err, fix)
	}
}
