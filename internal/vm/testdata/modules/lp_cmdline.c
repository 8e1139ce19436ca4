// SPDX-License-Identifier: GPL-2.0
/* Livepatch of the kernel image: /proc/cmdline says something else. */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>

#ifndef REPLACE
#define REPLACE false
#endif

static int livepatch_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "this has been live patched\n");
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = livepatch_cmdline_proc_show },
	{ }
};
static struct klp_object objs[] = { { .funcs = funcs }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .replace = REPLACE };

static int __init lp_init(void)
{
#ifdef PINNED
	__module_get(THIS_MODULE);
#endif
	return klp_enable_patch(&patch);
}

static void __exit lp_exit(void) { }
module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
