// SPDX-License-Identifier: Apache-2.0

// Package ui is what kmend knows about terminals: progress, tables, colour.
//
// It prints for people only: nothing that a program reads (JSON, file
// contents) passes through it. On a terminal, progress is one line that is
// redrawn at most ten times a second; anywhere else it is plain lines, one
// when a phase begins and one every ten seconds while it lasts, so that a log
// stays readable and never silent.
//
// Only cmd may import it; it knows nothing about kernels, patches or plans.
package ui
