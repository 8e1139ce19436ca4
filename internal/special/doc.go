// SPDX-License-Identifier: Apache-2.0

// Package special knows the sections of a kernel object whose entries describe
// single instructions elsewhere: what an entry looks like, which code it
// belongs to, and how entries of several objects may be strung together.
//
// Every such section is an array. An entry belongs to the code its owner
// relocation points at, so a function can take its entries along when it moves
// to another object. Formats are those of Linux 6.1 on x86-64; each row of the
// table names the structure it comes from.
//
// It must not know what changed, what will be replaced, or how a livepatch
// module is laid out.
package special
