// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spf13/cobra"

// commands lists every command in the order of the help text. A new command
// is one file cmd_NAME.go and one line here.
var commands = []func(*app) *cobra.Command{
	newKernelCmd,
	newBuildCmd,
	newPlanCmd,
	newExtractCmd,
	newTestCmd,
	newVerifyCmd,
	newAuditCmd,
	newDoctorCmd,
	newCCCmd,
	newLevelsCmd,
	newSurveyCmd,
	newImpactCmd,
	newReportCmd,
	newLoadCmd,
	newUnloadCmd,
	newListCmd,
	newStatusCmd,
	newInstallCmd,
	newUninstallCmd,
	newSignCmd,
	newManCmd,
}
