// SPDX-License-Identifier: GPL-2.0
/*
 * fs/proc/cmdline.c with a function that jumps to a helper which sleeps: then
 * the function itself is on no stack.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static noinline int sleeper(struct seq_file *m)
{
	msleep(4000);
	seq_puts(m, "slept\n");
	return 0;
}

static int cmdline_proc_show(struct seq_file *m, void *v)
{
	return sleeper(m);
}

static int __init proc_cmdline_init(void)
{
	proc_create_single("cmdline", 0, NULL, cmdline_proc_show);
	return 0;
}
fs_initcall(proc_cmdline_init);
