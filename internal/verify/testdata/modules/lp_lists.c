// SPDX-License-Identifier: GPL-2.0
/*
 * A livepatch whose init function makes struct klp_patch out of lists in
 * sections of their own, laid out as kpatch's are.
 */
#include <linux/module.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

#ifndef REPLACE
#define REPLACE false
#endif

static int new_cmdline(struct seq_file *m, void *v)
{
	seq_puts(m, "live patched\n");
	return 0;
}

static int new_pgctrl(struct seq_file *m, void *v)
{
	seq_puts(m, "live patched\n");
	return 0;
}

static int new_version(struct seq_file *m, void *v)
{
	seq_puts(m, "live patched\n");
	return 0;
}

static int before(struct klp_object *obj)
{
	return 0;
}

struct entry {
	unsigned long new_addr, new_size, old_addr, old_size, position;
	const char *name, *object;
};

struct callback {
	int (*call)(struct klp_object *obj);
	const char *object;
};

static struct entry list[] __used __section(".kpatch.funcs") = {
	{ (unsigned long)new_cmdline, 16, 0, 16, 1, "cmdline_proc_show", "vmlinux" },
	{ (unsigned long)new_pgctrl, 16, 0, 16, 0, "pgctrl_show", "pktgen" },
	{ (unsigned long)new_version, 16, 0, 16, 0, "version_proc_show", "vmlinux" },
};
static struct callback pre[] __used __section(".kpatch.callbacks.pre_patch") = { { before, "vmlinux" }, { } };

static struct klp_patch *patch;

static struct klp_func __init *functions_of(const char *object)
{
	struct klp_func *out = kcalloc(ARRAY_SIZE(list) + 1, sizeof(*out), GFP_KERNEL), *f = out;
	int i;

	for (i = 0; out && i < ARRAY_SIZE(list); i++)
		if (!strcmp(list[i].object, object)) {
			f->old_name = list[i].name;
			f->new_func = (void *)list[i].new_addr;
			f->old_sympos = list[i].position;
			f++;
		}
	return out;
}

static int __init lp_init(void)
{
	struct klp_object *objs = kcalloc(3, sizeof(*objs), GFP_KERNEL);

	patch = kzalloc(sizeof(*patch), GFP_KERNEL);
	if (!patch || !objs)
		return -ENOMEM;
	objs[0].funcs = functions_of("vmlinux");
	objs[0].callbacks.pre_patch = pre[0].call;
	objs[1].name = "pktgen";
	objs[1].funcs = functions_of("pktgen");
	if (!objs[0].funcs || !objs[1].funcs)
		return -ENOMEM;
	patch->mod = THIS_MODULE;
	patch->objs = objs;
	patch->replace = REPLACE;
	return klp_enable_patch(patch);
}

static void __exit lp_exit(void)
{
	kfree(patch->objs[0].funcs);
	kfree(patch->objs[1].funcs);
	kfree(patch->objs);
	kfree(patch);
}
module_init(lp_init);
module_exit(lp_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
