// SPDX-License-Identifier: Apache-2.0

// Package impact knows who must be patched along with a function.
//
// It knows the graph of one translation unit (GCC's account of copied bodies joined
// with the symbols and references of the object), the index of a whole build, and
// their closures. It must not know patches, or how an answer is used.
package impact
