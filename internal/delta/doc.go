// SPDX-License-Identifier: Apache-2.0

// Package delta tells which functions and data objects differ between two
// objects of one translation unit, compiled before and after a fix with
// -ffunction-sections -fdata-sections, and why.
//
// The work has four steps. NewUnit cuts an object into items: a function, a
// data object, a constant. References turns every relocation into "this many
// bytes into that item", whatever the assembler made of it (a section symbol
// and an addend, a global symbol, a string pool offset). Correlate says which
// item before is which item after. Compare then compares item by item, through
// the correlation.
//
// # Why comparing through a correlation is sound
//
// The object compiled after the fix is a whole, consistent program. If a
// function's bytes are equal and each of its references leads to the
// correlated item, the function as it runs behaves like the function in the
// new program, provided that every item whose content differs is replaced (a
// function) or copied for all its users (a constant). So a poor correlation of
// functions can only make the patch larger, never wrong. The one correlation
// that could be wrong is that of state: a static local paired with another
// variable of the same name would make the patched code use foreign memory.
// Where pairing state is not forced, Compare reports it as ambiguous and does
// not guess.
//
// # A part of a unit
//
// CompareExtraction does the same for the object of a file that has only some
// functions of the unit and declares the rest: an undefined symbol is the item of
// that name. State is paired there by equal code at equal places, or by being the
// only candidate; anything less is ambiguous.
//
// It knows ELF, instruction boundaries and special sections. It must not know
// a kernel image, symbol addresses, or what will be done about a difference.
package delta
