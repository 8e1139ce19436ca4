// SPDX-License-Identifier: Apache-2.0

// Package cctest compiles small C programs for the tests of every package.
//
// It knows how to run a compiler on a text. It must not know what the object
// means.
package cctest
