// SPDX-License-Identifier: Apache-2.0

// Package index knows who is impacted by whom in a whole build, from one flat
// file that is made once and mapped into memory.
//
// Build reads the .ipa-clones dumps of a build with the object beside each,
// joins them into one graph whose nodes are keyed by translation unit and
// order, and writes it; Open and the questions asked of an Index read it
// (docs/index-format.md). A unit is scanned straight into integers: what
// package impact says of one unit, this package must say of it too, and a test
// holds the two together.
//
// It must not know patches, or how an answer is used.
package index
