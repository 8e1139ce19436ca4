// SPDX-License-Identifier: Apache-2.0

// Package sourceplan is the source way of a live patch: it has the functions of
// a plan extracted as C files, compiles those, proves that the extraction kept
// the meaning, and makes the plan's new code from their objects.
package sourceplan
