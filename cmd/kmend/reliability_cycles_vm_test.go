// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/vm"
)

// moving is a live patch of a function that the crowd sits in.
type moving struct {
	name     string // without "livepatch-"
	function string // of which the stacks of the crowd are counted
	ask      string // tells the old code from the new
	old, new string // what it answers
}

var movings = []moving{
	{"loop", "loop_", "cat /sys/block/loop0/loop/sizelimit", `^0$`, `^0 kmend$`},
	{"sleep", "hrtimer_nanosleep", "/root/kmend/crowd sleep", `^sleep old$`, `^sleep new$`},
	{"poll", "do_sys_poll", "/root/kmend/crowd poll", `^poll old$`, `^poll new$`},
	{"cmdline", "cmdline_proc_show", cmdlineNow, cmdlineEnd + "$", cmdlineEnd + " kmend$"},
	{"pipe", "pipe_read", "/root/kmend/crowd pipe", `^pipe old$`, `^pipe new$`},
	{"above", "cmdline_proc_show", cmdlineNow, ` kmend$`, ` second$`}, // on top of cmdline
}

// TestReliabilityCycles loads and unloads live patches of functions that
// processes sit in all the time: each transition must end, the code that runs
// must be the right one, and the kernel must be afterwards what it was.
func TestReliabilityCycles(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	files := []string{guestHelper(t, k, "crowd")}
	for name, edits := range map[string][]edit{"pipe": {pipeFix}, "sleep": {sleepFix}, "poll": {pollFix}, "cmdline": {newline}, "loop": {sizelimit, workerFix}, "above": {second}} {
		module, _ := buildFix(t, k, name, edits...)
		files = append(files, module)
	}
	for _, cpus := range []int{1, 2} {
		n := cycles(t)
		if cpus == 2 { // fewer: a transition takes seconds there
			n /= 5
		}
		if n == 0 {
			continue
		}
		t.Run(fmt.Sprintf("%dCPU", cpus), func(t *testing.T) {
			t.Parallel()
			cyclesOn(t, k, cpus, n, files)
		})
	}
}

func cyclesOn(t *testing.T, k *kernel.Kernel, cpus, n int, files []string) {
	loop, err := k.Module("loop")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c := &cycler{reliable: bootReliable(t, k, func(m *vm.Machine) { m.CPUs, m.Modules = cpus, []vm.Module{{Name: "loop", Path: loop.Path}} }, files...), cpus: cpus, rng: rand.New(rand.NewPCG(1, uint64(cpus))),
		took: map[string][]int{}, held: map[string]int{}, inside: map[string][]int{}, logged: map[string]int{"signaling remaining tasks": 0, "patching complete": 0}}
	if err := c.g.Load(t.Context(), "loop", ""); err != nil {
		t.Fatal(err)
	}
	c.must("dd if=/dev/zero of=/tmp/img bs=1k count=128 2>/dev/null; losetup /dev/loop0 /tmp/img; (/root/kmend/crowd crowd >/dev/null 2>&1 &); sleep 1; cp /bin/true /tmp/; mkdir -p /run/kmend")
	c.must(cmdlineNow, cmdlineEnd+"$")
	every := max(1, n/50)
	c.sample()
	for round := 0; c.done < n; round++ {
		if end, ok := t.Deadline(); ok && time.Until(end) < 2*time.Minute {
			t.Errorf("the time is over after %d of %d cycles", c.done, n)
			break
		}
		before := c.done
		c.round(round, n-c.done)
		if c.done/every != before/every {
			c.sample()
			c.readLog(c.logged)
			t.Logf("%d CPU: %d of %d cycles after %v", cpus, c.done, n, time.Since(begin).Round(time.Second))
		}
		if len(c.wrong) > 0 {
			t.Fatalf("after %d cycles the kernel log has:\n%s", c.done, strings.Join(c.wrong, "\n"))
		}
	}
	c.must("killall crowd; losetup -d /dev/loop0; sleep 1")
	c.readLog(c.logged)
	c.report(time.Since(begin))
	c.judge()
	c.end()
}

// cycler goes through cycles and keeps what it saw.
type cycler struct {
	*reliable
	cpus    int
	rng     *rand.Rand
	done    int
	took    map[string][]int // ms of transitions, by direction
	stalls  int              // transitions of which kmend told who holds them up
	held    map[string]int   // what it told, by words
	unnamed int              // stalls that named no function at any time
	inside  map[string][]int // tasks of the crowd that sat in the function, when its transition began
	logged  map[string]int
	samples []sample
}

// round is one cycle of one live patch, or of several at once.
func (c *cycler) round(n, left int) {
	switch {
	case n%4 == 2 && left >= 2: // one on top of the other, and the lower one goes first
		c.in(movings[3])
		c.in(movings[5])
		c.out(movings[3], movings[5].new)
		c.out(movings[5], movings[3].old)
	case n%8 == 5 && left >= 5: // all at once, out in any order
		all := movings[:5]
		for _, i := range c.rng.Perm(len(all)) {
			c.in(all[i])
		}
		for _, i := range c.rng.Perm(len(all)) {
			c.out(all[i], all[i].old)
		}
	default:
		m := movings[(n-n/4)%5]
		c.in(m)
		c.out(m, m.old)
	}
}

