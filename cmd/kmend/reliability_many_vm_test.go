// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
)

// TestReliabilityMany has several kmends at once load, unload, install and
// uninstall the same live patches at random, some of which are killed, while
// others look. Each must end, for a reason that is known, and what they leave
// must be one of the states that one of them alone leaves.
func TestReliabilityMany(t *testing.T) {
	t.Parallel()
	r := bootTwins(t, kerneltest.Open(t))
	processes, each := 8, cycles(t)/10
	if each < fullCount/10 {
		processes, each = 3, 3
	}
	ends := map[string]int{}
	r.must("mkdir -p /tmp/many; (while [ ! -e /tmp/many/stop ]; do for c in 'list' 'status --json' 'list --installed'; do kmend $c >/tmp/many/o 2>&1 || { echo \"$c: $?\"; cat /tmp/many/o; }; done; sleep 0.2; done >/tmp/many/looks 2>&1 &)")
	var script strings.Builder
	for p := range processes {
		fmt.Fprintf(&script, "(\n")
		rng := rand.New(rand.NewPCG(2, uint64(p)))
		for range each {
			fmt.Fprintf(&script, "%s >/tmp/many/o%d 2>&1; echo \"$? $(tr '\\n' ' ' </tmp/many/o%[2]d)\"\n", randomCommand(rng), p)
		}
		fmt.Fprintf(&script, ") >/tmp/many/p%d 2>&1 &\n", p)
	}
	script.WriteString("wait; touch /tmp/many/stop; sleep 1; cat /tmp/many/p*")
	if err := r.g.WriteFile(t.Context(), "/tmp/many/run", []byte(script.String()), 0o755); err != nil {
		t.Fatal(err)
	}
	// In pieces: a command of the guest may take five minutes.
	r.must("(sh /tmp/many/run >/tmp/many/all 2>&1; touch /tmp/many/done) &")
	for done := false; !done; {
		code, _ := r.ask("for i in $(seq 100); do [ -e /tmp/many/done ] && exit 0; sleep 0.2; done; exit 1")
		done = code == 0
		r.readLog(nil)
	}
	all := r.must("cat /tmp/many/all")
	n := 0
	for line := range strings.Lines(all) {
		n++
		why := whyRE.FindString(line)
		code, _, _ := strings.Cut(line, " ")
		if refused := refusedRE.FindString(line); refused != "" { // of several, one may be loaded before
			why = refused
		}
		if !explained(code, why) {
			t.Errorf("not explained: %s", line)
		}
		ends["exit "+code+", "+why]++
	}
	if n != processes*each {
		t.Errorf("%d ends of %d commands", n, processes*each)
	}
	if looks := r.must("cat /tmp/many/looks"); looks != "" {
		t.Errorf("looking failed:\n%s", looks)
	}
	r.settled()
	rows := []string{row("processes, commands each", "%d, %d", processes, each)}
	for what, n := range ends {
		rows = append(rows, row(what, "%d", n))
	}
	r.table("kmends at once", rows)
	r.end()
}

// randomCommand: fileA and fileB are two modules of one name.
func randomCommand(rng *rand.Rand) string {
	list := []string{
		"kmend load " + fileA, "kmend load " + fileB, "kmend load /root/kmend/livepatch-pipe.ko", "kmend load " + fileA + " /root/kmend/livepatch-pipe.ko",
		"kmend unload livepatch_cmdline", "kmend unload livepatch_pipe", "kmend unload livepatch_pipe livepatch_cmdline",
		"kmend install " + fileA, "kmend install " + fileB, "kmend install /root/kmend/livepatch-pipe.ko",
		"kmend uninstall livepatch_cmdline", "kmend uninstall livepatch_pipe", "kmend load --installed",
	}
	command := list[rng.IntN(len(list))]
	if rng.IntN(8) == 0 {
		return fmt.Sprintf("timeout -s KILL 0.%d %s", 1+rng.IntN(9), command)
	}
	return command
}

var whyRE = regexp.MustCompile(`refused \([a-z-]+\)|loaded already|: loaded|: unloaded|is not loaded|: already installed|: installed|: updated|: uninstalled|: not installed|nothing is installed|installed: load`)

var refusedRE = regexp.MustCompile(`refused \([a-z-]+\)`)

// explained: a command does what it says, or refuses since another module of
// that name is loaded; or it was killed.
func explained(code, why string) bool {
	switch code {
	case "0":
		return why != "" && !strings.HasPrefix(why, "refused")
	case fmt.Sprint(exitRefused):
		return why == "refused (name-taken)"
	case "137": // killed
		return true
	}
	return false
}

// settled: at the end everything that is said is true, and everything goes.
func (r *reliable) settled() {
	r.t.Helper()
	r.sane("after all of them")
	r.must("kmend unload livepatch_pipe livepatch_cmdline")
	r.runs("unloaded", old, "")
	r.must("kmend uninstall livepatch_pipe livepatch_cmdline; kmend list --installed", `nothing is installed`)
	r.want("pipe", r.must("/root/kmend/crowd pipe"), `^pipe old$`)
	r.must("kmend load "+fileA, `^livepatch_cmdline: loaded`)
	r.runs("loaded again", codeA, fileA)
	r.must("kmend unload livepatch_cmdline")
}
