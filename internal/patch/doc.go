// SPDX-License-Identifier: Apache-2.0

// Package patch reads unified diffs and applies them to copies, in memory, of
// files under a source root.
//
// It knows the unified format as diff(1) and git write it, how patch(1) finds
// the place of a hunk, what kind of file a kernel path names, and how to keep
// __LINE__ of unchanged lines with #line directives. It must not know
// compilers, objects or kernels, and it never writes a file.
//
// The pipeline is Parse, Apply, then AppliedFile.LinePreserved for what is
// handed to a compiler.
package patch
