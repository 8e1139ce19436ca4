// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch that replaces all others, with a callback. It knows an older
 * version of the system state of lp_hand, and one of its functions.
 */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>

static int livepatch_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "live patched\n");
	return 0;
}

static int before(struct klp_object *obj)
{
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = livepatch_cmdline_proc_show },
	{ }
};
static struct klp_object objs[] = {
	{ .funcs = funcs, .callbacks = { .pre_patch = before } },
	{ }
};
static struct klp_state states[] = { { .id = 7, .version = 1 }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .states = states, .replace = true };

static int __init lp_init(void) { return klp_enable_patch(&patch); }
static void __exit lp_exit(void) { }
module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
