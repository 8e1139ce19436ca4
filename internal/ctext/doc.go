// SPDX-License-Identifier: Apache-2.0

// Package ctext knows C as text: preprocessing tokens, the directives that GCC
// leaves in the output of -E -fdirectives-only, and macro expansion that
// remembers for every token where it was spelled. It does not know what
// declarations are.
//
// Read makes a Document of that output, and Document.Expand expands it. The
// expansion follows GCC's libcpp step by step, so that it equals gcc -E token for
// token. Two things happen to the source that the output does not show: macros
// put back by #pragma pop_macro, which Document.CheckHidden refuses, and a #if
// between a macro's name and its arguments.
package ctext
