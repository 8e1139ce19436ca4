// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"slices"
	"strings"
	"testing"

	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/plan"
	"kmend/internal/verify"
)

// handMade is a fix of one unit and an extraction from the patched unit, written
// by hand.
type handMade struct {
	edits   []edit
	text    string
	renamed map[string]string
	copied  []string
}

var cmdlineByHand = handMade{
	edits: visible,
	text: `#include <linux/fs.h>
#include <linux/seq_file.h>

int klpp_cmdline_proc_show(struct seq_file *m, void *v);
int klpp_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, saved_command_line);
	seq_puts(m, " \n");
	return 0;
}
`,
	renamed: map[string]string{"klpp_cmdline_proc_show": "cmdline_proc_show"},
}

// drop_caches has a static local, a callback, a variable of the kernel's, and
// inline assembler.
var dropCachesByHand = handMade{
	edits: []edit{sub("fs/drop_caches.c", "if (!stfu) {", "if (!stfu && sysctl_drop_caches != 2) {")},
	text: `#include <linux/pagemap.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/fs.h>
#include <linux/writeback.h>
#include <linux/sysctl.h>
#include <linux/gfp.h>
#include "internal.h"

extern int sysctl_drop_caches;
void drop_pagecache_sb(struct super_block *sb, void *unused);

int klpp_drop_caches_sysctl_handler(struct ctl_table *table, int write, void *buffer, size_t *length, loff_t *ppos);
int klpp_drop_caches_sysctl_handler(struct ctl_table *table, int write,
		void *buffer, size_t *length, loff_t *ppos)
{
	int ret;

	ret = proc_dointvec_minmax(table, write, buffer, length, ppos);
	if (ret)
		return ret;
	if (write) {
		static int stfu;

		if (sysctl_drop_caches & 1) {
			iterate_supers(drop_pagecache_sb, NULL);
			count_vm_event(DROP_PAGECACHE);
		}
		if (sysctl_drop_caches & 2) {
			drop_slab();
			count_vm_event(DROP_SLAB);
		}
		if (!stfu && sysctl_drop_caches != 2) {
			pr_info("%s (%d): drop_caches: %d\n",
				current->comm, task_pid_nr(current),
				sysctl_drop_caches);
		}
		stfu |= sysctl_drop_caches & 4;
	}
	return 0;
}
`,
	renamed: map[string]string{"klpp_drop_caches_sysctl_handler": "drop_caches_sysctl_handler"},
}

// dummy is a module.
var dummyByHand = handMade{
	edits: []edit{sub("drivers/net/dummy.c", "return NETDEV_TX_OK;", "return NETDEV_TX_BUSY;")},
	text: `#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/etherdevice.h>
#include <linux/net_tstamp.h>

netdev_tx_t klpp_dummy_xmit(struct sk_buff *skb, struct net_device *dev);
netdev_tx_t klpp_dummy_xmit(struct sk_buff *skb, struct net_device *dev)
{
	dev_lstats_add(dev, skb->len);
	skb_tx_timestamp(skb);
	dev_kfree_skb(skb);
	return NETDEV_TX_BUSY;
}
`,
	renamed: map[string]string{"klpp_dummy_xmit": "dummy_xmit"},
}

// The freezer's function is a callback with a warning that comes once: a flag of
// the kernel's, and an entry of the bug table with another line.
var freezerByHand = handMade{
	edits: []edit{sub("kernel/freezer.c", "return TASK_FROZEN;", "return TASK_FROZEN | 1;")},
	text: `#include <linux/interrupt.h>
#include <linux/suspend.h>
#include <linux/syscalls.h>
#include <linux/freezer.h>
#include <linux/kthread.h>

int klpp___set_task_frozen(struct task_struct *p, void *arg);
int klpp___set_task_frozen(struct task_struct *p, void *arg)
{
	unsigned int state = READ_ONCE(p->__state);

	if (p->on_rq)
		return 0;
	if (p != current && task_curr(p))
		return 0;
	if (!(state & (TASK_FREEZABLE | __TASK_STOPPED | __TASK_TRACED)))
		return 0;
	if (state & TASK_FREEZABLE)
		WARN_ON_ONCE(!(state & TASK_NORMAL));
	WRITE_ONCE(p->__state, TASK_FROZEN);
	return TASK_FROZEN | 1;
}
`,
	renamed: map[string]string{"klpp___set_task_frozen": "__set_task_frozen"},
}

