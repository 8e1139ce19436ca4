// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// GCC drops the initialisation of rctx in get_perf_callchain, as the function
// that it calls always writes it (-fipa-modref). No dump says so: no body was
// copied. A fix after which the callee may return without writing needs the
// caller too, and the plan says why.
func TestCallerThatRestsOnAFactIsReplacedWithTheReason(t *testing.T) {
	k := kerneltest.Open(t)
	b := makePlan(t, k, kerneltest.Diff(t, k, sub("kernel/events/callchain.c",
		"	*rctx = get_recursion_context(", "	if (!callchain_cpus_entries)\n		return NULL;\n	*rctx = get_recursion_context(")))
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	i := slices.IndexFunc(b.Plan.Objects[0].Functions, func(f plan.Function) bool { return f.Name == "get_perf_callchain" })
	if i < 0 {
		t.Fatalf("get_perf_callchain is not replaced: %+v", b.Plan.Objects[0].Functions)
	}
	if r := b.Plan.Objects[0].Functions[i].Reason; r.Kind != plan.Depends || !slices.Equal(r.Via, []string{"get_callchain_entry", "get_perf_callchain"}) || !strings.Contains(r.Text, "ipa-modref") {
		t.Errorf("the reason is %+v, want a fact of ipa-modref about get_callchain_entry", r)
	}
}

// A fix that leaves the fact as it is leaves the caller as it is: the audit
// sees that the caller depends on the body, and that it is covered all the same.
func TestCallerThatRestsOnAFactThatHoldsIsCovered(t *testing.T) {
	k := kerneltest.Open(t)
	b := makePlan(t, k, kerneltest.Diff(t, k, sub("kernel/events/callchain.c",
		"	entries = rcu_dereference(callchain_cpus_entries);\n	if (!entries) {\n		put_rec", "	entries = rcu_dereference(callchain_cpus_entries);\n	if (!entries || !entries->cpu_entries[0]) {\n		put_rec")))
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
	}
	a := b.Plan.Units[0].Audit
	if a == nil {
		t.Fatal("no audit in the plan")
	}
	if !slices.Equal(a.Hidden, []string{"get_callchain_entry"}) {
		t.Errorf("hidden: %q, want get_callchain_entry", a.Hidden)
	}
	i := slices.IndexFunc(a.Depends, func(d plan.Dependent) bool { return d.Function == "get_perf_callchain" })
	if i < 0 || a.Depends[i].Covered != plan.CoveredUnchanged {
		t.Errorf("get_perf_callchain depends on the body: %+v, want it seen and unchanged", a.Depends)
	}
}
