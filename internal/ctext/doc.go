// SPDX-License-Identifier: Apache-2.0

// Package ctext knows C as text: preprocessing tokens, the directives that GCC
// leaves in the output of -E -fdirectives-only, and macro expansion that
// remembers for every token where it was spelled. It does not know what
// declarations are.
package ctext
