// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"kmend/internal/host"
)

// newUnloadCmd is "kmend unload": take a live patch out again.
func newUnloadCmd(a *app) *cobra.Command {
	var opt hostOptions
	c := &cobra.Command{
		Use:   "unload NAME…",
		Short: "Disable live patches and unload them (as root)",
		Long: `unload disables a live patch, waits until every task is back in the code from
before, and removes the module. When the time is over, or it is interrupted, the
live patch is enabled again, and the exit status is 1.

NAME is what kmend list prints; the module's file name does, too. A live patch
that is not loaded is none to unload: that is no error. One that was built never
to be unloaded (its plan says why) is only disabled: the module stays in memory,
without effect, and cannot be enabled again before the next boot.

Only live patches are unloaded, no other modules. What is installed is loaded
again at the next boot: see kmend uninstall.`,
		Example: `  kmend unload livepatch_fix
  kmend unload --timeout 5m livepatch_fix`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeLoaded,
		RunE:              func(c *cobra.Command, args []string) error { return a.unload(c.Context(), args, opt) },
	}
	opt.register(c)
	return c
}

func (a *app) unload(ctx context.Context, names []string, opt hostOptions) error {
	h := a.thisHost()
	opt.Progress = a.transitions()
	var outcomes []*host.Outcome
	for _, name := range names {
		o, err := h.Unload(ctx, host.NameOf(name), opt.Options)
		if err != nil {
			return a.answerOutcomes(outcomes, err, "")
		}
		outcomes = append(outcomes, o)
	}
	return a.answerOutcomes(outcomes, nil, "")
}

// completeLoaded completes the names of live patches that are loaded.
func completeLoaded(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := host.Open().Status()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, p := range s.Patches {
		names = append(names, p.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
