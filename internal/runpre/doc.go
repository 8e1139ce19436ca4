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
// tolerated. Special sections (.altinstructions, __bug_table, __ex_table,
// __jump_table and the like) are not compared: they hang off the instructions
// by address and the kernel's own were discarded or rewritten in part.
//
// By the way the proof yields what cannot be had otherwise: the address of
// every static object and function that matched code refers to.
//
// It knows x86-64 relocations, the kernel's symbol table and how GNU ld and
// GCC place things. It must not know what a patch is.
package runpre
