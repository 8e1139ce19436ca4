// SPDX-License-Identifier: Apache-2.0

// Command kmend fixes a running Linux kernel: it makes live patches out of
// source fixes, proves them against the kernel that runs, and tests them in a
// virtual machine.
//
// This package knows flags, help, printing and exit codes, one file a command
// (cmd_NAME.go), and nothing of how anything is done.
package main
