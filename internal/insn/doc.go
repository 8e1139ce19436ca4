// SPDX-License-Identifier: Apache-2.0

// Package insn finds the boundaries of x86-64 instructions and what in them is
// a branch displacement, a RIP-relative displacement or an immediate.
//
// It is a length decoder, not a disassembler: it knows which encodings carry a
// ModRM byte and immediates of which size (Intel SDM volume 2, chapter 2 and
// appendix A: the one-byte map, 0F, 0F 38, 0F 3A, VEX and EVEX, in 64-bit
// mode), names the instructions that move control, and recognises the no-ops
// that GCC and gas emit as padding. Privileged and virtualisation instructions
// are lengths like any other, which is why kernel code decodes in full.
//
// Encodings that are undefined in 64-bit mode are errors, and so is a near
// branch with an operand-size prefix, whose length differs between processor
// makers. Decode never reads beyond its input and never reports more than 15
// bytes.
//
// It must not know what an object file, a relocation or a symbol is.
package insn
