// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
)

// newInstallCmd is "kmend install": load live patches at every boot.
func newInstallCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "install MODULE.ko…",
		Short: "Have live patches loaded at every boot (as root)",
		Long: `install copies each module to /var/lib/kmend, below the build id of the kernel
that it was made for, and has systemd run "kmend load --installed" at boot
(kmend.service). That loads what is installed for the build of the kernel that
was booted, in the order in which it was installed, and nothing for any other:
install the modules for the next kernel before you boot it.

It loads nothing now: that is kmend load. The checks are those of kmend load, as
far as they do not need the kernel to run. A module of the same name for the same
build is replaced. An installation that is broken off at any point leaves either
the state before or the one after.`,
		Example: `  kmend install /root/kmend/livepatch-fix.ko
  kmend list --installed`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeModuleFiles,
		RunE: func(c *cobra.Command, args []string) error {
			outcomes, err := a.thisHost().Install(c.Context(), args)
			return a.answerOutcomes(outcomes, err, "")
		},
	}
}
