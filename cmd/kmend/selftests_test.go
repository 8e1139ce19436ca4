// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
	"kmend/internal/vm/wire"
)

// logOf makes records of "SECONDS text", the kernel's where the text does not
// begin as the scripts' do.
func logOf(text string) (records []wire.Record) {
	for line := range strings.Lines(text) {
		seconds, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		r := wire.Record{Priority: 6, Micros: micros(seconds) * 1e6, Text: text}
		if !strings.HasPrefix(text, "livepatch:") {
			r.Priority = 1<<3 | 5
		}
		records = append(records, r)
	}
	return records
}

// TestSelftestsJudge: what TestKernelSelftests would say of answers that are
// true, and of others.
func TestSelftestsJudge(t *testing.T) {
	c := follow(logOf(`
		1 kmend clock 1000001000000
		10 % modprobe test_klp_livepatch
		11 livepatch: enabling patch 'test_klp_livepatch'
		12 livepatch: 'test_klp_livepatch': initializing patching transition
		13 livepatch: 'test_klp_livepatch': starting patching transition
		14 livepatch: 'test_klp_livepatch': completing patching transition
		15 livepatch: 'test_klp_livepatch': patching complete
		20 % modprobe test_klp_atomic_replace replace=1
		21 livepatch: enabling patch 'test_klp_atomic_replace'
		22 livepatch: 'test_klp_atomic_replace': initializing patching transition
		24 livepatch: 'test_klp_atomic_replace': completing patching transition
		25 livepatch: 'test_klp_atomic_replace': patching complete
		30 % rmmod test_klp_livepatch
		35 % echo 0 > /sys/kernel/livepatch/test_klp_atomic_replace/enabled
		36 livepatch: 'test_klp_atomic_replace': initializing unpatching transition
		37 livepatch: 'test_klp_atomic_replace': starting unpatching transition
		38 livepatch: 'test_klp_atomic_replace': completing unpatching transition
		39 livepatch: 'test_klp_atomic_replace': unpatching complete
		40 % rmmod test_klp_atomic_replace
		50 ===== TEST: next =====`))
	if c.clock != 1e12 || c.drift != 0 || len(c.periods) != 2 || c.periods[0].to != 24e6 || c.periods[1].to != 36e6 {
		t.Fatalf("clock %d, drift %d, enabled %+v", c.clock, c.drift, c.periods)
	}
	const lp, other = "test_klp_livepatch", "test_klp_atomic_replace"
	at := func(second int64, what string) sight {
		s := sight{from: 1e12 + second*1e6, to: 1e12 + second*1e6 + 1e5, states: map[string]string{}}
		for f := range strings.FieldsSeq(what) {
			name, state, _ := strings.Cut(f, "=")
			s.states[name] = state
		}
		return s
	}
	for _, ok := range []sight{at(5, ""), at(9, ""), at(11, ""), at(11, lp+"=patching"), at(13, lp+"=patching"), at(16, lp+"=patching"), at(16, lp+"=enabled"), at(21, lp+"=enabled"),
		at(23, lp+"=enabled "+other+"=patching"), at(26, lp+"=disabled "+other+"=enabled"), at(31, other+"=enabled"), at(37, other+"=unpatching"), at(45, ""), at(45, other+"=disabled"), at(51, "")} {
		if wrong := c.untrue(ok); wrong != nil {
			t.Errorf("%+v: %v", ok, wrong)
		}
	}
	for _, bad := range []sight{at(9, lp+"=patching"), at(11, lp+"=disabled"), at(13, ""), at(13, lp+"=enabled"), at(16, ""), at(21, ""), at(21, lp+"=disabled"), at(23, lp+"=disabled "+other+"=patching"),
		at(26, lp+"=enabled "+other+"=enabled"), at(31, other+"=disabled"), at(39, other+"=patching"), at(51, other+"=disabled"), at(51, "loop=disabled")} {
		if wrong := c.untrue(bad); wrong == nil {
			t.Errorf("%+v is taken for true", bad)
		}
	}
}

// What is said of one live patch must fit together.
func TestSelftestsCoherence(t *testing.T) {
	good := func() *host.Patch {
		f := host.Function{Name: "cmdline_proc_show", Sympos: 1, Live: true}
		return &host.Patch{Name: "test_klp_livepatch", State: host.Enabled, Taint: "OEK", Users: 1, SinceFrom: "sysfs",
			Objects: []host.Object{{Name: "vmlinux", Patched: true, Functions: []host.Function{f}}}}
	}
	if wrong := incoherent(good()); wrong != nil {
		t.Errorf("%v", wrong)
	}
	for name, change := range map[string]func(*host.Patch){
		"transition":     func(p *host.Patch) { p.Transition = &host.Transition{Total: 1} },
		"no transition":  func(p *host.Patch) { p.State = host.Patching },
		"objects":        func(p *host.Patch) { p.State = host.Disabled },
		"no objects":     func(p *host.Patch) { p.Objects = nil },
		"other function": func(p *host.Patch) { p.Objects[0].Functions[0].Name = "meminfo_proc_show" },
		"live":           func(p *host.Patch) { p.Objects[0].Patched = false },
		"users":          func(p *host.Patch) { p.Users = -1 },
		"taint":          func(p *host.Patch) { p.Taint = "" },
		"file":           func(p *host.Patch) { p.Path = "/root/x.ko" },
		"held":           func(p *host.Patch) { p.Notes = []string{"it cannot be removed"} },
	} {
		p := good()
		change(p)
		if incoherent(p) == nil {
			t.Errorf("%s: %+v is taken for coherent", name, p)
		}
	}
}

// The answers for people are read, or refused.
func TestSelftestsText(t *testing.T) {
	stamp := func(second int64) string { return time.Unix(second, 0).UTC().Format(time.RFC3339) }
	text := "5000001 " + stamp(5) + "\n5000002 kernel 6.1.0, build id 06f8bde30046…, taint none\n5000003 no live patch is loaded\n" +
		"9000001 " + stamp(9) + "\n9000002 kernel 6.1.0, build id 06f8bde30046…, taint OEK\n9000003 test_klp_state: enabled\n9000004   since 2026-01-01 00:00:00 or before\n"
	looks, err := watched(text)
	if err != nil || len(looks) != 2 || len(looks[0].states) != 0 || looks[1].from != 5e6 || looks[1].to != 9000004 || looks[1].states["test_klp_state"] != host.Enabled {
		t.Errorf("%+v, %v", looks, err)
	}
	looks, err = asked("1 2 0 list\tNAME            STATE     FUNCTIONS  SINCE  FILE\vtest_klp_state  disabled          0  ?      -\v\n")
	if err != nil || len(looks) != 1 || looks[0].states["test_klp_state"] != host.Disabled {
		t.Errorf("%+v, %v", looks, err)
	}
	for _, bad := range []string{"1 2 1 list\tno live patch is loaded", "1 2 0 list\tkmend: bug", "1 2 0 list\t", "1 2 0 status\tno live patch is loaded\vtest_klp_state: enabled",
		"1 2 0 status\ttest_klp_livepatch: enabled\v  vmlinux:cmdline_proc_show: waits for its module to be loaded"} {
		if looks, err := asked(bad); err == nil {
			t.Errorf("%q: %+v", bad, looks)
		}
	}
}
