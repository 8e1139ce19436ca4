// SPDX-License-Identifier: Apache-2.0

// Package compiler knows GCC and Clang: which one a command is, what the levels
// of -flive-patching are as flags of that one, and how to read what GCC says of
// its own work.
//
// The .ipa-clones dump (-fdump-ipa-clones) logs every body that GCC copied into
// another function; the details of pass dumps say where a fact about another
// function was used. The package must not know kernels, objects or patches.
package compiler
