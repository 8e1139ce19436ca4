// SPDX-License-Identifier: Apache-2.0

package plan_test

import (
	"regexp"
	"strings"
	"testing"

	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/plan"
)

// busy are units with much of what notices lines: warnings, might_sleep,
// dynamic debug, static calls, jump labels, once flags.
var busy = []string{"net/ipv4/tcp_ipv4.c", "fs/namei.c", "kernel/fork.c", "drivers/block/loop.c", "net/core/sock.c"}

var (
	bodyOpen  = regexp.MustCompile(`(?m)^\{\n`)
	returning = regexp.MustCompile(`(?m)^(\t+)(return [^;\n]*;)$`)
	noticing  = regexp.MustCompile(`(?m)^(\t+)((?:WARN|BUG|might_sleep|pr_|net_dbg|lockdep_assert)\w*)\(([^\n]*[^\\\n])$`)
	condition = regexp.MustCompile(`(?m)^(\t+)if \((!?\w+)\)$`)
)

// Changes of the text that change no code must be seen as such.
func TestNothingToDo(t *testing.T) {
	k := kerneltest.Open(t)
	for _, change := range []struct {
		name string
		edit func(string) string
	}{
		{"comments and blank lines in front and in every function", func(s string) string {
			s = bodyOpen.ReplaceAllString("/*\n * nothing\n */\n"+s, "{\n\t/* nothing,\n\t * on two lines */\n\n")
			return returning.ReplaceAllString(s, "$1$2 // as before")
		}},
		{"lines broken, also of what notices its line", func(s string) string {
			s = noticing.ReplaceAllString(s, "$1$2\n$1\t($3")
			return condition.ReplaceAllString(s, "${1}if\n$1    (\n$1     $2\n$1    )")
		}},
	} {
		t.Run(change.name, func(t *testing.T) {
			var diff []byte
			for _, file := range busy {
				diff = append(diff, kerneltest.Rewrite(t, k, file, change.edit)...)
			}
			b := makePlan(t, k, diff)
			if b.Plan.Verdict != plan.Nothing || len(b.Pieces) > 0 || len(b.Plan.Refusals) > 0 {
				t.Errorf("verdict %s", b.Plan.Verdict)
				for _, r := range b.Plan.Refusals {
					t.Errorf("%s\n%s", r, r.Detail)
				}
			}
			for _, f := range b.Plan.Files {
				if !f.Used {
					t.Errorf("%s was not compared", f.Path)
				}
			}
			for _, o := range b.Plan.Objects {
				for _, f := range o.Functions {
					t.Errorf("%s %s: %s", o.Name, f.Name, f.Difference)
				}
			}
			if n := strings.Count(string(diff), "\n@@ "); change.name[0] == 'l' && n < 100 {
				t.Errorf("only %d hunks: the change changes too little", n)
			}
		})
	}
}

// An object compared with itself differs in nothing, whatever is in it.
func TestObjectsAgainstThemselves(t *testing.T) {
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	sources := append([]string{
		cmdline, "fs/drop_caches.c", "kernel/irq_work.c", "drivers/base/class.c", "net/bridge/br_mst.c", "arch/x86/kvm/irq.c", "lib/kstrtox.c",
		"kernel/trace/trace_clock.c", "arch/x86/entry/common.c", "security/keys/user_defined.c",
	}, busy...)
	commands, err := tree.Commands(t.Context(), sources)
	if err != nil {
		t.Fatal(err)
	}
	if len(commands) < len(sources) {
		t.Fatalf("%d commands for %d sources", len(commands), len(sources))
	}
	kinds := map[delta.Kind]int{}
	for _, c := range commands {
		res, err := tree.Compile(t.Context(), kbuild.Job{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		var units [2]*delta.Unit
		for i := range units {
			f, err := object.Read(res.Object)
			if err != nil {
				t.Fatal(err)
			}
			if units[i], err = delta.NewUnit(f); err != nil {
				t.Fatal(err)
			}
		}
		r := delta.Compare(units[0], units[1])
		if !r.Empty() || len(r.Ambiguous) > 0 || len(r.Removed) > 0 {
			t.Errorf("%s: changed %v, new %d, data %d, problems %v, ambiguous %d", c.Source, r.Changed, len(r.New), len(r.NewData), r.Problems, len(r.Ambiguous))
		}
		for _, it := range units[0].Items {
			kinds[it.Kind]++
		}
	}
	for _, kind := range []delta.Kind{delta.Func, delta.Const, delta.Rodata, delta.State, delta.OnceFlag, delta.DebugSite, delta.PerCPU, delta.InitCode, delta.ExitCode, delta.Export} {
		if kinds[kind] == 0 {
			t.Errorf("no unit has %s: the test tests too little", kind)
		}
	}
}
