// SPDX-License-Identifier: Apache-2.0

// Package object reads and writes x86-64 relocatable ELF files (ET_REL): the
// objects that GCC and objtool leave, the modules a distribution ships, and
// the livepatch modules kmend writes.
//
// While a file is in memory its sections and symbols are pointers; indices are
// handed out only by Bytes. Sections that merely encode the graph (the NULL
// section, the symbol and string tables, RELA sections) do not appear among
// File.Sections: relocations hang off the section they modify, and Bytes
// rebuilds the tables. Reading is total over hostile input: every offset and
// count is checked against the file before use, so an error is the worst that
// can come back.
//
// It knows the ELF and x86-64 psABI formats. It must not know what a kernel, a
// patch or a special section is.
package object
