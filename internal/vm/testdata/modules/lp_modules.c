// SPDX-License-Identifier: GPL-2.0
/*
 * Livepatch of two modules: pktgen runs anywhere, coretemp refuses to start on
 * a processor without the sensor.
 */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>
#include <linux/device.h>

static int livepatch_pgctrl_show(struct seq_file *seq, void *v)
{
	seq_puts(seq, "pktgen has been live patched\n");
	return 0;
}

static ssize_t livepatch_show_label(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "live patched\n");
}

static struct klp_func pktgen_funcs[] = {
	{ .old_name = "pgctrl_show", .new_func = livepatch_pgctrl_show },
	{ }
};
static struct klp_func coretemp_funcs[] = {
	{ .old_name = "show_label", .new_func = livepatch_show_label },
	{ }
};
static struct klp_object objs[] = {
	{ .name = "pktgen", .funcs = pktgen_funcs },
	{ .name = "coretemp", .funcs = coretemp_funcs },
	{ }
};
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

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
