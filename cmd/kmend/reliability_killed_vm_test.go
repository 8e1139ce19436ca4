// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kmend/internal/host"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/vm"
)

// Two modules of one name: what shows which of them runs is the end of
// /proc/cmdline.
const (
	fileA = "/root/kmend/livepatch-cmdline.ko"   // " kmend"
	fileB = "/root/kmend/b/livepatch-cmdline.ko" // " second"
	codeA = cmdlineEnd + " kmend"
	codeB = cmdlineEnd + " second"
	old   = cmdlineEnd
)

// bootTwins boots with both of them, a live patch of pipe_read, and the helpers.
func bootTwins(t *testing.T, k *kernel.Kernel) *reliable {
	t.Helper()
	a, _ := buildFix(t, k, "cmdline", newline)
	b, _ := buildFix(t, k, "cmdline", second)
	pipe, _ := buildFix(t, k, "pipe", pipeFix)
	return bootReliable(t, k, func(m *vm.Machine) {
		m.Files = append(m.Files, vm.File{Host: b, Guest: fileB})
	}, a, pipe, guestHelper(t, k, "stepper"), guestHelper(t, k, "crowd"))
}

// killing is something that is killed before each of its system calls that
// change something.
type killing struct {
	name   string
	before string // makes it possible, and undoes what was done for the last point
	do     string
	boot   bool   // what is asked for is what is loaded at boot, not what is loaded
	amid   string // how /proc/cmdline may end after a kill, separated by |
	after  string // how it must end when it was done again
	pipe   bool   // it is about livepatch_pipe, in transition for a while
}

const undo = "if grep -q ^livepatch_ /proc/modules; then kmend unload livepatch_cmdline livepatch_pipe >/dev/null; fi; if ls /var/lib/kmend/*/*.ko >/dev/null 2>&1; then kmend uninstall livepatch_cmdline >/dev/null; fi; "

var killings = []killing{
	{name: "load", before: undo, do: "load " + fileA, amid: old + "|" + codeA, after: codeA},
	{name: "unload", before: undo + "kmend load >/dev/null " + fileA, do: "unload livepatch_cmdline", amid: old + "|" + codeA, after: old},
	{name: "load --installed", before: undo + "kmend install >/dev/null " + fileA, do: "load --installed", amid: old + "|" + codeA, after: codeA},
	{name: "install", before: undo, do: "install " + fileA, boot: true, amid: old + "|" + codeA, after: codeA},
	{name: "update", before: undo + "kmend install >/dev/null " + fileA, do: "install " + fileB, boot: true, amid: codeA + "|" + codeB, after: codeB},
	{name: "uninstall", before: undo + "kmend install >/dev/null " + fileA, do: "uninstall livepatch_cmdline", boot: true, amid: codeA + "|" + old, after: old},
	{name: "load, tasks in pipe_read", before: undo, do: "load /root/kmend/livepatch-pipe.ko", pipe: true, amid: "pipe old|pipe new", after: "pipe new"},
	{name: "unload, tasks in pipe_read", before: undo + "kmend load >/dev/null /root/kmend/livepatch-pipe.ko", do: "unload livepatch_pipe", pipe: true, amid: "pipe old|pipe new", after: "pipe old"},
}

// TestReliabilityKilled kills kmend on a real kernel before each system call by
// which it changes something, and in each look that it takes at a transition.
// What is said then must be true, and the next kmend must bring the work to its
// end.
func TestReliabilityKilled(t *testing.T) {
	t.Parallel()
	r := bootTwins(t, kerneltest.Open(t))
	step := 1
	list := killings
	if cycles(t) < fullCount {
		step, list = 13, []killing{killings[0], killings[1], killings[4]}
	}
	var rows []string
	total := 0
	for _, op := range list {
		crowd := ""
		if op.pipe {
			r.must("(/root/kmend/crowd crowd >/dev/null 2>&1 &); sleep 1")
			crowd = "killall crowd; "
		}
		points, calls := r.killAll(op, step)
		r.must(crowd + undo)
		total += points
		rows = append(rows, row("kmend "+op.name, "%d points: %s", points, calls))
		t.Log(rows[len(rows)-1])
		if points == 0 || step == 1 && points < 10 {
			t.Errorf("%s: %d points", op.name, points)
		}
	}
	r.table("killed before each system call that changes something", append(rows, row("points in all", "%d", total)))
	r.end()
}

