// SPDX-License-Identifier: Apache-2.0

// Package dwarfscan reads functions and inlined copies out of DWARF debugn// information, fast.
//
// It knows .debug_info, .debug_abbrev and the string sections. It must not know whatn// its findings mean.
package dwarfscan
