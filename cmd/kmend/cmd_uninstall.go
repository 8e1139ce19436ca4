// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/spf13/cobra"

	"kmend/internal/host"
)

// newUninstallCmd is "kmend uninstall": no longer load live patches at boot.
func newUninstallCmd(a *app) *cobra.Command {
	var build string
	c := &cobra.Command{
		Use:   "uninstall NAME…",
		Short: "No longer have live patches loaded at boot (as root)",
		Long: `uninstall removes installed modules, for all builds of kernels, or only for the
one that --build-id names (kmend list --installed shows them). What is loaded
stays loaded until it is unloaded, or until the next boot.`,
		Example:           "  kmend uninstall livepatch_fix",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeInstalled,
		RunE:              func(c *cobra.Command, args []string) error { return a.uninstall(c.Context(), args, build) },
	}
	c.Flags().StringVar(&build, "build-id", "", "only what is installed for this build of a kernel")
	return c
}

func (a *app) uninstall(ctx context.Context, names []string, build string) error {
	h := a.thisHost()
	var outcomes []*host.Outcome
	for _, name := range names {
		o, err := h.Uninstall(ctx, host.NameOf(name), build)
		outcomes = append(outcomes, o...)
		if err != nil {
			return a.answerOutcomes(outcomes, err, "")
		}
	}
	return a.answerOutcomes(outcomes, nil, "")
}

// completeInstalled completes the names of modules that are installed.
func completeInstalled(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := host.Open().Installed()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, b := range all.Builds {
		for _, m := range b.Modules {
			names = append(names, m.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
