// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"strings"
	"testing"

	"kmend/internal/vm/wire"
)

func kernelLog(text string) (records []wire.Record) {
	for line := range strings.Lines(text) {
		records = append(records, wire.Record{Priority: 4, Text: strings.TrimSpace(line)})
	}
	return records
}

// Lines as 6.1 prints them; taken from guests.
func TestFindings(t *testing.T) {
	for _, line := range []string{
		"BUG: unable to handle page fault for address: ffffffffc0354000",
		"Oops: 0002 [#1] PREEMPT SMP PTI",
		"general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP PTI",
		"watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [cat:123]",
		"INFO: task cat:123 blocked for more than 120 seconds.",
		"rcu: INFO: rcu_preempt self-detected stall on CPU",
		"rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
		"livepatch: failed to find location for function 'x'",
		"livepatch: failed to apply patch 'a' to module 'b' (-22)",
		"livepatch: symbol 'x' not found in symbol table",
		"livepatch: symbol position 2 for symbol 'x' in object 'vmlinux' not found",
		"livepatch: unresolvable ambiguity for symbol 'x' in object 'vmlinux'",
		"livepatch: module 'x' is not marked as a livepatch module",
		"x86/modules: Skipping invalid relocation target, existing value is nonzero for type 1, loc 000000003b7e5e39, val ffffffffc0338001",
		"livepatch: applying patch 'a' failed: refusing to load module 'b'",
		"lp_cmdline: disagrees about version of symbol module_layout",
		"lp: no symbol version for module_layout",
		"lp: Unknown symbol saved_command_line (err -2)",
		"BPF: 	 failed to validate module [lp] BTF: -22",
		"failed to validate module [lp] BTF: -22",
		"refcount_t: underflow; use-after-free.",
		"Call Trace:",
		"list_del corruption. prev->next should be ffff, but was 0",
	} {
		if f := findings(kernelLog(line)); len(f) != 1 || f[0].Text != strings.TrimSpace(line) {
			t.Errorf("%q: found %v", line, f)
		}
	}
	for _, line := range []string{
		"livepatch: enabling patch 'lp_cmdline'",
		"livepatch: 'lp_cmdline': starting patching transition",
		"livepatch: 'lp_cmdline': patching complete",
		"livepatch: applying patch 'lp' to loading module 'loop'",
		"livepatch: reverting patch 'lp' on unloading module 'loop'",
		"livepatch: signaling remaining tasks",
		"livepatch: klp_try_switch_task: cat:96 is sleeping on function x",
		"lp_livepatch: module verification failed: signature and/or required key missing - tainting kernel",
		"lp_livepatch: loading out-of-tree module taints kernel.",
		"lp_livepatch: tainting kernel with TAINT_LIVEPATCH",
		"Warning: unable to open an initial console.",
		"x: BTF is fine",
	} {
		if f := findings(kernelLog(line)); len(f) != 0 {
			t.Errorf("%q: found %v", line, f)
		}
	}
	user := []wire.Record{{Priority: 13, Text: "BUG: said user space"}}
	if f := findings(user); len(f) != 0 {
		t.Errorf("user space's own words count: %v", f)
	}
}

const warning = `------------[ cut here ]------------
the new function warns
WARNING: CPU: 0 PID: 71 at /x/lp_warns.c:9 livepatch_cmdline_proc_show+0x17/0x40 [lp_warns]
Modules linked in: lp_warns(OEK)
Call Trace:
 <TASK>
 seq_read_iter+0x11c/0x470
---[ end trace 0000000000000000 ]---
`

func TestFindingsOfOneWarning(t *testing.T) {
	f := findings(kernelLog("a line\n" + warning + "Call Trace:\n"))
	if len(f) != 2 || !strings.HasPrefix(f[0].Text, "WARNING: CPU: 0 PID: 71") || len(f[0].Block) != 8 || f[1].Text != "Call Trace:" {
		t.Errorf("findings: %+v", f)
	}
	// Cut off: what follows must still be seen.
	head, _, _ := strings.Cut(warning, " <TASK>")
	f = findings(kernelLog(head + "BUG: then this\n"))
	if len(f) < 2 || f[len(f)-1].Text != "BUG: then this" {
		t.Errorf("findings: %+v", f)
	}
}

func TestExcuse(t *testing.T) {
	before := findings(kernelLog(warning))
	same := findings(kernelLog(strings.Replace(warning, "CPU: 0 PID: 71", "CPU: 1 PID: 4242", 1)))
	if bad, excused := unexcused(same, before); len(bad) != 0 || len(excused) != 1 {
		t.Errorf("the same warning again: bad %v", bad)
	}
	other := findings(kernelLog(strings.Replace(warning, "lp_warns.c:9", "lp_warns.c:10", 1)))
	if bad, _ := unexcused(other, before); len(bad) != 1 {
		t.Errorf("a warning elsewhere is excused")
	}
}

func TestTaint(t *testing.T) {
	if s := taintNames(livepatchTaint); s != "OEK" {
		t.Errorf("livepatch's taint: %s", s)
	}
	if s := taintNames(1<<9 | 1<<7 | 1<<40); s != "DW?" {
		t.Errorf("warned and died: %s", s)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		codes    []Code
		finished bool
		want     Verdict
	}{
		{nil, true, Passed},
		{nil, false, Incomplete}, // never a pass without the token
		{[]Code{CodeTargetUnseen}, true, Incomplete},
		{[]Code{CodeTargetUnseen, CodeTaint}, true, Failed},
		{[]Code{CodeBoot}, false, Incomplete},
		{[]Code{CodeGuestDied}, false, Failed},
	} {
		r := &Report{}
		for _, code := range c.codes {
			r.fail(code, "", "x")
		}
		if r.judge(c.finished); r.Verdict != c.want || (r.Verdict != Passed) != (len(r.Reasons) > 0) {
			t.Errorf("%v, finished %v: %s, reasons %v", c.codes, c.finished, r.Verdict, r.Reasons)
		}
	}
}

func TestLastWords(t *testing.T) {
	const log = "[    5.1] a\n[    5.2] BUG: kernel NULL pointer dereference, address: 0\r\n[    5.3] Kernel panic - not syncing: Fatal exception\r\n"
	if s := lastWords(log); s != "BUG: kernel NULL pointer dereference, address: 0; Kernel panic - not syncing: Fatal exception" {
		t.Errorf("%q", s)
	}
	if s := lastWords("nothing\n"); s != "" {
		t.Errorf("%q", s)
	}
}