func (c *cycler) in(m moving) {
	c.t.Helper()
	c.change("load", "/root/kmend/livepatch-"+m.name+".ko", m)
	c.want(fmt.Sprintf("%d CPU, cycle %d, after the load of %s", c.cpus, c.done, m.name), c.must(m.ask), m.new)
}

func (c *cycler) out(m moving, now string) {
	c.t.Helper()
	c.change("unload", "livepatch_"+m.name, m)
	c.want(fmt.Sprintf("%d CPU, cycle %d, after the unload of %s", c.cpus, c.done, m.name), c.must(m.ask), now)
	c.done++
}

var (
	stallRE  = regexp.MustCompile(`the transition has taken`)
	namedRE  = regexp.MustCompile(`(\S+) \(pid \d+(?:, thread \d+)?(, kernel thread)?\): it is in (the (?:old|new) code of \S+);`)
	othersRE = regexp.MustCompile(`(?:\S+) \(pid \d+(?:, thread \d+)?(?:, kernel thread)?\): (it is running|it sleeps|its stack cannot be seen)|no thread that /proc shows`)
)

// change loads or unloads, and keeps how long that took and who held it up.
func (c *cycler) change(verb, what string, m moving) {
	c.t.Helper()
	// Apart, with its output in files: the guest's init reads what a command prints
	// from a pipe, and would sit in pipe_read until kmend ends.
	c.must(fmt.Sprintf(`rm -f /tmp/code; (cat /proc/[0-9]*/stack 2>/dev/null | grep -c '%s.*+0x' >/tmp/inside; kmend %s --json %s 2>/tmp/said >/tmp/answer; echo $? >/tmp/code.new; mv /tmp/code.new /tmp/code) >/dev/null 2>&1 &`, m.function, verb, what))
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, err := c.g.ReadFile(c.t.Context(), "/tmp/code"); err == nil {
			break
		}
		if time.Since(begin) > 3*time.Minute {
			c.t.Fatalf("%s %s has not ended after 3 minutes", verb, what)
		}
	}
	out := c.must("cat /tmp/inside /tmp/answer; echo ====; cat /tmp/said; exit $(cat /tmp/code)")
	answer, said, _ := strings.Cut(out, "====")
	count, answer, _ := strings.Cut(answer, "\n")
	var o outcomesAnswer
	if err := json.Unmarshal([]byte(answer), &o); err != nil || len(o.Modules) != 1 || o.Modules[0].Outcome != verb+"ed" {
		c.t.Fatalf("%s %s: %v in %s", verb, what, err, out)
	}
	var n int
	if _, err := fmt.Sscan(count, &n); err != nil {
		c.t.Fatalf("%q: %v", count, err)
	}
	c.inside[m.function] = append(c.inside[m.function], n)
	c.took[verb] = append(c.took[verb], int(o.Modules[0].TransitionMS))
	for _, w := range o.Modules[0].Warnings {
		if !strings.HasPrefix(w, "overlap: ") { // of two on top of each other
			c.t.Errorf("%s %s: %q", verb, what, w)
		}
	}
	if !stallRE.MatchString(said) {
		return
	}
	c.stalls++
	named := namedRE.FindAllStringSubmatch(said, -1)
	for _, x := range named {
		c.held[x[1]+x[2]+" in "+x[3]]++
	}
	for _, x := range othersRE.FindAllStringSubmatch(said, -1) {
		c.held["(no function) "+x[0][strings.LastIndex(x[0], ":")+1:]]++
	}
	if len(named) == 0 {
		c.unnamed++
		c.t.Logf("cycle %d, %s %s: %s", c.done, verb, what, said)
	}
}

// spread says how figures are spread.
func spread(of []int) string {
	if len(of) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(of))
	return fmt.Sprintf("%d / %d / %d / %d", s[0], s[len(s)/2], s[len(s)*95/100], s[len(s)-1])
}

func (c *cycler) report(took time.Duration) {
	c.t.Helper()
	rows := []string{
		row("cycles", "%d, %d CPU, %v", c.done, c.cpus, took.Round(time.Second)),
		row("transition to the new code, ms: least, median, 95 %, most", "%s", spread(c.took["load"])),
		row("transition to the old code and removal, ms", "%s", spread(c.took["unload"])),
		row("transitions of more than 3 s, of which kmend tells who holds them up", "%d of %d", c.stalls, len(c.took["load"])+len(c.took["unload"])),
		row("of these, without the name of a function", "%d", c.unnamed),
		row("transitions that the kernel completed (its log)", "%d", c.logged["patching complete"]),
		row("signals by the kernel", "%d", c.logged["signaling remaining tasks"]),
		row("lines of the kernel log that say that something is wrong", "%d", len(c.wrong)),
	}
	for _, f := range slices.Sorted(maps.Keys(c.inside)) {
		rows = append(rows, row("tasks with `"+f+"` on their stack when it began", "%s", spread(c.inside[f])))
	}
	for _, h := range slices.Sorted(maps.Keys(c.held)) {
		rows = append(rows, row("held up by "+h, "%d", c.held[h]))
	}
	for i, what := range sampled {
		first, last := c.samples[0].values[i], c.samples[len(c.samples)-1].values[i]
		rows = append(rows, row(what.title, "%.0f to %.0f, slope %.3f a cycle", first, last, slope(c.samples, i)))
	}
	c.table("cycles under load", rows)
}
