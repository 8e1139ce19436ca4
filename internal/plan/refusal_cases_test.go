// SPDX-License-Identifier: Apache-2.0

package plan_test

import "kmend/internal/plan"

var refusalCases = []refusalCase{
	{
		name:  "header",
		edits: []edit{sub("include/linux/irq_work.h", "struct irq_work {", "struct irq_work {\n\tint more;")},
		code:  plan.CodeHeaderChanged, at: "include/linux/irq_work.h", words: []string{"every translation unit that includes", "C files"},
	},
	{
		name:  "assembly",
		edits: []edit{sub("arch/x86/lib/putuser.S", "SYM_FUNC_START(__put_user_1)", "SYM_FUNC_START(__put_user_1)\n\tnop")},
		code:  plan.CodeAssembly, at: "arch/x86/lib/putuser.S", words: []string{"assembler", "reboot"},
	},
	{
		name:  "vdso",
		edits: []edit{sub("arch/x86/entry/vdso/vgetcpu.c", "return 0;", "return 1;")},
		code:  plan.CodeVDSO, at: "arch/x86/entry/vdso/vgetcpu.c", words: []string{"user space", "reboot"},
	},
	{
		name:  "boot code",
		edits: []edit{sub("arch/x86/boot/regs.c", "memset(reg, 0, sizeof(*reg));", "memset(reg, 1, sizeof(*reg));")},
		code:  plan.CodeBootCode, at: "arch/x86/boot/regs.c", words: []string{"before or outside the kernel", "reboot"},
	},
	{
		name:  "build file",
		edits: []edit{sub("fs/proc/Makefile", "obj-y   += proc.o", "obj-y   += proc.o more.o")},
		code:  plan.CodeBuildFile, at: "fs/proc/Makefile", words: []string{"how the kernel is built", "leave it out"},
	},
	{
		name:  "linker script",
		edits: []edit{sub("arch/x86/kernel/vmlinux.lds.S", "SECTIONS\n{", "SECTIONS\n{\n")},
		code:  plan.CodeUnsupportedFile, at: "arch/x86/kernel/vmlinux.lds.S", words: []string{"linked", "reboot"},
	},
	{
		name: "file added",
		diff: "--- /dev/null\n+++ b/fs/proc/more.c\n@@ -0,0 +1 @@\n+int more;\n",
		code: plan.CodeFileAdded, at: "fs/proc/more.c", words: []string{"adds this file", "no code of it to replace", "file that uses it"},
	},
	{
		name: "file renamed",
		diff: "diff --git a/fs/proc/cmdline.c b/fs/proc/line.c\nsimilarity index 100%\nrename from fs/proc/cmdline.c\nrename to fs/proc/line.c\n",
		code: plan.CodeFileRemoved, at: "fs/proc/line.c", words: []string{"removes or renames", "leave the file in place"},
	},
	{
		name:  "patching path",
		edits: []edit{sub("lib/kobject.c", "kobj->state_in_sysfs = 1;", "kobj->state_in_sysfs = 0;")},
		code:  plan.CodePatchingPath, at: "lib/kobject.c", words: []string{"while it applies a live patch", "reboot"},
	},
	{
		name: "does not apply",
		diff: "--- a/fs/proc/cmdline.c\n+++ b/fs/proc/cmdline.c\n@@ -7,5 +7,5 @@\n static int cmdline_proc_show(struct seq_file *m, void *v)\n {\n-\tseq_puts(m, another_command_line);\n+\tseq_puts(m, \"\");\n \tseq_putc(m, '\\n');\n \treturn 0;\n",
		code: plan.CodeNotApplied, at: cmdline, words: []string{"-\tseq_puts(m, another_command_line);", "The source has there", "seq_puts(m, saved_command_line);", "6.1.176-1"},
	},
	{
		name: "applied already",
		diff: "--- a/fs/proc/cmdline.c\n+++ b/fs/proc/cmdline.c\n@@ -7,5 +7,5 @@\n static int cmdline_proc_show(struct seq_file *m, void *v)\n {\n-\tseq_puts(m, \"\");\n+\tseq_puts(m, saved_command_line);\n \tseq_putc(m, '\\n');\n \treturn 0;\n",
		code: plan.CodeNotApplied, at: cmdline, words: []string{"already"},
	},
	{
		name: "no such file",
		diff: "--- a/fs/proc/nosuch.c\n+++ b/fs/proc/nosuch.c\n@@ -1 +1 @@\n-int a;\n+int b;\n",
		code: plan.CodeNotApplied, at: "a/fs/proc/nosuch.c", words: []string{"no such file in the source", "6.1.176-1"},
	},
	{
		name:  "not built",
		edits: []edit{sub("fs/proc/task_nommu.c", "#include <linux/mm.h>", "#include <linux/mm.h>\nint more;")},
		code:  plan.CodeNotBuilt, at: "fs/proc/task_nommu.c", words: []string{"leave the file out"},
	},
	{
		name:  "does not compile",
		edits: []edit{sub(cmdline, "seq_putc(m, '\\n');", "seq_putc(m, no_such_variable);")},
		code:  plan.CodeNotCompiled, at: cmdline, words: []string{"fs/proc/cmdline.c:10:", "no_such_variable", "undeclared", "another fix"},
	},
	{
		name:  "data changed: variable",
		edits: []edit{sub("fs/drop_caches.c", "int sysctl_drop_caches;", "int sysctl_drop_caches = 1;")},
		code:  plan.CodeDataChanged, at: "fs/drop_caches.c", sym: "sysctl_drop_caches", words: []string{"initialised", "keeps its contents"},
	},
	{
		name:  "init code",
		edits: []edit{sub(cmdline, `proc_create_single("cmdline"`, `proc_create_single("kmdline"`)},
		code:  plan.CodeInitCode, at: cmdline, sym: "proc_cmdline_init", words: []string{"init code changed", "run already"},
	},
	{
		name:  "init reference",
		edits: showing("static int proc_cmdline_init(void);", "if (!v) proc_cmdline_init();"),
		code:  plan.CodeInitReference, at: cmdline, sym: "proc_cmdline_init", words: []string{"refers to init code", "freed after start"},
	},
	{
		name:  "exit code",
		edits: []edit{sub("drivers/block/loop.c", "static void __exit loop_exit(void)\n{", "static void __exit loop_exit(void)\n{\n\tpr_info(\"bye\\n\");")},
		code:  plan.CodeExitCode, at: "drivers/block/loop.c", sym: "loop_exit", words: []string{"cannot be redirected"},
	},
	{
		name:  "per-CPU variable added",
		edits: showing("static DEFINE_PER_CPU(int, more);", "this_cpu_inc(more);"),
		code:  plan.CodePerCPUChanged, at: cmdline, sym: "more", words: []string{"new", "laid out at boot"}, also: []string{plan.CodeDataChanged},
	},
	{
		name:  "per-CPU variable changed",
		edits: []edit{sub("kernel/irq_work.c", "static DEFINE_PER_CPU(struct llist_head, raised_list);", "static DEFINE_PER_CPU(struct llist_head, raised_list) = {(void *)16};")},
		code:  plan.CodePerCPUChanged, at: "kernel/irq_work.c", sym: "raised_list", words: []string{"changed at", "laid out at boot"},
	},
	{
		name:  "export added",
		edits: []edit{sub("kernel/irq_work.c", "EXPORT_SYMBOL_GPL(irq_work_queue);", "EXPORT_SYMBOL_GPL(irq_work_queue);\nEXPORT_SYMBOL_GPL(arch_irq_work_raise);")},
		code:  plan.CodeExportChanged, at: "kernel/irq_work.c", sym: "arch_irq_work_raise", words: []string{"newly exported", "leave them as they are"},
	},
	{
		name:  "export removed",
		edits: []edit{sub("kernel/irq_work.c", "EXPORT_SYMBOL_GPL(irq_work_queue);", "")},
		code:  plan.CodeExportChanged, at: "kernel/irq_work.c", sym: "irq_work_queue", words: []string{"no longer exported"},
	},
	{
		name:  "export that is for everybody now",
		edits: []edit{sub("kernel/irq_work.c", "EXPORT_SYMBOL_GPL(irq_work_queue);", "EXPORT_SYMBOL(irq_work_queue);")},
		code:  plan.CodeExportChanged, at: "kernel/irq_work.c", sym: "irq_work_queue", words: []string{"exported for GPL modules and is for all modules", "leave them as they are"},
	},
	{
		name:  "export that moves into a namespace",
		edits: []edit{sub("kernel/irq_work.c", "EXPORT_SYMBOL_GPL(irq_work_queue);", "EXPORT_SYMBOL_NS_GPL(irq_work_queue, NEW);")},
		code:  plan.CodeExportChanged, at: "kernel/irq_work.c", sym: "irq_work_queue", words: []string{"in namespace NEW", "leave them as they are"},
	},
	{
		name: "CRC",
		edits: []edit{
			sub("drivers/base/class.c", "#include \"base.h\"", "#include <linux/blkdev.h>\n#include <linux/netdevice.h>\n#include \"base.h\""),
			sub("drivers/base/class.c", "kmalloc(sizeof(struct class_compat), GFP_KERNEL)", "kzalloc(sizeof(struct class_compat), GFP_KERNEL)"),
		},
		code: plan.CodeCRCChanged, at: "drivers/base/class.c", sym: "class_compat_create_link",
		words: []string{"version of the exported symbol changes from 0x0b670d1d", "#include", "keep the types"},
	},
	{
		name:  "layout",
		edits: []edit{sub("drivers/base/class.c", "struct class_compat {", "struct class_compat {\n\tint more;")},
		code:  plan.CodeLayoutChanged, at: "drivers/base/class.c", sym: "struct class_compat", words: []string{"memory of the running kernel", "more", "shadow"},
	},
	{ // called from assembler code
		name:  "interface",
		edits: []edit{sub("arch/x86/entry/common.c", "noinstr long do_SYSENTER_32(struct pt_regs *regs)\n{", "noinstr long do_SYSENTER_32(struct pt_regs *regs, int more)\n{\n\tif (more) return 1;")},
		code:  plan.CodeInterfaceChanged, at: "arch/x86/entry/common.c", sym: "function do_SYSENTER_32", words: []string{"other translation units call it", "keep its parameters"},
		also: []string{plan.CodeNoFentry},
	},
	{
		name:  "static with two meanings",
		edits: []edit{sub("fs/drop_caches.c", "\tif (ret)\n\t\treturn ret;", "\tif (ret) {\n\t\tstatic int stfu;\n\t\tif (stfu++ > 5)\n\t\t\treturn -EIO;\n\t\treturn ret;\n\t}")},
		code:  plan.CodeAmbiguousStatic, at: "fs/drop_caches.c", sym: "stfu", words: []string{"drop_caches_sysctl_handler", "distinct names"},
	},
	{ // the new variable is used by the same parts of the function as the old one was, the old one no longer
		name: "static that takes another's place",
		edits: []edit{
			sub("fs/drop_caches.c", "\tif (ret)\n\t\treturn ret;", "\tif (ret) {\n\t\tstatic int stfu;\n\t\tif (!stfu)\n\t\t\tpr_info(\"no\\n\");\n\t\tstfu |= *length & 4;\n\t\treturn ret;\n\t}"),
			sub("fs/drop_caches.c", "\t\tif (!stfu) {\n\t\t\tpr_info(\"%s (%d): drop_caches: %d\\n\",\n\t\t\t\tcurrent->comm, task_pid_nr(current),\n\t\t\t\tsysctl_drop_caches);\n\t\t}\n", ""),
		},
		code: plan.CodeAmbiguousStatic, at: "fs/drop_caches.c", sym: "stfu", words: []string{"drop_caches_sysctl_handler", "distinct names"},
	},
	{
		name:  "directory without tracing",
		edits: []edit{sub("lib/kstrtox.c", "\tif (!s)\n\t\treturn -EINVAL;", "\tif (!s || !*s)\n\t\treturn -EINVAL;")},
		code:  plan.CodeNoFentry, at: "lib/kstrtox.c", sym: "kstrtobool", words: []string{"__fentry__", "callers"},
	},
	{
		name:  "notrace",
		edits: []edit{sub("kernel/trace/trace_clock.c", "clock = sched_clock();", "clock = sched_clock() + 1;")},
		code:  plan.CodeNoFentry, at: "kernel/trace/trace_clock.c", sym: "trace_clock_local", words: []string{"__fentry__", "notrace"},
	},
	{
		name:  "weak",
		edits: []edit{sub("kernel/irq_work.c", "\t * Lame architectures will get the timer tick callback\n\t */", "\t */\n\tpr_info(\"lame\\n\");")},
		code:  plan.CodeWeakOverridden, at: "kernel/irq_work.c", sym: "arch_irq_work_raise", words: []string{"weak", "another object's", "definition that the kernel uses"},
	},
	{
		name:  "unresolved",
		edits: showing("void no_kernel_has_this(void);", "no_kernel_has_this();"),
		code:  plan.CodeUnresolved, at: cmdline, sym: "no_kernel_has_this", words: []string{"no global symbol", "another fix"},
	},
	{
		name:  "static key of a module",
		edits: []edit{sub("net/bridge/br_mst.c", "void br_mst_uninit(struct net_bridge *br)\n{", "void br_mst_uninit(struct net_bridge *br)\n{\n\tif (static_branch_unlikely(&br_mst_used))\n\t\tpr_info(\"used\\n\");")},
		code:  plan.CodeModuleStaticKey, at: "net/bridge/br_mst.c", sym: "br_mst_used", words: []string{"br_mst_uninit", "module bridge owns it", "static_key_enabled"},
	},
	{
		name:  "static call of a module",
		edits: []edit{sub("arch/x86/kvm/irq.c", "\t__kvm_migrate_pit_timer(vcpu);", "\t__kvm_migrate_pit_timer(vcpu);\n\t__kvm_migrate_apic_timer(vcpu);")},
		code:  plan.CodeModuleStaticCall, at: "arch/x86/kvm/irq.c", sym: "__SCK__kvm_x86_migrate_timers", words: []string{"__kvm_migrate_timers", "module kvm owns it", "static_call_query"},
	},
	{
		name:  "address inside a function",
		edits: showing("", "{ static const void *const where[] = { &&one, &&two }; goto *where[m->count & 1]; one: seq_putc(m, ' '); two: ; }"),
		code:  plan.CodeUnsupportedCode, at: cmdline, sym: "where", words: []string{"inside cmdline_proc_show", "label"},
	},
	{
		name:  "variable that no running code refers to",
		edits: []edit{sub("drivers/block/loop.c", "\tif (lo->sysfs_inited)\n", "\tloop_attr_offset.attr.mode = 0400;\n\tif (lo->sysfs_inited)\n")},
		code:  plan.CodeUnproved, at: "drivers/block/loop.c", sym: "loop_attr_offset", words: []string{"no code that could be matched"},
	},
	{
		name: "no function",
		edits: []edit{
			sub(cmdline, "seq_putc(m, '\\n');", "seq_puts(m, \" \\n\");"),
			sub("drivers/block/loop.c", "static int __init loop_init(void)", "int loop_more(void);\nint loop_more(void) { return max_loop; }\nstatic int __init loop_init(void)"),
		},
		code: plan.CodeNoFunction, words: []string{"changes none of its functions", "leave that file out"},
	},
	{
		name:  "half of a fix",
		edits: showing("int kmend_new;\nvoid kmend_set(void);\nvoid kmend_set(void) { kmend_new = 1; }", "if (kmend_new) seq_putc(m, 'x');"),
		code:  plan.CodeNeverCalled, at: cmdline, sym: "kmend_new", words: []string{"what sets it up is kmend_set", "give the whole fix"},
	},
	{
		name:  "half of a fix: a lock",
		edits: showing("struct mutex kmend_new;\nvoid kmend_set(void);\nvoid kmend_set(void) { mutex_init(&kmend_new); }", "mutex_lock(&kmend_new); mutex_unlock(&kmend_new);"),
		code:  plan.CodeNeverCalled, at: cmdline, sym: "kmend_new", words: []string{"what sets it up is kmend_set"},
	},
}
