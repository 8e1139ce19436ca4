// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"kmend/internal/ui"
	"kmend/internal/vm"
)

// printReport shows what happened in the virtual machine.
func (a *app) printReport(r *vm.Report) {
	fmt.Fprintf(a.Out, "kernel %s, build id %.12s…, in a virtual machine with %d CPU (%s) and %d MiB\n",
		a.Style.Bold(visible(orDefault(r.Kernel.Release, "?"))), r.Kernel.BuildID, r.Machine.CPUs, r.Machine.CPUModel, r.Machine.MemoryMB)
	a.printFunctions(r)
	for _, t := range r.Targets {
		if !t.Needed {
			fmt.Fprintf(a.Out, "module %s: %s\n", t.Name, targetText(t))
		}
	}
	for _, t := range r.Transitions {
		if !t.Done {
			a.printBlockers(t)
		}
	}
	for _, c := range r.Checks {
		a.printCheck(c)
	}
	for _, l := range r.Log {
		if l.Trouble || l.Excused {
			a.printTrouble(l)
		}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(a.Out, "%s %s\n", a.Style.Yellow("warning:"), visible(w))
	}
	for _, reason := range r.Reasons {
		fmt.Fprintf(a.Out, "%s %s [%s]\n", a.Style.Red(string(r.Verdict)+":"), visible(reason.Text), reason.Code)
	}
	if r.Console != "" {
		fmt.Fprintf(a.Out, "console log  %s\nkernel log   %s\n", r.Console, r.KernelLog)
	}
	verdict := a.Style.Red(string(r.Verdict))
	if r.Verdict == vm.Passed {
		verdict = a.Style.Green(string(r.Verdict))
	}
	fmt.Fprintf(a.Out, "%s: %s, %s\n", a.Style.Bold(r.Livepatch), verdict, wallTimes(r))
}

func (a *app) printFunctions(r *vm.Report) {
	for _, f := range r.Functions {
		state := "patched"
		switch {
		case f.Patched && f.Handler:
			state = "patched, ftrace calls the new code"
		case !f.Patched && f.WhileLoading:
			state = "patched while its module loaded"
		case !f.Patched:
			state = a.Style.Red("not patched")
		}
		name := f.Name
		if f.Sympos > 1 {
			name += fmt.Sprintf(",%d", f.Sympos)
		}
		fmt.Fprintf(a.Out, "  %s %s: %s\n", f.Object, a.Style.Bold(visible(name)), state)
	}
}

func targetText(t vm.Target) string {
	switch {
	case t.Baseline != "loaded":
		if t.Applied {
			return fmt.Sprintf("does not start here (%s); patched while it loaded", t.Baseline)
		}
		return fmt.Sprintf("does not start here (%s)", t.Baseline)
	case t.First && t.Applied:
		return "patched when loaded before the live patch, and when loaded after it"
	case t.First:
		return "patched when loaded before the live patch"
	case t.Applied:
		return "patched when loaded after the live patch"
	}
	return "not patched"
}

func (a *app) printBlockers(t vm.Transition) {
	fmt.Fprintf(a.Out, "threads that did not switch (%s):\n", t.Phase)
	for _, b := range t.Blockers {
		kind := ""
		if b.Kthread {
			kind = "kernel thread, "
		}
		fmt.Fprintf(a.Out, "  %s (%s%d, %s)\n%s\n", a.Style.Bold(visible(b.Comm)), kind, b.TID, b.State, indent(b.Stack, "      ", 20))
	}
}

func (a *app) printCheck(c vm.Check) {
	ended := fmt.Sprintf("exit %d", c.Exit)
	if c.TimedOut {
		ended = "did not end in time"
	}
	fmt.Fprintf(a.Out, "%s: %s\n", a.Style.Bold(c.Phase), ended)
	if strings.TrimSpace(c.Output) != "" {
		fmt.Fprintln(a.Out, indent(c.Output, "    ", 20))
	}
}

func (a *app) printTrouble(l vm.LogEntry) {
	word := a.Style.Red("kernel log:")
	if l.Excused {
		word = a.Style.Dim("kernel log, without the live patch, too:")
	}
	fmt.Fprintf(a.Out, "%s %s\n", word, ui.Cut(visible(l.Text), 200))
	if len(l.Trace) > 0 && !l.Excused {
		fmt.Fprintln(a.Out, indent(strings.Join(l.Trace, "\n"), "    ", 30))
	}
}

// indent indents the first lines of text, and makes control characters visible:
// it comes from the guest.
func indent(text, by string, most int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	more := len(lines) - most
	if more > 0 {
		lines = lines[:most]
	}
	for i, l := range lines {
		lines[i] = by + visible(l)
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("%s… %d more lines", by, more))
	}
	return strings.Join(lines, "\n")
}

// wallTimes sums the phases up: what takes long is the boot.
func wallTimes(r *vm.Report) string {
	var boot time.Duration
	for _, p := range r.Phases {
		if p.Name == "boot" {
			boot += time.Duration(p.WallMS) * time.Millisecond
		}
	}
	all := time.Duration(r.WallMS) * time.Millisecond
	return fmt.Sprintf("%s (boot %s)", ui.Duration(all), ui.Duration(boot))
}
