// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

func graph(t *testing.T, tr *Tree) *includeGraph {
	t.Helper()
	g, err := tr.includeGraphOf(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// preprocessed lists the files of the tree that GCC reads for a command, as the
// graph names them.
func preprocessed(t *testing.T, tr *Tree, c *Command) []string {
	t.Helper()
	var argv []string
	for i := 0; i < len(c.Gcc); i++ {
		switch a := c.Gcc[i]; {
		case a == "-c", strings.HasPrefix(a, "-Wp,-MMD"):
		case a == "-o":
			i++
		default:
			argv = append(argv, a)
		}
	}
	cmd := exec.Command(argv[0], append(argv[1:], "-M", "-MT", "x")...)
	cmd.Dir = tr.cfg.ObjDir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", c.Source, err)
	}
	deps, err := parseDeps(string(out))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range deps {
		if p, ok := tr.graphPath(d); ok {
			names = append(names, p)
		}
	}
	return names
}

// Whatever GCC reads for a unit, the unit is among the users of it: checked for
// units picked at random over the whole kernel.
func TestUsersAreASuperset(t *testing.T) {
	tr := tree(t)
	g := graph(t, tr)
	if len(g.open) > 0 {
		t.Errorf("what these include is not bounded: %v", g.open)
	}
	rnd := rand.New(rand.NewPCG(6, 1))
	var units []string
	for _, i := range rnd.Perm(len(g.files))[:600] {
		if isUnit(g.files[i], "") {
			units = append(units, g.files[i])
		}
	}
	units = append(units, "kernel/sched/build_policy.c", "drivers/gpu/drm/i915/i915_trace_points.c", "kernel/trace/trace.c", "arch/x86/kvm/x86.c", "drivers/block/drbd/drbd_main.c")
	built, err := tr.Built(context.Background(), units)
	if err != nil {
		t.Fatal(err)
	}
	if len(built) < 40 {
		t.Fatalf("only %d units", len(built))
	}
	pairs := 0
	for _, c := range built[len(built)-40:] {
		pairs += checkUnit(t, tr, g, c, rnd)
	}
	t.Logf("%d files read by 40 units", pairs)
}

// checkUnit follows the graph from a unit over what GCC really read, which it
// must reach whole.
func checkUnit(t *testing.T, tr *Tree, g *includeGraph, c *Command, rnd *rand.Rand) int {
	t.Helper()
	deps := preprocessed(t, tr, c)
	includes := map[string][]string{} // within deps
	for _, d := range deps {
		for _, f := range g.includers(d) {
			includes[f] = append(includes[f], d)
		}
	}
	_, forced := tr.searchDirs(c)
	for _, f := range forced { // every unit has them: changes must be refused
		if !slices.ContainsFunc(g.includers(f), func(m string) bool { return isMakefile(path.Base(m)) }) {
			t.Errorf("%s: no makefile is known to give -include %s", c.Source, f)
		}
	}
	reached := map[string]bool{}
	todo := append([]string{c.Source}, forced...)
	for len(todo) > 0 {
		f := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !reached[f] {
			reached[f] = true
			todo = append(todo, includes[f]...)
		}
	}
	for i, d := range deps {
		if !reached[d] {
			t.Errorf("%s reads %s, and is not known to", c.Source, d)
		}
		if path.Dir(d) == path.Dir(c.Source) && d != c.Source || i == rnd.IntN(len(deps)) {
			if !tr.mayRead(g, c, d, g.closure(d)) {
				t.Errorf("%s reads %s, and its -I directories are not seen to lead there", c.Source, d)
			}
		}
	}
	return len(deps)
}

func TestUsers(t *testing.T) {
	tr := tree(t)
	ctx := context.Background()
	for file, want := range map[string][]string{
		"kernel/sched/rt.c":             {"kernel/sched/build_policy.c"},
		"kernel/sched/sched.h":          {"kernel/sched/build_policy.c", "kernel/sched/build_utility.c", "kernel/sched/core.c", "kernel/sched/fair.c"},
		"fs/binfmt_elf.c":               {"fs/binfmt_elf.c", "fs/compat_binfmt_elf.c"},
		"fs/proc/cmdline.c":             {"fs/proc/cmdline.c"},
		"fs/proc/task_nommu.c":          nil, // not built
		"drivers/block/zram/zram_drv.h": {"drivers/block/zram/zram_drv.c"},
	} {
		for range 2 { // the second time from what is remembered
			cs, err := tr.Users(ctx, file)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range cs {
				got = append(got, c.Source)
			}
			if !slices.Equal(got, want) {
				t.Errorf("users of %s: %v, want %v", file, got, want)
			}
		}
	}
	for file, want := range map[string]struct {
		word  string
		least int
	}{
		"include/linux/sched.h":                            {"so may", 10000},
		"include/linux/kconfig.h":                          {"so may", 10000}, // -include
		"include/linux/jbd2.h":                             {"more than the limit", MaxUsers + 1},
		"lib/crypto/sha256.c":                              {"arch/x86/purgatory/Makefile", 0}, // compiled a second time there
		"include/scsi/scsi_devinfo.h":                      {"drivers/scsi/Makefile", 1},       // read by sed
		"security/selinux/include/initial_sid_to_string.h": {"scripts/selinux", 0},             // read by a program of the build
		"include/linux/raid/pq.h":                          {"so may", 1},                      // lib/raid6/int.uc is made C of
		"arch/x86/kvm/svm/svm.h":                           {"arch/x86/kvm/", 1},               // kvm-asm-offsets.c
		"arch/x86/include/asm/desc.h":                      {"so may", 1000},
	} {
		_, err := tr.Users(ctx, file)
		var ue *UsersError
		if !errors.As(err, &ue) {
			t.Errorf("users of %s: %v", file, err)
			continue
		}
		if !strings.Contains(ue.Reason(), want.word) || ue.Count < want.least || ue.Path != file || ue.Code() != "header-changed" {
			t.Errorf("users of %s: %+v: %v", file, ue, err)
		}
	}
}

// A stored graph that is damaged is made again.
func TestStoredGraph(t *testing.T) {
	tr := tree(t)
	g := &includeGraph{files: []string{"a.c", "b.h"}, includes: [][]include{{{incQuoted, "b.h"}, {incAngled, "x/b.h"}}, {}}, open: []string{"b.h"}}
	if err := tr.storeGraph("x", g); err != nil {
		t.Fatal(err)
	}
	back := tr.storedGraph("x")
	if back == nil || !slices.Equal(back.files, g.files) || !slices.Equal(back.includes[0], g.includes[0]) || len(back.includes[1]) != 0 || !slices.Equal(back.open, g.open) {
		t.Fatalf("%+v", back)
	}
	data, err := os.ReadFile(tr.graphFile("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, data[:20], data[:len(data)-1], append(slices.Clone(data[:len(data)-1]), data[len(data)-1]^1)} {
		if err := os.WriteFile(tr.graphFile("x"), bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if tr.storedGraph("x") != nil {
			t.Errorf("%d of %d bytes are taken for a graph", len(bad), len(data))
		}
	}
}
