// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Transition is how far a live patch is on its way in or out.
type Transition struct {
	Name     string `json:"name"`
	Patching bool   `json:"patching"` // to the new code; false: to the old
	Total    int    `json:"total"`    // threads that were looked at
	Waiting  int    `json:"waiting"`  // of these, those that have not switched
	Tasks    []Task `json:"tasks"`    // who they are, 64 at most
	// Partial tells that only the caller's own threads were looked at, since it is
	// not root.
	Partial bool `json:"partial,omitempty"`
	// Since is when it began; nil where no kmend began it.
	Since *time.Time `json:"since"`
	// Elapsed is for how long this kmend has been waiting for it.
	Elapsed time.Duration `json:"-"`
}

// Task is a thread that has not switched yet.
type Task struct {
	PID      int      `json:"pid"`
	TID      int      `json:"tid"`
	Comm     string   `json:"comm"`
	State    string   `json:"state"` // as in /proc/PID/stat: R, S, D…
	Kthread  bool     `json:"kthread"`
	Wchan    string   `json:"wchan,omitempty"`    // where it sleeps
	Stack    []string `json:"stack,omitempty"`    // kernel functions, innermost first; root sees them
	Function string   `json:"function,omitempty"` // the function on its stack that keeps it
	Why      string   `json:"why"`
}

const maxTasks = 64

// remaining lists the threads that have not switched: while patching those in
// the old state (patch_state 0), while unpatching those in the new (1); -1 is
// no transition (Documentation/livepatch/livepatch.rst).
func (h *Host) remaining(p *Patch) *Transition {
	t := &Transition{Name: p.Name, Patching: p.State == Patching, Tasks: []Task{}, Partial: !h.System.IsRoot()}
	old := "0"
	if !t.Patching {
		old = "1"
	}
	if r, err := h.record(p.Name); err == nil && r != nil && r.State != stateLoaded {
		t.Since = &r.Turned
	}
	dirs, _ := filepath.Glob(h.path("/proc") + "/[0-9]*/task/[0-9]*")
	for _, dir := range dirs {
		dir = h.outside(dir)
		state := h.readTrimmed(dir+"/patch_state", 16)
		if state == "" {
			continue // it has ended, or may not be looked at
		}
		t.Total++
		if state != old {
			continue
		}
		if t.Waiting++; t.Waiting <= maxTasks {
			t.Tasks = append(t.Tasks, h.task(dir, p))
		}
	}
	return t
}

// task describes the thread of a directory /proc/PID/task/TID.
func (h *Host) task(dir string, p *Patch) Task {
	t := Task{Comm: h.readTrimmed(dir+"/comm", 64), Wchan: h.readTrimmed(dir+"/wchan", 128)}
	if t.Wchan == "0" {
		t.Wchan = ""
	}
	t.TID, _ = strconv.Atoi(filepath.Base(dir))
	t.PID, _ = strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(dir))))
	// pid (comm) state ppid pgrp session tty tpgid flags …; comm may hold blanks
	// and parentheses, so count from the last one.
	stat := h.readTrimmed(dir+"/stat", 1024)
	if i := strings.LastIndexByte(stat, ')'); i >= 0 {
		if f := strings.Fields(stat[i+1:]); len(f) > 6 {
			const pfKthread = 0x00200000 // include/linux/sched.h
			flags, _ := strconv.ParseUint(f[6], 10, 64)
			t.State, t.Kthread = f[0], flags&pfKthread != 0
		}
	}
	var frames []frame
	t.Stack, frames = readStack(h.readTrimmed(dir+"/stack", 8192))
	t.Function = culprit(frames, p)
	t.Why = t.explain(p.State == Patching)
	return t
}

// explain says why a thread has not switched, as far as can be seen.
func (t *Task) explain(patching bool) string {
	code := "the new code of "
	if patching {
		code = "the old code of "
	}
	switch {
	case t.Function != "" && t.Kthread:
		return "it is in " + code + t.Function + "; a kernel thread switches only when it leaves that"
	case t.Function != "":
		return "it is in " + code + t.Function + "; it switches when it leaves that, or gets a signal"
	case t.State == "R":
		return "it is running; it switches when it enters or leaves the kernel, or is seen at rest"
	case len(t.Stack) == 0:
		return "its stack cannot be seen"
	case t.State == "D":
		return "it sleeps and cannot be interrupted, in none of the functions now; the kernel looks at it again every second"
	default:
		return "it sleeps in none of the functions now; the kernel looks at it again every second"
	}
}

// frame is one line of /proc/PID/stack: a function and the module that has it.
type frame struct{ name, module string }

var frameRE = regexp.MustCompile(`^(?:\[<[0-9a-f]*>\] )?([A-Za-z0-9_.$]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[([^\]]+)\])?$`)

// readStack reads "[<0>] function+0x1/0x2 [module]", innermost first.
func readStack(text string) (lines []string, frames []frame) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		m := frameRE.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "[<0>]")))
		frames = append(frames, frame{m[1], m[2]})
	}
	return lines, frames
}

// culprit finds the function that the kernel finds, too: while patching, what is
// replaced (or its replacement in an earlier live patch), while unpatching, its
// replacement in this one (kernel/livepatch/transition.c, klp_check_stack_func).
func culprit(frames []frame, p *Patch) string {
	for _, f := range frames {
		own := f.module == p.Name
		if own != (p.State != Patching) {
			continue
		}
		name := strings.TrimSuffix(f.name, ".cold")
		for _, o := range p.Objects {
			for _, fn := range o.Functions {
				if fn.Name == name {
					return o.Name + ":" + fn.Name
				}
			}
		}
	}
	return ""
}

// Explain says in lines who holds the transition up and why.
func (t *Transition) Explain() []string {
	if t.Partial {
		return []string{"  who holds it up is shown to root"}
	}
	if t.Waiting == 0 {
		return []string{"  no thread that /proc shows holds it up: it is the idle task of a CPU, or is over by now"}
	}
	var lines []string
	for _, task := range t.Tasks {
		who := fmt.Sprintf("  %s (pid %d", task.Comm, task.PID)
		if task.TID != task.PID {
			who += fmt.Sprintf(", thread %d", task.TID)
		}
		if task.Kthread {
			who += ", kernel thread"
		}
		lines = append(lines, who+"): "+task.Why)
		const most = 12
		for _, f := range task.Stack[:min(len(task.Stack), most)] {
			lines = append(lines, "      "+f)
		}
	}
	if more := t.Waiting - len(t.Tasks); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return lines
}

// kernelSignals tells whether the kernel itself sends signals to what holds up a
// transition: since 5.1 every 15 s, and the file that asked for it is gone.
func (h *Host) kernelSignals(name string) bool {
	_, err := os.Stat(h.path(livepatchDir, name, "signal"))
	return err != nil
}
