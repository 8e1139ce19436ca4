// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// replaced lists what a plan replaces, as unit:function.
func replaced(p *plan.Plan) (out []string) {
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			out = append(out, f.Unit+":"+f.Name)
		}
	}
	slices.Sort(out)
	return out
}

// A changed header, or C file that others include, changes exactly the
// functions whose code has it, in every unit.
func TestIncludedFiles(t *testing.T) {
	k := kerneltest.Open(t)
	for _, tc := range []struct {
		name  string
		edits []edit
		want  []string
		via   string // the edited function that one of them inlines; "": it is edited itself
	}{
		{
			name:  "inline function of a header, several units",
			edits: []edit{sub("fs/pnode.h", "mnt->mnt.mnt_flags |= MNT_SHARED;", "mnt->mnt.mnt_flags |= MNT_SHARED | MNT_CURSOR;")},
			want:  []string{"fs/namespace.c:attach_recursive_mnt", "fs/namespace.c:clone_mnt", "fs/namespace.c:do_set_group", "fs/pnode.c:change_mnt_propagation"},
			via:   "set_mnt_shared",
		},
		{
			name:  "inline function of a header, one of its units",
			edits: []edit{sub("fs/proc/fd.h", "return PROC_I(inode)->fd;", "return PROC_I(inode)->fd + 1;")},
			want:  []string{"fs/proc/fd.c:proc_fd_link", "fs/proc/fd.c:seq_show", "fs/proc/fd.c:tid_fd_revalidate"},
			via:   "proc_fd",
		},
		{
			name:  "a C file that is only included",
			edits: []edit{sub("kernel/sched/rt.c", "\t\treturn sched_rr_timeslice;", "\t\treturn sched_rr_timeslice + 1;")},
			want:  []string{"kernel/sched/build_policy.c:get_rr_interval_rt"},
		},
		{
			name:  "a C file that is compiled and included",
			edits: []edit{sub("fs/binfmt_elf.c", "static int load_elf_library(struct file *file)\n{", "static int load_elf_library(struct file *file)\n{\n\tif (!file)\n\t\treturn -EIO;")},
			want:  []string{"fs/binfmt_elf.c:load_elf_library", "fs/compat_binfmt_elf.c:load_elf_library"},
		},
		{
			name: "a header and a C file that includes it",
			edits: []edit{
				sub("fs/proc/fd.h", "static inline unsigned int proc_fd(", "static inline int proc_no(struct inode *inode)\n{\n\treturn inode->i_ino & 1 ? -EIO : 0;\n}\n\nstatic inline unsigned int proc_fd("),
				sub("fs/proc/fd.c", "\tif (!task)\n\t\treturn -ENOENT;\n\n\ttask_lock(task);", "\tif (!task)\n\t\treturn -ENOENT;\n\tif (proc_no(m->private))\n\t\treturn proc_no(m->private);\n\n\ttask_lock(task);"),
			},
			want: []string{"fs/proc/fd.c:seq_show"},
		},
		{
			name:  "a header whose lines only move",
			edits: []edit{sub("fs/pnode.h", "static inline void set_mnt_shared", "/*\n * More about it.\n */\n\nstatic inline void set_mnt_shared")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := makePlan(t, k, kerneltest.Diff(t, k, tc.edits...)).Plan
			verdict := plan.Patch
			if tc.want == nil {
				verdict = plan.Nothing
			}
			if got := replaced(p); p.Verdict != verdict || !slices.Equal(got, tc.want) {
				t.Fatalf("%s: %v, want %v\n%v", p.Verdict, got, tc.want, p.Refusals)
			}
			for _, o := range p.Objects {
				for _, f := range o.Functions {
					if tc.via == "" && f.Reason.Kind != plan.Edited || tc.via != "" && !slices.Contains(f.Reason.Via, tc.via) {
						t.Errorf("%s is in since %+v", f.Name, f.Reason)
					}
				}
			}
		})
	}
}

// What includes a file may be too much, or nothing; what it declares may not
// change under code that runs.
func TestIncludedFilesRefused(t *testing.T) {
	k := kerneltest.Open(t)
	for _, tc := range []struct {
		edit edit
		code string
		why  string // pattern
	}{
		{sub("include/linux/sched.h", "struct task_struct {\n", "struct task_struct {\n\tint more;\n"), plan.CodeHeaderChanged, `up to \d{5} translation units may include it`},
		{sub("include/linux/jbd2.h", "static inline int is_journal_aborted(journal_t *journal)\n{", "static inline int is_journal_aborted(journal_t *journal)\n{\n\tbarrier();"), plan.CodeHeaderChanged, `: \d{2} translation units may include it, more than the limit`},
		{sub("lib/crypto/sha256.c", "#include <asm/unaligned.h>", "#include <asm/unaligned.h>\nint more;"), plan.CodeHeaderChanged, `arch/x86/purgatory/Makefile`},
		{sub("drivers/net/ethernet/freescale/fs_enet/fs_enet.h", "#include <linux/mii.h>", "#include <linux/mii.h>\nint more;"), plan.CodeNotBuilt, `no translation unit`},
		{sub("drivers/block/zram/zram_drv.h", "struct zram {\n", "struct zram {\n\tint more;\n"), plan.CodeLayoutChanged, `memory of the running kernel`},
		{sub("fs/pnode.h", "mnt->mnt.mnt_flags |= MNT_SHARED;", "mnt->mnt.no_such_flags |= MNT_SHARED;"), plan.CodeNotCompiled, `does not compile`},
	} {
		t.Run(tc.edit.File, func(t *testing.T) {
			p := makePlan(t, k, kerneltest.Diff(t, k, tc.edit)).Plan
			if p.Verdict != plan.Refused {
				t.Fatalf("verdict %s", p.Verdict)
			}
			for _, r := range p.Refusals {
				if r.Code == tc.code && regexp.MustCompile(tc.why).MatchString(r.Why) && r.Advice != "" {
					if tc.code == plan.CodeNotCompiled && !strings.Contains(r.Detail, "fs/pnode.h:") {
						t.Errorf("the error does not name the header: %s", r.Detail)
					}
					return
				}
			}
			t.Errorf("refused with %v, want %s", p.Refusals, tc.code)
		})
	}
}
