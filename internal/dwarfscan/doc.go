// SPDX-License-Identifier: Apache-2.0

// Package dwarfscan reads functions and inlined copies out of DWARF debug
// information, fast.
//
// It knows .debug_info, .debug_abbrev and the sections that these point into, of
// DWARF 4 and 5 in a 64-bit little-endian ELF file: an image, a module or an
// object file. It must not know what its findings mean.
//
// What makes it fast: no value is made for an entry that nobody asked for. Each
// abbreviation is turned into the number of bytes to skip, or a short program
// if that number is not fixed; attributes are decoded for functions, inlined
// copies and the unit itself only; names stay offsets until all of a unit is
// read. Units are independent and are spread over all cores.
package dwarfscan
