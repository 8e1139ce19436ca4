// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"slices"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// The body of kcmp is inline, so without fentry, and GCC makes one copy of it
// for the two entries: these are replaced, and the new body goes along.
func TestCallersOfFunctionsWithoutFentry(t *testing.T) {
	k := kerneltest.Open(t)
	b := makePlan(t, k, kerneltest.Diff(t, k, sub("kernel/kcmp.c", "ret = -EINVAL;", "ret = -ENOSYS;")))
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	var got []string
	for _, f := range b.Plan.Objects[0].Functions {
		got = append(got, f.Name+" "+f.Reason.Kind)
	}
	if want := []string{"__ia32_sys_kcmp calls", "__x64_sys_kcmp calls"}; !slices.Equal(got, want) {
		t.Errorf("replaced %q, want %q", got, want)
	}
	var parts []string
	for _, p := range b.Plan.Units[0].Included {
		if p.Name == "__do_sys_kcmp" {
			parts = append(parts, p.Why)
		}
	}
	if len(parts) != 1 {
		t.Fatalf("__do_sys_kcmp is in the patch as %q", parts)
	}
	// The callers must reach the new copy, not the kernel's.
	for sym := range b.Pieces[0].Refs {
		if sym.Name == "__do_sys_kcmp" {
			t.Error("the patch calls the old body")
		}
	}
	for _, f := range b.Pieces[0].Funcs {
		calls := false
		for _, r := range f.New.Section.Relocs {
			calls = calls || r.Sym.Name == "__do_sys_kcmp" && r.Sym.Section != nil
		}
		if !calls {
			t.Errorf("%s does not call the new body", f.OldName)
		}
	}
}
