// SPDX-License-Identifier: Apache-2.0

// Package driver is the compiler driver behind kmend cc.
//
// It knows which arguments of a compiler's command line are kmend's own, runs
// the real compiler with the rest, and lists the impacted functions of one
// compile. It must not know kernels or patches.
//
// Start at Run. Without a list it replaces the process by the compiler.
package driver
