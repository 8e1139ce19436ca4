// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/klp"
)

// FuzzCheck: no module that can be read makes a check panic or fill the memory.
func FuzzCheck(f *testing.F) {
	k := kerneltest.Open(f)
	facts, err := klp.FactsOf(k)
	if err != nil {
		f.Fatal(err)
	}
	im, err := k.Image()
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"pktgen", "kvm"} {
		if data := kerneltest.ModuleData(f, k, name); len(data) < 1<<18 {
			f.Add(data)
		}
	}
	c := &checker{k: k, im: im, facts: facts}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := read(data)
		if err != nil {
			return
		}
		r := c.check(m)
		if len(r.Objections) > maxFindings || len(r.Warnings) > maxFindings {
			t.Errorf("%d objections, %d warnings", len(r.Objections), len(r.Warnings))
		}
	})
}
