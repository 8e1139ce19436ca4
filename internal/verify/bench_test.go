// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"os"
	"path/filepath"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// BenchmarkCheck is all that kmend verify does for one module: the kernel is
// opened anew each time.
func BenchmarkCheck(b *testing.B) {
	k := kerneltest.Open(b)
	data, err := os.ReadFile(filepath.Join(vmtest.BuildModules(b, k, "../vm/testdata/modules"), "lp_modules.ko"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		k, err := kernel.Open(k.Name)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := verify.Check(k, data); err != nil {
			b.Fatal(err)
		}
	}
}
