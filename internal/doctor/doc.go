// SPDX-License-Identifier: Apache-2.0

// Package doctor probes a compiler for the facts about one function that it uses inn// another.
//
// It knows small C programs and how to tell from the code made of them whether an// fact was used. It must not know kernels or patches.
package doctor
