// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch by hand, with references that kbuild cannot resolve: the test
 * turns them into klp relocations, as the tools of others do.
 */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>
#include <linux/init.h>

extern unsigned int pg_net_id; /* static in pktgen */

static int livepatch_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "live patched: %s\n", saved_command_line); /* not exported */
	return 0;
}

static int livepatch_pgctrl_show(struct seq_file *seq, void *v)
{
	seq_printf(seq, "live patched: %u\n", pg_net_id);
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = livepatch_cmdline_proc_show, .old_sympos = 1 },
	{ }
};
static struct klp_func pktgen_funcs[] = {
	{ .old_name = "pgctrl_show", .new_func = livepatch_pgctrl_show },
	{ }
};
static struct klp_object objs[] = {
	{ .funcs = funcs },
	{ .name = "pktgen", .funcs = pktgen_funcs },
	{ }
};
static struct klp_state states[] = { { .id = 7, .version = 2 }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .states = states };

static int __init lp_init(void) { return klp_enable_patch(&patch); }
static void __exit lp_exit(void) { }
module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
