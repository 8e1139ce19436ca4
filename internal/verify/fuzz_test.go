// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"os"
	"path/filepath"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// FuzzCheck: no module makes a check panic, go on for ever or fill the memory.
// The seeds are livepatches that kmend writes, and ones that kbuild made.
func FuzzCheck(f *testing.F) {
	k := kerneltest.Open(f)
	v, err := verify.New(k)
	if err != nil {
		f.Fatal(err)
	}
	facts, err := klp.FactsOf(k)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tiny(f))
	data := good(f, k)
	f.Add(data)
	for _, x := range mutants() {
		f.Add(x.apply(f, k, data, facts))
	}
	dir := vmtest.BuildModules(f, k, "../vm/testdata/modules")
	for _, name := range []string{"lp_cmdline.ko", "lp_modules.ko"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stripped(f, data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := v.Check(data)
		if err != nil {
			return
		}
		if max(len(r.Objections), len(r.Warnings), len(r.Notes)) > 500 {
			t.Errorf("%d objections, %d warnings, %d notes", len(r.Objections), len(r.Warnings), len(r.Notes))
		}
		verify.Together([]*verify.Report{r, r})
	})
}
