// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"testing"

	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/plan"
)

// asked makes the plan of functions as they are.
func asked(t *testing.T, k *kernel.Kernel, specs ...plan.FunctionSpec) *plan.Build {
	t.Helper()
	b, err := plan.Make(t.Context(), plan.Request{Kernel: k, Name: "livepatch_test", Functions: specs})
	if err != nil {
		t.Fatal(err)
	}
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	return b
}

// made goes the source way with it.
func made(t *testing.T, k *kernel.Kernel, b *plan.Build, opt Options) *Result {
	t.Helper()
	r, err := Make(t.Context(), k, b, opt)
	if err != nil {
		t.Fatal(err)
	}
	if r.Build.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", r.Build.Plan.Verdict, r.Build.Plan.Refusals)
	}
	return r
}

// makerOf is what Make works with.
func makerOf(t *testing.T, k *kernel.Kernel, b *plan.Build) *maker {
	t.Helper()
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	return &maker{k: k, tree: tree, build: b, why: reasons(b.Plan), more: map[string]map[string]bool{}}
}