var steppedRE = regexp.MustCompile(`(?m)^stepper: (?:killed before \d+: (\S+) ?(.*)|ended after (\d+))$`)

// killAll goes through the points of one operation, and returns their number
// and of which calls they were.
func (r *reliable) killAll(op killing, step int) (points int, calls string) {
	r.t.Helper()
	count := map[string]int{}
	for n := 0; ; n += step {
		r.must(op.before)
		_, out := r.ask(fmt.Sprintf("/root/kmend/stepper kill %d kmend %s 2>&1 | cat", n, op.do))
		m := steppedRE.FindStringSubmatch(out)
		if m == nil {
			r.t.Fatalf("%s, point %d: %s", op.name, n, out)
		}
		where := fmt.Sprintf("%s, killed before %d: %s %s", op.name, n+1, m[1], m[2])
		if m[3] != "" { // it came to its end
			r.ends(op, op.name+", not killed", op.after)
			break
		}
		points++
		count[m[1]]++
		r.sane(where)
		r.ends(op, where, op.amid)
		if code, out := r.ask("kmend " + op.do); code != 0 {
			r.t.Errorf("%s, then again: exit %d: %s", where, code, out)
		}
		r.ends(op, where+", then again", op.after)
		if out := r.must("find /run/kmend /var/lib/kmend /etc/systemd -name '.new-*' 2>/dev/null; true"); out != "" {
			r.t.Errorf("%s: left over: %s", where, out)
		}
		r.readLog(nil)
		if r.t.Failed() {
			r.t.FailNow()
		}
	}
	var words []string
	for call, n := range count {
		words = append(words, fmt.Sprintf("%s %d", call, n))
	}
	slices.Sort(words)
	return points, strings.Join(words, ", ")
}

// sane: list and status work after a kill, and say of a live patch what the
// kernel says.
func (r *reliable) sane(where string) {
	r.t.Helper()
	out := r.must(`kmend list >/dev/null && kmend status --json; code=$?
echo =; for m in $(grep -o '^livepatch_[a-z]*' /proc/modules); do echo $m $(cat /sys/kernel/livepatch/$m/enabled /sys/kernel/livepatch/$m/transition 2>/dev/null); done; exit $code`)
	text, kernel, _ := strings.Cut(out, "\n=")
	var s host.Status
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		r.t.Fatalf("%s: %v in %s", where, err, text)
	}
	lines := strings.FieldsFunc(kernel, func(c rune) bool { return c == '\n' })
	if len(lines) != len(s.Patches) {
		r.t.Errorf("%s: the kernel has %q, kmend says %s", where, lines, text)
		return
	}
	for _, line := range lines {
		name, state, _ := strings.Cut(line, " ")
		i := slices.IndexFunc(s.Patches, func(p host.Patch) bool { return p.Name == name })
		// Where a transition ended between the two looks the kernel is ahead.
		want := map[string][]string{"1 0": {host.Enabled, host.Patching}, "1 1": {host.Patching}, "0 1": {host.Unpatching}, "": {host.Disabled, host.Unpatching}}[state]
		if i < 0 || !slices.Contains(want, s.Patches[i].State) {
			r.t.Errorf("%s: the kernel has %q, kmend says %s", where, line, text)
		}
	}
}

// ends looks which code runs, or would run after a boot.
func (r *reliable) ends(op killing, where, want string) {
	r.t.Helper()
	command := cmdlineNow
	if op.pipe {
		command = "/root/kmend/crowd pipe"
	}
	if op.boot {
		command = "kmend load --installed >/dev/null && " + cmdlineNow + " && kmend unload livepatch_cmdline >/dev/null"
	}
	out := strings.TrimSpace(r.must(command))
	for w := range strings.SplitSeq(want, "|") {
		if strings.HasSuffix(out, w) {
			return
		}
	}
	r.t.Errorf("%s: it ends with %q, want %q", where, filepath.Base(out), want)
}
