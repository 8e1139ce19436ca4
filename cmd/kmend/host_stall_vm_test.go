// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
	"kmend/internal/kerneltest"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// pipeMoves waits until the live patch of pipe_read is in transition.
const pipeMoves = `until grep -q 1 /sys/kernel/livepatch/livepatch_pipe/transition 2>/dev/null; do sleep 0.1; done`

// TestHostStall is about transitions that do not end: kswapd sleeps in itself
// for ever, a reader of a pipe until there is something to read.
func TestHostStall(t *testing.T) {
	k := kerneltest.Open(t)
	kswapd, _ := buildFix(t, k, "kswapd", sub("mm/vmscan.c", "\tWRITE_ONCE(pgdat->kswapd_order, 0);\n\tWRITE_ONCE(pgdat->kswapd_highest_zoneidx, MAX_NR_ZONES);\n\tatomic_set", "\tWRITE_ONCE(pgdat->kswapd_order, 1);\n\tWRITE_ONCE(pgdat->kswapd_highest_zoneidx, MAX_NR_ZONES);\n\tatomic_set"))
	pipe, _ := buildFix(t, k, "pipe", sub("fs/pipe.c", "\t/* Null read succeeds. */\n\tif (unlikely(total_len == 0))\n\t\treturn 0;", "\t/* Null read succeeds. */\n\tif (unlikely(total_len == 0 || total_len > 0x7ffffffff))\n\t\treturn 0;"))
	pinned := filepath.Join(vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules"), "lp_pinned.ko")
	h := bootHost(t, k, func(m *vm.Machine) { m.Modules = append(m.Modules, vm.Module{Name: "lp_pinned", Path: pinned}) }, kswapd, pipe)

	// Who and why, and back to where it was.
	h.shell("mkfifo /tmp/p; (cat /tmp/p > /tmp/out &); (sleep 1000 > /tmp/p & echo $! > /tmp/writer)") // cat sleeps in pipe_read
	out := h.run(exitFailed, "kmend load --timeout 5s /root/kmend/livepatch-pipe.ko", `waiting for:`, `not over after 5s; the live patch was disabled again and unloaded`,
		`cat \(pid \d+\): it is in the old code of vmlinux:pipe_read`, `pipe_read\+0x`)
	if strings.Count(out, "waiting for:") != 1 {
		t.Error("the same tasks are told more than once")
	}
	if s := h.status(); len(s) != 0 {
		t.Errorf("after the way back: %+v", s)
	}
	h.run(exitFailed, "kmend load --json --timeout 1s /root/kmend/livepatch-pipe.ko 2>/dev/null", `"rolled_back": true`, `"function": "vmlinux:pipe_read"`, `"kthread": false`)

	// Interrupted, and killed.
	h.run(exitDone, "kmend load /root/kmend/livepatch-pipe.ko & p=$!; "+pipeMoves+"; kill -INT $p; wait $p; echo code $?", `code 1`, `it was disabled again and unloaded`)
	if s := h.status(); len(s) != 0 {
		t.Errorf("after an interrupt: %+v", s)
	}
	h.shell("kmend load /root/kmend/livepatch-pipe.ko & p=$!; " + pipeMoves + "; kill -9 $p; wait $p; true")
	s := h.status()["livepatch_pipe"]
	// The agent reads what commands print from a pipe, so it is there, too.
	if s.State != host.Patching || s.Transition == nil || !slices.ContainsFunc(s.Transition.Tasks, func(t host.Task) bool { return t.Comm == "cat" && t.Function == "vmlinux:pipe_read" }) {
		t.Errorf("after a kill: %+v %+v", s, s.Transition)
	}
	h.run(exitDone, "kmend list", `livepatch_pipe +patching`)
	h.run(exitRefused, "kmend load --timeout 1s /root/kmend/livepatch-kswapd.ko", `livepatch_pipe is in transition: waiting`, `refused \(in-transition\)`, `cat`)
	// Another kmend waits for the lock; when cat has something to read, both go on.
	h.run(exitDone, `kmend load /root/kmend/livepatch-pipe.ko & p=$!; until grep -q "process $p" /run/kmend/lock; do sleep 0.1; done
kmend unload livepatch_pipe 2>/tmp/two & q=$!; until grep waiting /tmp/two; do sleep 0.1; done; kill $(cat /tmp/writer); wait $p; echo one $?; wait $q; echo two $?`,
		`waiting for another kmend \(process \d+: kmend load`, `livepatch_pipe: is loaded already`, `livepatch_pipe: unloaded`, `one 0`, `two 0`)

	// A kernel thread that never leaves the function.
	h.run(exitFailed, "kmend load --timeout 2s --signal /root/kmend/livepatch-kswapd.ko", `signals the tasks .* by itself`, `kswapd0 \(pid \d+, kernel thread\): it is in the old code of vmlinux:kswapd; a kernel thread switches only`)
	h.run(exitDone, "kmend load --timeout 1s --force /root/kmend/livepatch-kswapd.ko", `can corrupt memory`, `livepatch_kswapd: loaded, .*, forced`)
	h.run(exitDone, "kmend status livepatch_kswapd", `enabled, forced`)
	h.run(exitDone, "kmend unload livepatch_kswapd", `livepatch_kswapd: unloaded`)

	// Loaded by hand, and held by itself: it can only be disabled.
	if err := h.g.Load(t.Context(), "lp_pinned", ""); err != nil {
		t.Fatal(err)
	}
	h.transition("lp_pinned")
	h.shell("sleep 1")
	if s := h.status()["lp_pinned"]; s.State != host.Enabled || s.SinceFrom != "sysfs" || s.Path != "" || s.Since.After(time.Now().Add(time.Minute)) {
		t.Errorf("loaded by hand: %+v", s)
	}
	h.run(exitDone, "kmend unload lp_pinned", `lp_pinned: disabled`, `until the next boot`)
	h.run(exitDone, "kmend list", `lp_pinned +disabled`)
	h.quiet()
	if err := h.g.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}
