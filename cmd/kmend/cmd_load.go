// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kmend/internal/host"
	"kmend/internal/ui"
)

// hostOptions are the flags of kmend load and unload.
type hostOptions struct {
	host.Options
	installed bool
}

// newLoadCmd is "kmend load": make a live patch live on this machine.
func newLoadCmd(a *app) *cobra.Command {
	var opt hostOptions
	c := &cobra.Command{
		Use:   "load MODULE.ko…",
		Short: "Load live patches into the running kernel (as root)",
		Long: `load checks each module, loads it, and waits until every task runs the new code.

A module for another build of the kernel is refused, even if the version is the
same: kmend's modules name the build that they were made for. If the running
kernel is one that was added (kmend kernel list), everything in the module is
held against it, as kmend build does; a module that is not kmend's is loaded
only then. The file and all directories above it must belong to root and be
writable by nobody else. What was checked is what is loaded.

While tasks are still in old code, load tells which, and why. When the time is
over, or it is interrupted, it takes the live patch out again, and exits with 1.
--force makes all tasks switch at once instead. That is not safe: a task in the
middle of a changed function finishes it in the old code while others run the
new; do it only if you know that these functions bear it.

A live patch that is loaded already is left as it is; another one of its name is
an error. Where a module takes functions over from live patches that are loaded,
or replaces them so that a fix of theirs is gone, it is loaded, and load warns;
kmend verify tells it before.`,
		Example: `  kmend load /root/kmend/livepatch-fix.ko
  kmend load --timeout 5m livepatch-one.ko livepatch-two.ko
  kmend load --installed`,
		Args: func(c *cobra.Command, args []string) error {
			if opt.installed && len(args) > 0 {
				return errors.New("--installed loads what is installed: give no modules with it")
			}
			if !opt.installed && len(args) == 0 {
				return errors.New("a module is missing")
			}
			return nil
		},
		ValidArgsFunction: completeModuleFiles,
		RunE:              func(c *cobra.Command, args []string) error { return a.load(c.Context(), args, opt) },
	}
	opt.register(c)
	c.Flags().BoolVar(&opt.installed, "installed", false, "load what kmend install has installed for this build of the kernel")
	return c
}

// completeModuleFiles completes the names of module files.
func completeModuleFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"ko"}, cobra.ShellCompDirectiveFilterFileExt
}

func (opt *hostOptions) register(c *cobra.Command) {
	f := c.Flags()
	f.DurationVar(&opt.Timeout, "timeout", time.Minute, "go back if a transition takes longer")
	f.BoolVar(&opt.Signal, "signal", false, "signal tasks that hold the transition up, where the kernel does not do it by itself")
	f.BoolVar(&opt.Force, "force", false, "when the time is over, force the transition instead of going back; not safe")
}

// thisHost is the running system.
func (a *app) thisHost() *host.Host {
	h := host.Open()
	h.Notice = func(text string) {
		if a.Quiet { // no progress then, but what the user must know
			fmt.Fprintln(a.Err, visible(text))
			return
		}
		a.Progress.Line(text)
	}
	return h
}

func (a *app) load(ctx context.Context, files []string, opt hostOptions) error {
	h := a.thisHost()
	opt.Progress = a.transitions()
	var outcomes []*host.Outcome
	var err error
	if opt.installed {
		outcomes, err = h.LoadInstalled(ctx, opt.Options)
	} else {
		outcomes, err = h.LoadAll(ctx, files, opt.Options)
	}
	return a.answerOutcomes(outcomes, err, "nothing is installed for this build of the kernel")
}

// transitions shows transitions: progress, and who holds them up when they
// take long or when that changes.
func (a *app) transitions() func(host.Transition) {
	const quiet = 3 * time.Second
	var told []int
	return func(t host.Transition) {
		to := "new"
		if !t.Patching {
			to = "old"
		}
		a.Progress.Update(fmt.Sprintf("%s: tasks in the %s code", t.Name, to), int64(t.Total-t.Waiting), int64(max(t.Total, t.Total-t.Waiting+1)))
		if t.Elapsed < quiet {
			return
		}
		var tids []int
		for _, task := range t.Tasks {
			tids = append(tids, task.TID)
		}
		if told != nil && slices.Equal(told, tids) {
			return
		}
		told = append([]int{}, tids...)
		a.Progress.Line(fmt.Sprintf("%s: the transition has taken %s, waiting for:", t.Name, ui.Duration(t.Elapsed)))
		for _, line := range t.Explain() {
			a.Progress.Line(line)
		}
	}
}

// outcomesAnswer is the answer of load, unload, install and uninstall.
type outcomesAnswer struct {
	Version int             `json:"version"`
	Modules []*host.Outcome `json:"modules"`
	Error   string          `json:"error,omitempty"`
	Refusal *host.Refusal   `json:"refusal"` // why not: nothing was changed
	Stalled *stalledAnswer  `json:"stalled"` // the transition was not over in time
}

// stalledAnswer says who held a transition up.
type stalledAnswer struct {
	host.Transition
	RolledBack bool `json:"rolled_back"`
}

// answerOutcomes prints what was done, and passes the error on.
func (a *app) answerOutcomes(outcomes []*host.Outcome, err error, nothing string) error {
	a.Progress.Done()
	if a.JSON {
		return a.outcomesJSON(outcomes, err)
	}
	for _, o := range outcomes {
		fmt.Fprintln(a.Out, a.outcomeText(o))
		for _, w := range o.Warnings {
			fmt.Fprintf(a.Out, "%s %s\n", a.Style.Yellow("warning:"), visible(w))
		}
	}
	if err == nil && len(outcomes) == 0 {
		fmt.Fprintln(a.Out, nothing)
	}
	return err
}

func (a *app) outcomesJSON(outcomes []*host.Outcome, err error) error {
	answer := outcomesAnswer{Version: 1, Modules: outcomes}
	if outcomes == nil {
		answer.Modules = []*host.Outcome{}
	}
	var stall *host.StallError
	if errors.As(err, &answer.Refusal); err != nil {
		answer.Error = err.Error()
	}
	if errors.As(err, &stall) {
		answer.Stalled = &stalledAnswer{stall.Transition, stall.RolledBack}
	}
	if perr := a.PrintJSON(answer); perr != nil || err == nil {
		return perr
	}
	code, _ := exitCode(err)
	return &exitError{code: code}
}

func (a *app) outcomeText(o *host.Outcome) string {
	name := a.Style.Bold(visible(o.Name))
	took := ui.Duration(time.Duration(o.TransitionMS) * time.Millisecond)
	text := o.Outcome
	switch o.Outcome {
	case host.DidLoad:
		text = fmt.Sprintf("%s, transition %s", a.Style.Green("loaded"), took)
		if o.Checked == host.ByModule {
			text += "; it names this build of the kernel (which is not one that was added, so no more was checked)"
		}
	case host.WasLoaded:
		text = "is loaded already"
	case host.DidUnload:
		text = fmt.Sprintf("unloaded, %s", took)
	case host.DidDisable:
		text = fmt.Sprintf("disabled, %s", took)
	case host.WasAbsent:
		text = "is not loaded"
	default:
		text = strings.ReplaceAll(text, "-", " ")
	}
	if o.Forced {
		text += a.Style.Red(", forced")
	}
	return name + ": " + text
}
