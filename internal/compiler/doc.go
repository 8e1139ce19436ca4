// SPDX-License-Identifier: Apache-2.0

// Package compiler reads what GCC says of its own work.
//
// It knows the .ipa-clones dump (-fdump-ipa-clones), in which GCC logs every
// body it copied into another function. It must not know kernels, objects or
// patches.
package compiler
