// SPDX-License-Identifier: Apache-2.0

// Package doctor probes a compiler for the facts about one function that it
// uses in another.
//
// A probe is a small C program in two variants: the same caller, another callee
// (or the same callee, another caller). The function that is watched has the
// same source in both. If its machine code differs, the compiler used a fact
// that holds in one variant only: whatever an option or a log says. In a third
// and fourth compile the fact is hidden from the compiler; if the code differs
// even then, the probe does not measure what it says, and it is reported as
// broken.
//
// It knows small C programs and how to tell from the code made of them whether
// a fact was used. It must not know kernels or patches.
package doctor
