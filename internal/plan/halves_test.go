// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// TestNeverSet: a new variable that the fix only reads is half of a fix.
func TestNeverSet(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		name, variable, use string
		want                bool
	}{
		{"global, only read", "int kmend_new;", "if (kmend_new) seq_putc(m, 'x');", true},
		{"array, only read", "long kmend_new[8];", "if (kmend_new[m->count & 7]) seq_putc(m, 'x');", true},
		{"passed on", "int kmend_new;", "seq_put_decimal_ull(m, \"\", kmend_new);", true},
		{"has a value", "int kmend_new = 5;", "if (kmend_new) seq_putc(m, 'x');", false},
		{"set", "int kmend_new;", "if (kmend_new) seq_putc(m, 'x'); kmend_new = m->count;", false},
		{"counted", "int kmend_new;", "if (kmend_new++) seq_putc(m, 'x');", false},
		{"its address is given away", "char *kmend_new;", "if (kmend_new) seq_putc(m, 'x'); seq_write(m, &kmend_new, 8);", false},
		{"set by new code that is called", "int kmend_new; noinline void kmend_set(int v) { kmend_new = v; }", "if (kmend_new) seq_putc(m, 'x'); else kmend_set(m->count);", false},
		{"written, and by code that is not called, too", "int kmend_new; void kmend_set(void); void kmend_set(void) { kmend_new = 1; }", "if (kmend_new++) seq_putc(m, 'x');", false},
		{"a static that is counted", "", "static int kmend_new; if (kmend_new++ > 5) seq_putc(m, 'x');", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := makePlan(t, k, kerneltest.Diff(t, k, showing(c.variable, c.use)...)).Plan
			if p.Verdict != plan.Patch {
				t.Fatalf("%s: %v", p.Verdict, p.Refusals)
			}
			got := ""
			for _, w := range p.Warnings {
				if w.Code == "never-set" {
					got += w.Text
				}
			}
			if strings.Contains(got, "kmend_new") != c.want {
				t.Errorf("warning %q, want one: %v", got, c.want)
			}
		})
	}
}

// TestSetElsewhere: what sets a new variable may be called from another unit.
func TestSetElsewhere(t *testing.T) {
	k := kerneltest.Open(t)
	edits := showing("int kmend_new;\nvoid kmend_set(void);\nvoid kmend_set(void) { kmend_new = 1; }", "if (kmend_new) seq_putc(m, 'x');")
	edits = append(edits, sub("fs/proc/version.c", "static int version_proc_show", "void kmend_set(void);\nstatic int version_proc_show"),
		sub("fs/proc/version.c", "\tseq_printf(m, linux_proc_banner", "\tkmend_set();\n\tseq_printf(m, linux_proc_banner"))
	p := makePlan(t, k, kerneltest.Diff(t, k, edits...)).Plan
	if p.Verdict != plan.Patch || len(p.Warnings) > 0 {
		t.Errorf("%s: %v %v", p.Verdict, p.Refusals, p.Warnings)
	}
}
