// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// many is one fix over the kernel and a module, of functions that user space
// reaches and that between them use every kind of special section.
var many = []edit{
	// A warning (__bug_table), a dynamic debug site, and a new global function.
	sub("fs/proc/version.c", "#include <linux/utsname.h>", "#include <linux/utsname.h>\n#include <linux/sched.h>"),
	sub("fs/proc/version.c", "static int version_proc_show(struct seq_file *m, void *v)\n{\n",
		`int kmend_answer(int x);
noinline int kmend_answer(int x)
{
	return x * 6;
}

static int version_proc_show(struct seq_file *m, void *v)
{
	WARN(!strcmp(current->comm, "warnme"), "kmend warned %d\n", 7);
	pr_debug("kmend sees %s\n", current->comm);
`),
	// It is called from another unit.
	sub("fs/proc/uptime.c", "static int uptime_proc_show", "int kmend_answer(int x);\nstatic int uptime_proc_show"),
	sub("fs/proc/uptime.c", "\tseq_printf(m, \"%lu.", "\tseq_printf(m, \"%d \", kmend_answer(7));\n\tseq_printf(m, \"%lu."),
	// File statics: a list and its lock.
	sub("fs/filesystems.c", "\tread_lock(&file_systems_lock);\n\ttmp = file_systems;\n\twhile (tmp) {\n\t\tseq_printf",
		"\tseq_puts(m, \"kmend\\n\");\n\tread_lock(&file_systems_lock);\n\ttmp = file_systems;\n\twhile (tmp) {\n\t\tseq_printf"),
	// A static local, per-CPU counters, a static call (cond_resched), paravirt calls.
	sub("fs/drop_caches.c", "\t\tif (!stfu) {", "\t\tpr_info(\"kmend stfu=%d\\n\", stfu);\n\t\tif (!stfu) {"),
	sub("fs/drop_caches.c", "I_FREEING|I_WILL_FREE|I_NEW)", "I_FREEING|I_WILL_FREE|I_NEW|I_CREATING)"),
	// Writes to user memory: exception table, alternatives (stac, clac).
	sub("fs/readdir.c", "\tint reclen = ALIGN(offsetof(struct linux_dirent64, d_name) + namlen + 1,\n\t\tsizeof(u64));\n\tint prev_reclen;\n",
		"\tint reclen = ALIGN(offsetof(struct linux_dirent64, d_name) + namlen + 1,\n\t\tsizeof(u64));\n\tint prev_reclen;\n\n\tif (namlen == 6 && !memcmp(name, \"hideme\", 6))\n\t\treturn true;\n"),
	// A tracepoint of the kernel: jump label and static call.
	sub("fs/exec.c", "\tstrscpy_pad(tsk->comm, buf, sizeof(tsk->comm));\n\ttask_unlock(tsk);\n\tperf_event_comm(tsk, exec);",
		"\tstrscpy_pad(tsk->comm, buf, sizeof(tsk->comm));\n\tif (tsk->comm[0] == '#')\n\t\ttsk->comm[0] = '*';\n\ttask_unlock(tsk);\n\tperf_event_comm(tsk, exec);"),
	// Names that another unit has, too.
	sub("security/keys/user_defined.c", "\t\tmemcpy(buffer, upayload->data, buflen);", "\t\tmemcpy(buffer, upayload->data, buflen);\n\t\tif (buffer[0] == 's')\n\t\t\tbuffer[0] = 'S';"),
	sub("security/keys/user_defined.c", "\tkfree_sensitive(upayload);\n}\n\nEXPORT_SYMBOL_GPL(user_destroy);", "\tpr_info(\"kmend destroys a key\\n\");\n\tkfree_sensitive(upayload);\n}\n\nEXPORT_SYMBOL_GPL(user_destroy);"),
	sizelimit,
}

// look shows all that the fix changes and that can be looked at without a trace.
const look = `
echo "uptime $(cut -d' ' -f1 /proc/uptime)" | sed 's/ [0-9]*\.[0-9]*/ -/'
echo "filesystems $(grep -c kmend /proc/filesystems) $(grep -vc kmend /proc/filesystems)"
mkdir -p /tmp/d; touch /tmp/d/hideme /tmp/d/other; echo "dir $(ls /tmp/d | tr '\n' ' ')"
/root/probe fault
/root/probe keys
/root/probe comm '#abc'
dd if=/dev/zero of=/tmp/img bs=1k count=8 2>/dev/null
losetup /dev/loop0 /tmp/img && echo "loop $(cat /sys/block/loop0/loop/sizelimit)"; losetup -d /dev/loop0
true`

// session is a guest with the fix's module and what a test asks it.
type session struct {
	t *testing.T
	g *vm.Guest
}

