// SPDX-License-Identifier: GPL-2.0
/* Livepatch of a module that has no exit function: it stays once it is loaded. */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/netlink.h>

static int livepatch_vrf_validate(struct nlattr *tb[], struct nlattr *data[], struct netlink_ext_ack *extack)
{
	return -EPERM;
}

static struct klp_func funcs[] = {
	{ .old_name = "vrf_validate", .new_func = livepatch_vrf_validate },
	{ }
};
static struct klp_object objs[] = { { .name = "vrf", .funcs = funcs }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

static int __init lp_init(void) { return klp_enable_patch(&patch); }
static void __exit lp_exit(void) { }
module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
