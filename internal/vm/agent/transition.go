// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kmend/internal/vm/wire"
)

const livepatchDir = "/sys/kernel/livepatch"

// transition waits until the livepatch is not in transition; its directory
// vanishes when it was disabled (kernel/livepatch/transition.c), which is an
// end as well. A transition that is still going on is not an error: Done stays
// false and Blockers says who holds it up.
func transition(name string, patience time.Duration, resp *wire.Response) error {
	deadline := time.Now().Add(patience)
	pause := 5 * time.Millisecond
	for {
		b, err := os.ReadFile(filepath.Join(livepatchDir, name, "transition"))
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(bytes.TrimSpace(b)) == "0" {
			resp.Done = true
			return nil
		}
		// sysfs answers ENODEV while the directory is being removed.
		if err != nil && !isGone(err) {
			return err
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(pause)
		pause = min(pause*2, 100*time.Millisecond)
	}
	resp.Blockers = blockers(name)
	return nil
}

// blockers lists the threads that have not switched yet: those in the old
// state, patch_state 0 while patching and 1 while unpatching.
func blockers(name string) []wire.Task {
	old := 0
	if b, err := os.ReadFile(filepath.Join(livepatchDir, name, "enabled")); err == nil && string(bytes.TrimSpace(b)) == "0" {
		old = 1
	}
	const most = 64
	var tasks []wire.Task
	dirs, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*")
	for _, dir := range dirs {
		state, err := strconv.Atoi(readTrimmed(dir+"/patch_state", 16))
		if err != nil || state != old {
			continue
		}
		tasks = append(tasks, describe(dir, state))
		if len(tasks) == most {
			break
		}
	}
	return tasks
}

func describe(dir string, state int) wire.Task {
	t := wire.Task{
		PatchState: state,
		Comm:       readTrimmed(dir+"/comm", 64),
		Wchan:      readTrimmed(dir+"/wchan", 128),
		Stack:      readTrimmed(dir+"/stack", 4096),
	}
	parts := strings.Split(dir, "/") // "", proc, PID, task, TID
	t.PID, _ = strconv.Atoi(parts[2])
	t.TID, _ = strconv.Atoi(parts[4])
	// stat: pid (comm) state ppid pgrp session tty tpgid flags …; comm may hold
	// blanks and parentheses, so count from the last parenthesis.
	stat := readTrimmed(dir+"/stat", 1024)
	if i := strings.LastIndexByte(stat, ')'); i >= 0 {
		if f := strings.Fields(stat[i+1:]); len(f) > 6 {
			const pfKthread = 0x00200000 // include/linux/sched.h
			flags, _ := strconv.ParseUint(f[6], 10, 64)
			t.State, t.Kthread = f[0], flags&pfKthread != 0
		}
	}
	return t
}

func readTrimmed(path string, most int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b[:min(len(b), most)]))
}
