// SPDX-License-Identifier: Apache-2.0

// Package evidence gathers what a reviewer wants to see beside a plan: the text
// of the fix, and of each function that is replaced the source and the
// instructions before and after.
//
// A plan names these and does not hold them. The text of a fix counts only if
// its digest is the plan's; source and instructions come from the kernel that
// the plan is for. What cannot be had is a note, never a gap: the reader sees
// why. The package must not know how evidence is shown.
package evidence
