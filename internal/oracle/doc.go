// SPDX-License-Identifier: Apache-2.0

// Package oracle finds out who depends on a function without trusting any dump.
//
// It knows how to compile a translation unit with one body hidden, how to tell whosen// code changes, and how to prove by further compiles why. It must not know then// symbol tables of kernels, or patches.
package oracle
