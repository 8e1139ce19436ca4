// SPDX-License-Identifier: GPL-2.0
/*
 * fs/proc/cmdline.c with a function that needs an entry in every special
 * section. The tests compile it with the kernel's own flags and load it.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/jump_label.h>
#include <linux/static_call.h>
#include <linux/sched.h>
#include <linux/tick.h>
#include <linux/memcontrol.h>
#include <trace/events/sched.h>

static atomic_t calls;
static int plain = 7;
static const char *const words[] = { "one", "two", "three" };

/* New functions: one called, one reached by a jump, one that is mostly cold. */
static noinline int helper(int n)
{
	atomic_add(n, &calls);
	return atomic_read(&calls);
}

static noinline int tail(struct seq_file *m, int n)
{
	seq_printf(m, " tail=%d", n);
	return 0;
}

static noinline int (*pick(int n))(struct seq_file *, int)
{
	return n > 100 ? NULL : tail;
}

static noinline int user_bytes(void)
{
	int n;

	if (!user_access_begin((int __user *)8, sizeof(n)))	/* .altinstructions */
		return -EPERM;
	unsafe_get_user(n, (int __user *)8, fault);	/* __ex_table */
	user_access_end();
	return n;
fault:
	user_access_end();
	return -EFAULT;
}

static int cmdline_proc_show(struct seq_file *m, void *v)
{
	int (*fn)(struct seq_file *, int);
	unsigned long flags;
	int n = 0, left;

	seq_puts(m, saved_command_line);		/* not exported */
	left = user_bytes();
	seq_printf(m, " fault=%d", left);
	if (WARN_ON_ONCE(READ_ONCE(plain) != 7))		/* __bug_table */
		return -EINVAL;
	WARN_ONCE(READ_ONCE(plain) == 8, "plain is %d\n", plain);	/* .data.once */
	pr_debug("cmdline was read by %s\n", current->comm);	/* __dyndbg, __jump_table */
	if (static_branch_likely(&memcg_kmem_enabled_key))	/* __jump_table, key in vmlinux */
		seq_puts(m, " kmem");
	if (static_cpu_has(X86_FEATURE_PKU))		/* .altinstructions, .altinstr_aux */
		seq_puts(m, " pku");
	cond_resched();					/* .static_call_sites */
	local_irq_save(flags);				/* .parainstructions */
	local_irq_restore(flags);
	trace_sched_waking(current);			/* tracepoint: __jump_table, static call */
	fn = pick(helper(1));
	if (!fn)
		return -ERANGE;
	seq_printf(m, " %s", words[n % 3]);
	seq_printf(m, " calls=%d", helper(1));		/* .smp_locks */
	seq_puts(m, " all-special");
	return fn(m, n);				/* .retpoline_sites, tail call */
}

static int __init proc_cmdline_init(void)
{
	proc_create_single("cmdline", 0, NULL, cmdline_proc_show);
	return 0;
}
fs_initcall(proc_cmdline_init);
