// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// extractOf compiles a hand-written extraction in place of a unit's source.
func extractOf(t *testing.T, k *kernel.Kernel, u plan.BuiltUnit, text string, renamed map[string]string) plan.SourceObject {
	t.Helper()
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tree.Compile(t.Context(), kbuild.Job{Command: u.Command, Overlay: map[string][]byte{u.Source: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return plan.SourceObject{Source: u.Source, File: "livepatch_test.c", Object: r.Object, Clones: r.Clones, Types: r.Types, Renamed: renamed}
}

const cmdlineText = `#include <linux/fs.h>
#include <linux/seq_file.h>

extern char *saved_command_line;

int klpp_cmdline_proc_show(struct seq_file *m, void *v);
int klpp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, saved_command_line);
	seq_puts(m, " \n");
	return 0;
}
`

var cmdlineRenamed = map[string]string{"klpp_cmdline_proc_show": "cmdline_proc_show"}

// From a fix and an extraction by hand to a plan that a module can be made of.
func TestSourceWay(t *testing.T) {
	k := kerneltest.Open(t)
	binary := makePlan(t, k, kerneltest.Diff(t, k, visible...))
	built := binary.Built()
	if len(built) != 1 || len(built[0].Replaced) != 1 || built[0].Replaced[0] != "cmdline_proc_show" {
		t.Fatalf("built %+v", built)
	}
	o := extractOf(t, k, built[0], cmdlineText, cmdlineRenamed)
	source, err := binary.FromSource(t.Context(), []plan.SourceObject{o})
	if err != nil {
		t.Fatal(err)
	}
	p := source.Plan
	if p.Verdict != plan.Patch || p.Way != plan.WaySource || len(source.Pieces) != 1 {
		t.Fatalf("verdict %s, way %s, %d pieces: %v", p.Verdict, p.Way, len(source.Pieces), p.Refusals)
	}
	proofs := p.Units[0].Extraction.Patched
	if len(proofs) != 1 || proofs[0].Verdict != plan.ProofIdentical || proofs[0].WholeSize == 0 || proofs[0].WholeSize != proofs[0].PartSize {
		t.Errorf("proofs %+v", proofs)
	}
	if f := p.Objects[0].Functions[0]; f.Name != "cmdline_proc_show" || f.Reason.Kind != plan.Edited || f.RunPre.Verdict != "equal" {
		t.Errorf("function %+v", f)
	}
	differ, err := plan.CrossCheck(binary, source)
	if err != nil || len(differ) > 0 {
		t.Errorf("the ways disagree: %v %v", differ, err)
	}
	_, _, _ = errors.New, filepath.Join, os.ReadFile
	_ = strings.Cut
}
