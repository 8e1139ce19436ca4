// SPDX-License-Identifier: Apache-2.0

// Package oracle finds out who depends on a function without trusting any dump.
//
// A translation unit is compiled twice: as it is, and with one line behind its
// end that makes the body of one function opaque to the rest of it. Every other
// function whose code differs depends on that body. What was predicted from
// GCC's own account (package impact) is held against that, and for each
// function that was not predicted further compiles prove why it differs.
//
// It knows how to compile a translation unit with one body hidden, how to tell
// whose code changes, and how to prove by further compiles why. It must not know
// the symbol tables of kernels, or patches.
package oracle
