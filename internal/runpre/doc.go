// SPDX-License-Identifier: Apache-2.0

// Package runpre proves that a function compiled now is the function that
// runs: run-pre matching, as Ksplice named it.
//
// "Pre" is an object that the kernel's own command line (plus
// -ffunction-sections -fdata-sections) makes of the unpatched source; "run" is
// the kernel's image or a module as shipped. Both were compiled from what
// should be the same source by what should be the same compiler. The proof is
// that all instructions are equal and that everything an instruction refers to
// is the same thing on both sides:
//
//   - Instructions are walked in lock step. Bytes that no relocation and no
//     branch displacement covers must be equal.
//   - Each relocated operand is turned round: from the value the running code
//     has there follows where the symbol must be. The running symbol table has
//     to have that name there; sections have to have all their names there;
//     strings and constants have to have the same bytes there; read-only data
//     has to be equal with all that it refers to.
//   - One section has one address: observations of all functions of the
//     translation unit must agree.
//   - What follows a function up to the next symbol must be padding.
//
// A reference that cannot be checked is a mismatch. Differences that the two
// ways of compiling are known to cause are normalised by named rules (see
// Rule), and every use of a rule is counted in the result. Nothing else is
// tolerated. Where several running functions have the name, being equal is not
// enough: something else of the translation unit has to tie the right one to it
// (a reference, a common static, its place in emission order), or the answer is
// "ambiguous".
//
// Special sections are not compared. They hang off the instructions by address,
// so comparing them would mean to find, for every matched function, the entries
// of the image's .altinstructions, .parainstructions, .smp_locks, __bug_table,
// __ex_table, __jump_table, .static_call_sites, .retpoline_sites, .return_sites
// and .orc_unwind that point into it, and to map them through the walk's table
// of instruction starts; the image sorts some of these tables when it is linked.
// What they say follows from the same source lines as the instructions do.
//
// By the way the proof yields what cannot be had otherwise: the address of
// every static object and function that matched code refers to.
//
// It knows x86-64 relocations, the kernel's symbol table and how GNU ld and
// GCC place things. It must not know what a patch is.
package runpre
