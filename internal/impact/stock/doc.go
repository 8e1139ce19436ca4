// SPDX-License-Identifier: Apache-2.0

// Package stock answers for a kernel that left neither dumps nor debug
// information behind: it compiles just the units concerned, with dumps on, and
// finds their functions in the kernel's image and modules.
//
// It knows how a function's definition looks in the kernel's source, and run-pre
// matching. It must not know patches, or how an answer is used.
package stock