func (s *session) shell(command string) string {
	s.t.Helper()
	r, err := s.g.Shell(s.t.Context(), time.Minute, command)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Exit != 0 {
		s.t.Errorf("%s: exit %d: %s", command, r.Exit, r.Output)
	}
	return r.Output
}

// log is the kernel's log since the last call, one line a record.
func (s *session) log() string {
	s.t.Helper()
	records, lost, err := s.g.Log(s.t.Context())
	if err != nil || lost > 0 {
		s.t.Fatalf("%d records lost, %v", lost, err)
	}
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintln(&b, r.Text)
	}
	return b.String()
}

func (s *session) want(what, text string, words ...string) {
	s.t.Helper()
	for _, w := range words {
		if !regexp.MustCompile(`(?m)` + w).MatchString(text) {
			s.t.Errorf("%s: no %q in:\n%s", what, w, text)
		}
	}
}

// bootMany boots with the modules and loads loop.
func bootMany(t *testing.T, k *kernel.Kernel, module, name string) *session {
	t.Helper()
	vmtest.NeedQEMU(t)
	machine, err := vm.ForKernel(k, false)
	if err != nil {
		t.Fatal(err)
	}
	loop, err := k.Module("loop")
	if err != nil {
		t.Fatal(err)
	}
	machine.Agent, machine.Shell = vmtest.Agent(t), true
	machine.Files = []vm.File{{Host: probe(t, k), Guest: "/root/probe"}}
	machine.Modules = []vm.Module{{Name: "loop", Path: loop.Path}, {Name: name, Path: module}}
	g, err := vm.Boot(t.Context(), machine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	s := &session{t: t, g: g}
	if err := g.Load(t.Context(), "loop", ""); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *session) transition(name string) {
	s.t.Helper()
	if done, blockers, err := s.g.WaitTransition(s.t.Context(), name, 30*time.Second); err != nil || !done {
		s.t.Fatalf("transition: done %t, %v, blocked by %v", done, err, blockers)
	}
}

// TestPatchedCodeWorks is the proof that special sections arrive: functions of
// the stock kernel do in the guest what they did, and what the fix adds.
func TestPatchedCodeWorks(t *testing.T) {
	for _, way := range []string{plan.WayBinary, plan.WaySource} {
		t.Run(way, func(t *testing.T) { patchedCodeWorks(t, way) })
	}
}

func patchedCodeWorks(t *testing.T, way string) {
	k := kerneltest.Open(t)
	module, p := buildFixFrom(t, k, way, "many", many...)
	checkManyPlan(t, k, p)
	const name = "livepatch_many"
	s := bootMany(t, k, module, name)

	// The static local is set while the old code runs.
	s.log()
	s.shell("echo 4 > /proc/sys/vm/drop_caches")
	s.want("before", s.log(), `drop_caches: 4`)
	before := s.shell(look)
	s.want("before", before, `^uptime -$`, `^filesystems 0 \d\d`, `^dir hideme other $`, `^fault -1 14$`, `^key 6 secret$`, `^comm #abc$`, `^loop 0$`)

	if err := s.g.Load(t.Context(), name, ""); err != nil {
		t.Fatal(err)
	}
	s.transition(name)
	s.log()
	patched := s.shell(look)
	old := regexp.MustCompile(`(?m)^filesystems 0 (\d+)$`).FindStringSubmatch(before)
	if old == nil {
		t.Fatalf("before: %s", before)
	}
	s.want("patched", patched, `^uptime 42$`, `^filesystems 1 `+old[1]+`$`, `^dir other $`, `^fault -1 14$`, `^key 6 Secret$`, `^comm \*abc$`, `^loop 0 kmend$`)
	s.state()
	s.traced()
	s.debugged()
	s.warned()
	s.shell("sleep 1") // keys are destroyed by a worker
	s.want("keys", s.shell("dmesg | grep -c 'kmend destroys a key'"), `^[1-9]`)
	s.quiet()

	if err := s.g.WriteFile(t.Context(), "/sys/kernel/livepatch/"+name+"/enabled", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	s.transition(name)
	if after := s.shell(look); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if len(p.Pins) == 0 {
		if err := s.g.Unload(t.Context(), name, 10*time.Second); err != nil {
			t.Error(err)
		}
	}
	s.quiet()
	if err := s.g.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}

// state: the static local that was set before is set for the new code, and the
// per-CPU counters are those of the kernel.
func (s *session) state() {
	s.t.Helper()
	out := s.shell(`grep drop_pagecache /proc/vmstat; for i in 1 2 3; do echo 1 > /proc/sys/vm/drop_caches; done; grep drop_pagecache /proc/vmstat`)
	var from, to int
	if n, err := fmt.Sscanf(out, "drop_pagecache %d\ndrop_pagecache %d", &from, &to); n != 2 || to != from+3 {
		s.t.Errorf("counter: %v, %q", err, out)
	}
	log := s.log()
	s.want("static local", log, `kmend stfu=4`)
	if strings.Contains(log, "drop_caches: 1") || strings.Contains(log, "stfu=0") {
		s.t.Errorf("the static local lost its value:\n%s", log)
	}
}

// traced: the kernel switches the tracepoint in the new code on and off.
func (s *session) traced() {
	s.t.Helper()
	const dir = "/sys/kernel/tracing"
	out := s.shell(`d=` + dir + `; [ -d $d/events ] || d=/sys/kernel/debug/tracing
/root/probe comm unseen
echo 1 > $d/events/task/task_rename/enable; /root/probe comm '#seen'; echo 0 > $d/events/task/task_rename/enable
/root/probe comm unseen
cat $d/trace`)
	s.want("tracepoint", out, `task_rename: .*newcomm=#seen`)
	if strings.Contains(out, "newcomm=unseen") {
		s.t.Errorf("the tracepoint is on when it is off:\n%s", out)
	}
}

// debugged: the debug site of the new code is listed and can be switched on.
func (s *session) debugged() {
	s.t.Helper()
	const control = "/sys/kernel/debug/dynamic_debug/control"
	s.shell("read x < /proc/version")
	out := s.shell(`grep 'kmend sees' ` + control + `; echo 'format "kmend sees" +p' > ` + control + `; read x < /proc/version; echo 'format "kmend sees" -p' > ` + control + `; read x < /proc/version`)
	s.want("dynamic debug", out, `^fs/proc/version\.c:\d+ \[livepatch_many\]version_proc_show =_ "kmend sees`)
	if log := s.log(); strings.Count(log, "kmend sees sh") != 1 {
		s.t.Errorf("the debug site printed other than once:\n%s", log)
	}
}

// warned: a warning in the new code is found in the module's bug table, with
// file and line, and the task goes on.
func (s *session) warned() {
	s.t.Helper()
	out := s.shell(`printf '#!/bin/sh\nread x < /proc/version; echo went on\n' > /tmp/warnme; chmod +x /tmp/warnme; /tmp/warnme`)
	s.want("warning", out, `^went on$`)
	log := s.log()
	s.want("warning", log, `kmend warned 7`, `WARNING: CPU: 0 PID: \d+ at fs/proc/version\.c:\d+ version_proc_show\+0x[0-9a-f]+/0x[0-9a-f]+ \[livepatch_many\]`,
		`seq_read_iter\+0x`, `ksys_read\+0x`, `---\[ end trace`)
	if strings.Contains(log, "? version_proc_show") || strings.Contains(log, "? seq_read_iter") {
		s.t.Errorf("the stack is not unwound reliably through the new code:\n%s", log)
	}
}

// quiet: nothing but the one warning is wrong.
func (s *session) quiet() {
	s.t.Helper()
	log := s.log()
	for _, bad := range []string{"BUG:", "WARNING:", "Oops", "general protection", "static_key", "jump_label", "livepatch: failed"} {
		if strings.Contains(log, bad) {
			s.t.Errorf("the kernel log has %q:\n%s", bad, log)
		}
	}
}

// checkManyPlan: every unit is there, names with several owners have the right
// position, the new function is bound between units.
func checkManyPlan(t *testing.T, k *kernel.Kernel, p *plan.Plan) {
	t.Helper()
	var names []string
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			names = append(names, o.Name+" "+f.Name)
			if f.Name != "user_read" && f.Name != "user_destroy" {
				continue
			}
			table := kerneltest.Image(t, k).Symbols()
			i := slices.IndexFunc(table.Lookup(f.Name), func(s kernel.Symbol) bool { return s.Type == 'T' })
			if f.Sympos != i+1 {
				t.Errorf("%s has position %d, want %d", f.Name, f.Sympos, i+1)
			}
		}
	}
	for _, want := range []string{"vmlinux version_proc_show", "vmlinux uptime_proc_show", "vmlinux filesystems_proc_show", "vmlinux drop_caches_sysctl_handler",
		"vmlinux drop_pagecache_sb", "vmlinux filldir64", "vmlinux __set_task_comm", "vmlinux user_read", "vmlinux user_destroy", "loop loop_attr_do_show_sizelimit"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not replaced; these are: %q", want, names)
		}
	}
	bound := false
	for _, u := range p.Units {
		for _, r := range u.References {
			bound = bound || r.Name == "kmend_answer" && r.How == plan.ByPatch && u.Source == "fs/proc/uptime.c"
		}
	}
	if !bound {
		t.Error("uptime.c has no reference to kmend_answer within the patch")
	}
}