// object compiles the extraction in place of its unit.
func (h *handMade) object(t *testing.T, k *kernel.Kernel, u plan.BuiltUnit, text string) plan.SourceObject {
	t.Helper()
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tree.Compile(t.Context(), kbuild.Job{Command: u.Command, Overlay: map[string][]byte{u.Source: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return plan.SourceObject{Source: u.Source, File: "livepatch_test.c", Object: r.Object, Clones: r.Clones, Types: r.Types, Renamed: h.renamed, Copied: h.copied}
}

// From a fix, and an extraction by hand, to a module that the verifier has
// nothing against, with the same code and the same references as the binary way.
func TestSourceWay(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		name  string
		hand  *handMade
		rules []plan.RuleCount
		refs  []string // names of some references
	}{
		{"cmdline", &cmdlineByHand, nil, []string{"saved_command_line", "seq_puts"}},
		{"drop_caches", &dropCachesByHand, nil, []string{"drop_pagecache_sb", "stfu.0", "sysctl_drop_caches"}},
		{"dummy", &dummyByHand, nil, []string{"consume_skb"}},
		{"freezer", &freezerByHand, []plan.RuleCount{{Rule: plan.RuleLine, Count: 1}}, []string{"current_task", "task_curr"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			binary := makePlan(t, k, kerneltest.Diff(t, k, c.hand.edits...))
			if binary.Plan.Verdict != plan.Patch {
				t.Fatalf("verdict %s: %v", binary.Plan.Verdict, binary.Plan.Refusals)
			}
			built := binary.Built()
			if len(built) != 1 || !slices.Equal(built[0].Replaced, valuesOf(c.hand.renamed)) {
				t.Fatalf("to be extracted: %+v: %v", built, binary.Plan.Refusals)
			}
			source, err := binary.FromSource(t.Context(), []plan.SourceObject{c.hand.object(t, k, built[0], c.hand.text)})
			if err != nil {
				t.Fatal(err)
			}
			p := source.Plan
			if p.Verdict != plan.Patch || p.Way != plan.WaySource || len(source.Pieces) != 1 {
				t.Fatalf("verdict %s, way %s, %d pieces: %v", p.Verdict, p.Way, len(source.Pieces), p.Refusals)
			}
			for _, pr := range p.Units[0].Extraction.Patched {
				want := plan.ProofIdentical
				if len(c.rules) > 0 {
					want = plan.ProofNamed
				}
				if pr.Verdict != want || !slices.Equal(pr.Rules, c.rules) || pr.WholeSize == 0 || pr.WholeSize != pr.PartSize {
					t.Errorf("proof %+v", pr)
				}
			}
			if f := p.Objects[0].Functions[0]; f.Reason.Kind != plan.Edited || f.RunPre.Verdict != "equal" || f.NewSize != binary.Plan.Objects[0].Functions[0].NewSize {
				t.Errorf("function %+v", f)
			}
			var names []string
			for _, r := range p.Units[0].References {
				names = append(names, r.Name)
			}
			for _, n := range c.refs {
				if !slices.Contains(names, n) {
					t.Errorf("no reference to %s among %q", n, names)
				}
			}
			checkModule(t, k, source)
			checkAgreement(t, binary, source)
		})
	}
}

// checkAgreement wants the two ways to agree, and to disagree once one of them
// has something else.
func checkAgreement(t *testing.T, binary, source *plan.Build) {
	t.Helper()
	if differ, err := plan.CrossCheck(binary, source); err != nil || len(differ) > 0 {
		t.Errorf("the ways disagree: %v %v", differ, err)
	}
	if _, err := plan.CrossCheck(source, binary); err == nil {
		t.Error("a source plan is taken for a binary one")
	}
	if _, err := source.FromSource(t.Context(), nil); err == nil {
		t.Error("a source plan is made from a source plan")
	}
	if _, err := binary.FromSource(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no file was extracted from") {
		t.Errorf("no extracted file: %v", err)
	}
	for sym, f := range source.Pieces[0].Refs {
		if sym.Name == "__fentry__" {
			f.Sympos += 3
			if differ, err := plan.CrossCheck(binary, source); err != nil || len(differ) != 1 || differ[0].Function != sym.Name {
				t.Errorf("another position of %s: %v %v", sym.Name, differ, err)
			}
			f.Sympos -= 3
		}
	}
	proof := &source.Plan.Units[0].Extraction.Patched[0]
	was := *proof
	proof.Verdict = plan.ProofUnexplained
	if differ, err := plan.CrossCheck(binary, source); err != nil || len(differ) != 1 || differ[0].Function != was.Function {
		t.Errorf("code that nothing explains: %v %v", differ, err)
	}
	*proof = was
}

func valuesOf(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// checkModule writes the module of a plan and has it verified.
func checkModule(t *testing.T, k *kernel.Kernel, b *plan.Build) {
	t.Helper()
	spec, err := klp.SpecOf(b)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := klp.Write(spec, facts)
	if err != nil {
		t.Fatal(err)
	}
	report, err := verify.Check(k, data)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range report.Objections {
		t.Errorf("objection: %v", o)
	}
}

// Functions as they are go the same way, and the extraction from the source
// without a fix is held against the unit without it.
func TestSourceWayAsTheyAre(t *testing.T) {
	k := kerneltest.Open(t)
	h := &dropCachesByHand
	asIs := handMade{text: strings.Replace(h.text, " && sysctl_drop_caches != 2", "", 1), renamed: h.renamed}
	binary, err := askFor(t, k, plan.FunctionSpec{File: "fs/drop_caches.c", Name: "drop_caches_sysctl_handler"})
	if err != nil {
		t.Fatal(err)
	}
	o := asIs.object(t, k, binary.Built()[0], asIs.text)
	source, err := binary.FromSource(t.Context(), []plan.SourceObject{o})
	if err != nil {
		t.Fatal(err)
	}
	if source.Plan.Verdict != plan.Patch || source.Plan.Units[0].Extraction.Patched[0].Verdict != plan.ProofIdentical {
		t.Fatalf("verdict %s: %v", source.Plan.Verdict, source.Plan.Refusals)
	}
	checkModule(t, k, source)
	fixed := makePlan(t, k, kerneltest.Diff(t, k, h.edits...))
	for patched, want := range map[bool]string{false: plan.ProofIdentical, true: plan.ProofUnexplained} {
		proofs, err := fixed.Prove(t.Context(), o, patched)
		if err != nil || len(proofs) != 1 || proofs[0].Verdict != want {
			t.Errorf("patched %t: %+v %v, want %s", patched, proofs, err, want)
		}
	}
	frozen, err := askFor(t, k, plan.FunctionSpec{File: "kernel/freezer.c", Name: "freeze_task"})
	if err != nil {
		t.Fatal(err)
	}
	if ref, err := frozen.Find("kernel/freezer.c", "__freeze_task"); err == nil || !strings.Contains(err.Error(), "copy it") {
		t.Errorf("an inlined function is found as %+v: %v", ref, err)
	}
	for name, fits := range map[string]bool{"drop_pagecache_sb": true, "sysctl_drop_caches": true, "iterate_supers": true, "nosuch_symbol": false} {
		if ref, err := fixed.Find("fs/drop_caches.c", name); (err == nil) != fits || fits && ref.Name != name {
			t.Errorf("find %s: %+v %v", name, ref, err)
		}
	}
}

// What an extraction changes must not become a module: not other code, not a
// second static local, not a copied callback.
func TestSourceWayRefuses(t *testing.T) {
	k := kerneltest.Open(t)
	h := &dropCachesByHand
	binary := makePlan(t, k, kerneltest.Diff(t, k, h.edits...))
	built := binary.Built()[0]
	for _, c := range []struct {
		name, from, to string
		code, symbol   string
	}{
		{"another constant", "sysctl_drop_caches & 4", "sysctl_drop_caches & 8", plan.CodeExtractedText, "drop_caches_sysctl_handler"},
		{"another callee", "drop_slab();", "inode_nohighmem(NULL);", plan.CodeExtractedText, "drop_caches_sysctl_handler"},
		{"another text", "drop_caches: %d", "drop_cache: %d", plan.CodeExtractedText, "drop_caches_sysctl_handler"},
		{"the fix left out", " && sysctl_drop_caches != 2", "", plan.CodeExtractedText, "drop_caches_sysctl_handler"},
		{"another static local", "static int stfu;", "static int stfu; static int more; more += write; if (more > 3) return more;", plan.CodeStateDuplicated, "more"},
		{"callback copied", "void drop_pagecache_sb(struct super_block *sb, void *unused);", "static void drop_pagecache_sb(struct super_block *sb, void *unused) { drop_slab(); }", plan.CodeExtractedData, "drop_pagecache_sb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(h.text, c.from) == 0 {
				t.Fatalf("the text has no %q", c.from)
			}
			source, err := binary.FromSource(t.Context(), []plan.SourceObject{h.object(t, k, built, strings.Replace(h.text, c.from, c.to, 1))})
			if err != nil {
				t.Fatal(err)
			}
			if source.Plan.Verdict != plan.Refused || len(source.Pieces) > 0 {
				t.Fatalf("verdict %s with %d pieces", source.Plan.Verdict, len(source.Pieces))
			}
			if !slices.ContainsFunc(source.Plan.Refusals, func(r plan.Refusal) bool {
				stem, _, _ := strings.Cut(r.Symbol, ".")
				return r.Code == c.code && stem == c.symbol
			}) {
				t.Errorf("refusals %v, want %s of %s", source.Plan.Refusals, c.code, c.symbol)
			}
			t.Log(source.Plan.Refusals)
		})
	}
}
