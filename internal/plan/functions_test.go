// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

func askFor(t *testing.T, k *kernel.Kernel, specs ...plan.FunctionSpec) (*plan.Build, error) {
	t.Helper()
	return plan.Make(t.Context(), plan.Request{Kernel: k, Name: "livepatch_test", Functions: specs})
}

// A function as it is: itself, and all that depends on its body.
func TestFunctionsAsTheyAre(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		spec    plan.FunctionSpec
		want    string // functions with the kinds of their reasons
		warning string
	}{
		{plan.FunctionSpec{File: cmdline, Name: "cmdline_proc_show"}, "cmdline_proc_show requested", ""},
		{plan.FunctionSpec{Name: "cmdline_proc_show"}, "cmdline_proc_show requested", ""},
		{plan.FunctionSpec{File: "kernel/kcmp.c", Name: "kcmp_ptr"}, "__ia32_sys_kcmp calls __x64_sys_kcmp calls", "no-symbol"},
		{plan.FunctionSpec{File: "kernel/kcmp.c", Name: "sys_kcmp"}, "__ia32_sys_kcmp calls __x64_sys_kcmp calls", ""},
		{plan.FunctionSpec{File: "kernel/freezer.c", Name: "__freeze_task"}, "freeze_task inlines", "no-symbol"},
		{plan.FunctionSpec{File: "fs/drop_caches.c", Name: "drop_pagecache_sb"}, "drop_pagecache_sb requested", ""},
	} {
		t.Run(c.spec.String(), func(t *testing.T) {
			b, err := askFor(t, k, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if b.Plan.Verdict != plan.Patch {
				t.Fatalf("verdict %s: %v", b.Plan.Verdict, b.Plan.Refusals)
			}
			var got []string
			for _, f := range b.Plan.Objects[0].Functions {
				got = append(got, f.Name+" "+f.Reason.Kind)
				t.Log(f.Name, f.Reason)
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("replaced %q, want %q", text, c.want)
			}
			if has := slices.ContainsFunc(b.Plan.Warnings, func(w plan.Warning) bool { return w.Code == c.warning }); has != (c.warning != "") {
				t.Errorf("warnings %v, want %q", b.Plan.Warnings, c.warning)
			}
		})
	}
}

// What cannot be found is said with what was looked for, and what could be meant.
func TestFunctionsThatAreNone(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		spec  plan.FunctionSpec
		code  string
		words []string
	}{
		{plan.FunctionSpec{File: cmdline, Name: "cmdline_proc_shwo"}, plan.CodeUnknownFunction, []string{"near names: cmdline_proc_show", "check the name"}},
		{plan.FunctionSpec{File: "fs/proc/nosuch.c", Name: "vfs_read"}, plan.CodeUnknownFile, []string{"fs/proc/nosuch.c", "defined in fs/read_write.c"}},
		{plan.FunctionSpec{File: "../../etc/passwd", Name: "root"}, plan.CodeUnknownFile, []string{"no file ../../etc/passwd"}},
		{plan.FunctionSpec{File: "include/linux/list.h", Name: "list_add"}, plan.CodeUnknownFile, []string{"UNIT.c:list_add"}},
		{plan.FunctionSpec{Name: "proc_single_open"}, plan.CodeSeveralDefinitions, []string{"2 units of this kernel define it", "fs/proc/base.c", "fs/proc/generic.c", "FILE:proc_"}},
		{plan.FunctionSpec{Name: "cmdline_proc_shwo"}, plan.CodeUnknownFunction, []string{"near names", "cmdline_proc_show"}},
		{plan.FunctionSpec{File: "mm/interval_tree.c", Name: "anon_vma_interval_tree_verify"}, plan.CodeNoCode, []string{"GCC made no code of it"}},
		{plan.FunctionSpec{File: "fs/proc/cmdline.c", Name: "fs_initcall"}, plan.CodeMacroOnly, []string{"include/linux/init.h:", "name the functions"}},
	} {
		t.Run(c.spec.String(), func(t *testing.T) {
			b, err := askFor(t, k, c.spec)
			var fe *plan.FunctionError
			if !errors.As(err, &fe) || fe.Code != c.code || b != nil {
				t.Fatalf("error %v, want code %s", err, c.code)
			}
			t.Log(err)
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %q", w, err)
				}
			}
		})
	}
}

// What is a function and cannot be replaced is refused.
func TestFunctionsRefused(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		spec plan.FunctionSpec
		code string
	}{
		{plan.FunctionSpec{File: cmdline, Name: "proc_cmdline_init"}, plan.CodeInitCode},
		{plan.FunctionSpec{File: "arch/x86/entry/common.c", Name: "do_syscall_64"}, plan.CodeNoFentry},
		{plan.FunctionSpec{File: "arch/arm/mm/init.c", Name: "free_initmem"}, plan.CodeNotBuilt},
		{plan.FunctionSpec{File: "lib/string.c", Name: "strcspn"}, plan.CodePatchingPath},
	} {
		t.Run(c.spec.String(), func(t *testing.T) {
			b, err := askFor(t, k, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if b.Plan.Verdict != plan.Refused || len(b.Pieces) > 0 || len(b.Plan.Refusals) == 0 || b.Plan.Refusals[0].Code != c.code {
				t.Errorf("verdict %s: %v, want %s", b.Plan.Verdict, b.Plan.Refusals, c.code)
			}
		})
	}
}
