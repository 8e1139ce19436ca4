// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// Functions of the stock kernel, of several kinds, come out of their files as
// out of their units, and what was decided is told.
func TestIdentical(t *testing.T) {
	k := kerneltest.Open(t)
	for _, c := range []struct {
		what      string
		spec      plan.FunctionSpec
		functions []string // replaced
		decisions []string // name decision, those that must be among them
		text      []string
	}{
		{"plain", plan.FunctionSpec{File: "fs/proc/cmdline.c", Name: "cmdline_proc_show"}, []string{"cmdline_proc_show"},
			[]string{"saved_command_line include"}, []string{"seq_puts(m, saved_command_line);"}},
		{"static local", plan.FunctionSpec{File: "fs/drop_caches.c", Name: "drop_caches_sysctl_handler"}, []string{"drop_caches_sysctl_handler"},
			[]string{"drop_pagecache_sb declare"}, []string{"static int stfu;", "pr_info("}},
		{"warning that comes once", plan.FunctionSpec{File: "kernel/freezer.c", Name: "__set_task_frozen"}, []string{"__set_task_frozen"},
			nil, []string{"WARN_ON_ONCE("}},
		{"system call", plan.FunctionSpec{File: "kernel/kcmp.c", Name: "sys_kcmp"}, []string{"__ia32_sys_kcmp", "__x64_sys_kcmp"},
			nil, []string{"klpp___x64_sys_kcmp("}},
		{"module", plan.FunctionSpec{File: "drivers/net/dummy.c", Name: "dummy_xmit"}, []string{"dummy_xmit"}, nil, []string{"dev_lstats_add("}},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := made(t, k, asked(t, k, c.spec), Options{})
			u := r.Units[0]
			var names []string
			for _, p := range u.Object.Unpatched {
				if p.Verdict != plan.ProofIdentical {
					t.Errorf("proof %+v", p)
				}
				names = append(names, p.Function)
			}
			slices.Sort(names)
			for _, f := range c.functions {
				if !slices.Contains(names, f) {
					t.Errorf("no proof of %s among %q", f, names)
				}
			}
			if !u.Object.TextEqual {
				t.Error("the texts are not equal")
			}
			for _, d := range c.decisions {
				name, what, _ := strings.Cut(d, " ")
				if !slices.ContainsFunc(u.Object.Decisions, func(d plan.Decision) bool { return d.Name == name && d.Decision == what }) {
					t.Errorf("no decision %s among %+v", d, u.Object.Decisions)
				}
			}
			for _, s := range c.text {
				if !strings.Contains(string(u.File.Text), s) {
					t.Errorf("the text has no %q:\n%s", s, u.File.Text)
				}
			}
		})
	}
}
