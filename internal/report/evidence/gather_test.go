// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
	"kmend/internal/report/page"
)

// made is the plan of edits of the test kernel, and the fix.
func made(t *testing.T, k *kernel.Kernel, edits ...kerneltest.Edit) (*plan.Plan, []byte) {
	t.Helper()
	fix := kerneltest.Diff(t, k, edits...)
	b, err := plan.Make(t.Context(), plan.Request{Kernel: k, Name: "livepatch_test", NoAudit: true, Patches: []plan.Input{{Name: "fix.patch", Data: fix}}})
	if err != nil {
		t.Fatal(err)
	}
	if b.Plan.Verdict != plan.Patch {
		t.Fatalf("verdict %s: %+v", b.Plan.Verdict, b.Plan.Refusals)
	}
	return b.Plan, fix
}

func gather(t *testing.T, p *plan.Plan, fix []byte, k *kernel.Kernel) *Evidence {
	t.Helper()
	q := Request{Plan: p, Kernel: k, NoKernel: "it is not here"}
	if fix != nil {
		if err := q.AddFix("fix.patch", fix); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Gather(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// changed are the rows that differ, as "-left" and "+right".
func changed(s *page.Sides) (out []string) {
	for _, seg := range s.Segments {
		for _, r := range seg.Rows {
			if r.Same {
				continue
			}
			if r.Left.There {
				out = append(out, "-"+r.Left.Pre+r.Left.Mid+r.Left.End)
			}
			if r.Right.There {
				out = append(out, "+"+r.Right.Pre+r.Right.Mid+r.Right.End)
			}
		}
	}
	return out
}

func TestSourceAndInstructions(t *testing.T) {
	k := kerneltest.Open(t)
	p, fix := made(t, k,
		kerneltest.Edit{File: "drivers/pci/msi/msi.c", Old: "\tif (!dev->msix_enabled)\n\t\treturn;\n\n\t/* route the table */\n", New: "\tif (!dev->msix_enabled || dev->error_state)\n\t\treturn;\n\n\t/* route the table */\n"},
		kerneltest.Edit{File: "fs/proc/cmdline.c", Old: "\tseq_putc(m, '\\n');\n", New: "\tseq_puts(m, \" fixed\\n\");\n"})
	e := gather(t, p, fix, k)
	if len(e.Notes) > 0 || len(e.Fixes) != 1 || !slices.Contains(e.Fixes[0].Lines, "+\tseq_puts(m, \" fixed\\n\");") {
		t.Fatalf("notes %q, fix %+v", e.Notes, e.Fixes)
	}
	byName := map[string]*Function{}
	for i, o := range p.Objects {
		for j, f := range o.Functions {
			byName[f.Name] = &e.Functions[i][j]
		}
	}
	shown := byName["cmdline_proc_show"]
	if shown == nil || shown.Note != "" || len(shown.Sources) != 1 {
		t.Fatalf("cmdline_proc_show: %+v", shown)
	}
	if got := strings.Join(changed(shown.Sources[0].Sides), "|"); got != "-\tseq_putc(m, '\\n');|+\tseq_puts(m, \" fixed\\n\");" {
		t.Errorf("source: %s", got)
	}
	if n := shown.Sources[0].Sides.Segments[0].Rows[0].Left.Line; n != 7 {
		t.Errorf("the function begins at line %d, want 7", n)
	}
	code := strings.Join(changed(shown.Code), "\n")
	if !strings.Contains(code, "R_X86_64_PLT32 seq_putc") || !strings.Contains(code, "+  mov") {
		t.Errorf("instructions:\n%s", code)
	}
	// The edited function is in another one: its source is shown there, too.
	host := byName["pci_restore_msi_state"]
	if host == nil || len(host.Sources) != 2 || host.Sources[0].Name != "__pci_restore_msix_state" || host.Sources[0].Sides.Only || !host.Sources[1].Sides.Only {
		t.Fatalf("pci_restore_msi_state: %+v", host)
	}
	if len(changed(host.Code)) == 0 {
		t.Error("no instruction of it differs")
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	k := kerneltest.Open(t)
	p, fix := made(t, k, kerneltest.Edit{File: "fs/proc/cmdline.c", Old: "\tseq_putc(m, '\\n');\n", New: "\tseq_puts(m, \"\\n\\n\");\n"})
	note := func(e *Evidence) string { return strings.Join(e.Notes, " ") }
	if e := gather(t, p, fix, nil); !strings.Contains(note(e), "it is not here") || e.Fixes[0].Lines == nil {
		t.Errorf("without the kernel: %q", note(e))
	}
	if e := gather(t, p, nil, k); !strings.Contains(note(e), "--patch") || e.Fixes[0].Lines != nil {
		t.Errorf("without the fix: %q", note(e))
	}
	other := *p
	other.Objects = []plan.Object{{Name: "vmlinux", Functions: []plan.Function{
		{Name: "nothing_of_that_name", Unit: "fs/proc/cmdline.c"}, {Name: "cmdline_proc_show", Unit: "fs/proc/no.c"}, {Name: "cmdline_proc_show", Unit: "../../etc/passwd"}}}}
	e := gather(t, &other, fix, k)
	for i, want := range []string{"have no function nothing_of_that_name", "no.c", "not a .c file below the source root"} {
		if f := e.Functions[0][i]; f.Code != nil || !strings.Contains(f.Note, want) {
			t.Errorf("function %d: %q, want %q", i, f.Note, want)
		}
	}
	if s := e.Functions[0][0].Sources[0]; s.Sides != nil || !strings.Contains(s.Note, "No definition of nothing_of_that_name") {
		t.Errorf("a function that is not there: %+v", s)
	}
}

func TestAnotherFixIsRefused(t *testing.T) {
	q := Request{Plan: &plan.Plan{Patches: []plan.Source{{Name: "mine.patch", SHA256: "abcdef0123456789"}}}}
	var unknown *UnknownFixError
	if err := q.AddFix("other.patch", []byte("x")); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "mine.patch (abcdef012345…)") {
		t.Errorf("%v", err)
	}
	if len(q.Fixes) > 0 {
		t.Error("it is used all the same")
	}
}

func TestCancelled(t *testing.T) {
	k := kerneltest.Open(t)
	p, fix := made(t, k, kerneltest.Edit{File: "fs/proc/cmdline.c", Old: "\tseq_putc(m, '\\n');\n", New: "\tseq_puts(m, \"\\n\\n\");\n"})
	q := Request{Plan: p, Kernel: k}
	if err := q.AddFix("fix.patch", fix); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Gather(ctx, q); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
