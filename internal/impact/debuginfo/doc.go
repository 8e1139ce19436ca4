// SPDX-License-Identifier: Apache-2.0

// Package debuginfo answers from DWARF debug information, and holds it against
// the index of a build.
//
// DWARF tells only of inlined copies that left instructions behind, and of no
// clones: what it says is true, and less than all. It knows how the findings of
// package dwarfscan become edges. It must not know how an answer is used.
package debuginfo
