// SPDX-License-Identifier: Apache-2.0

package runpre_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/runpre"
)

// sourcesFile names a file with the sources to measure instead of the usual
// ones, one path a line, relative to the source root.
const sourcesFile = "KMEND_RUNPRE_SOURCES"

var stockSources = []string{
	"fs/proc/cmdline.c", "fs/proc/loadavg.c", "kernel/fork.c", "kernel/sys.c", "mm/mmap.c", "net/ipv4/tcp_ipv4.c",
	"security/keys/user_defined.c", "security/selinux/ss/policydb.c",
	"drivers/block/loop.c", "drivers/net/usb/cdc_ncm.c", "drivers/usb/typec/class.c", "fs/nilfs2/btree.c", "net/sctp/sm_statefuns.c",
}

// figures are what is measured over all units.
type figures struct {
	units, funcs, weak int
	verdicts           map[runpre.Verdict]int
	rules              map[runpre.Rule]int
	spent, slowest     time.Duration
}

// Every function of the stock kernel's sources equals what the kernel's
// package ships, but for weak ones that another object overrides.
func TestStockKernel(t *testing.T) {
	k := kerneltest.Open(t)
	kerneltest.Image(t, k).Symbols().Lookup("_text") // builds the index: not the first unit's cost
	sum := figures{verdicts: map[runpre.Verdict]int{}, rules: map[runpre.Rule]int{}}
	matches := map[string]*runpre.UnitMatch{}
	for _, u := range stockUnits(t, k) {
		m, spent := matchUnit(t, k, u)
		matches[u.source] = m
		sum.add(t, u, m, spent)
	}
	t.Logf("%d units, %d functions: %v, %d of the mismatches weak; functions that needed a rule: %v; %v in all, %v the slowest unit",
		sum.units, sum.funcs, sum.verdicts, sum.weak, sum.rules, sum.spent, sum.slowest)
	if os.Getenv(sourcesFile) != "" {
		return
	}
	if sum.funcs < 800 || sum.rules[runpre.RuleBranchWidth] == 0 || sum.weak == 0 {
		t.Error("the sample lacks what it was chosen for")
	}
	if !strings.HasPrefix(k.Release, "6.1.0-") {
		return
	}
	// A local and a global function share the name.
	local, global := outcome(t, matches["security/selinux/ss/policydb.c"], "user_read"), outcome(t, matches["security/keys/user_defined.c"], "user_read")
	if local.Symbol.Sympos+global.Symbol.Sympos != 3 || local.Symbol.Global || !global.Symbol.Global {
		t.Errorf("user_read: %+v and %+v, want positions 1 and 2", local.Symbol, global.Symbol)
	}
	// Two functions of one module share name and code.
	if m := outcome(t, matches["drivers/usb/typec/class.c"], "description_show"); m.Symbol.Sympos == 0 {
		t.Errorf("description_show: %+v", m.Symbol)
	}
	// A weak function of fs/proc/meminfo.c that arch/x86 overrides lies behind it.
	if m := outcome(t, matches["fs/proc/loadavg.c"], "loadavg_proc_show"); m.Verdict != runpre.Equal || m.Normalised[runpre.RuleNameless] != 1 {
		t.Errorf("loadavg_proc_show: %s, levelled %v: %s", m.Verdict, m.Normalised, m.Why)
	}
	if m := outcome(t, matches["fs/proc/cmdline.c"], "cmdline_proc_show"); !m.Fentry {
		t.Errorf("cmdline_proc_show: %+v", m)
	}
}

func outcome(t *testing.T, m *runpre.UnitMatch, name string) *runpre.FuncMatch {
	t.Helper()
	for s, r := range m.Funcs {
		if s.Name == name {
			return r
		}
	}
	t.Fatalf("no function %s", name)
	return nil
}

type stockUnit struct {
	source  string
	modules []string
	object  *object.File
}

// stockUnits compiles the sources as the kernel's packagers did.
func stockUnits(t *testing.T, k *kernel.Kernel) []stockUnit {
	t.Helper()
	sources := stockSources
	if name := os.Getenv(sourcesFile); name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = strings.Fields(string(b))
	}
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	commands, err := tree.Commands(ctx, sources)
	if err != nil && os.Getenv(sourcesFile) == "" {
		t.Fatal(err)
	}
	var out []stockUnit
	for _, c := range commands {
		if c == nil {
			continue
		}
		r, err := tree.Compile(ctx, kbuild.Job{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		f, err := object.Read(r.Object)
		if err != nil {
			t.Fatalf("%s: %v", c.Source, err)
		}
		out = append(out, stockUnit{c.Source, c.Modules, f})
	}
	return out
}

func matchUnit(t *testing.T, k *kernel.Kernel, u stockUnit) (*runpre.UnitMatch, time.Duration) {
	t.Helper()
	img := kerneltest.Image(t, k)
	var ko *object.File
	if u.modules != nil {
		var err error
		if ko, err = object.Read(kerneltest.ModuleData(t, k, u.modules[0])); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	var m *runpre.UnitMatch
	var err error
	if ko != nil {
		m, err = runpre.ModuleUnit(ko, u.object, nil)
	} else {
		m, err = runpre.VmlinuxUnit(img, u.object, nil)
	}
	if err != nil {
		t.Fatalf("%s: %v", u.source, err)
	}
	return m, time.Since(start)
}

func (s *figures) add(t *testing.T, u stockUnit, m *runpre.UnitMatch, spent time.Duration) {
	t.Helper()
	s.units++
	s.spent += spent
	s.slowest = max(s.slowest, spent)
	var complaints []string
	for fn, r := range m.Funcs {
		s.funcs++
		s.verdicts[r.Verdict]++
		for rule := range r.Normalised {
			s.rules[rule]++
		}
		if r.Verdict == runpre.Mismatch && r.Weak {
			s.weak++
		} else if r.Verdict != runpre.Equal {
			complaints = append(complaints, fmt.Sprintf("%s: %s is %s at %#x: %s", u.source, fn.Name, r.Verdict, r.Offset, r.Why))
		}
	}
	slices.Sort(complaints)
	for _, c := range complaints {
		if os.Getenv(sourcesFile) != "" {
			t.Log(c)
		} else {
			t.Error(c)
		}
	}
}
