// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch that can never be complete: a kernel thread sleeps in the old
 * function for ever. The new function is never called.
 */
#include <linux/module.h>
#include <linux/livepatch.h>

static int livepatch_kswapd(void *p)
{
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "kswapd", .new_func = livepatch_kswapd },
	{ }
};
static struct klp_object objs[] = { { .funcs = funcs }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

static int __init lp_init(void) { return klp_enable_patch(&patch); }
static void __exit lp_exit(void) { }
module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
