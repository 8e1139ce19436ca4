// SPDX-License-Identifier: Apache-2.0

package insn

// OnlyReads reports whether the instruction at the start of code does no more
// with its memory operand than read it: neither write it nor take its address
// (SDM volume 2, appendix A). Of instructions that compilers rarely make it
// says no, which is the careful answer.
func OnlyReads(code []byte) bool {
	in, err := Decode(code)
	if err != nil || in.OpcodeOff+1 >= in.Len {
		return false
	}
	op := code[in.OpcodeOff:in.Len]
	if op[0] == 0x0f {
		return len(op) > 2 && twoByteReads(op[1], op[2])
	}
	extension := op[1] >> 3 & 7 // of the ModRM byte
	switch op[0] {
	case 0x02, 0x03, 0x0a, 0x0b, 0x12, 0x13, 0x1a, 0x1b, 0x22, 0x23, 0x2a, 0x2b, 0x32, 0x33: // add to xor, into a register
		return true
	case 0x38, 0x39, 0x3a, 0x3b, 0x84, 0x85: // cmp, test
		return true
	case 0x63, 0x69, 0x6b, 0x8a, 0x8b: // movsxd, imul, mov
		return true
	case 0x80, 0x81, 0x83:
		return extension == 7 // cmp
	case 0xf6, 0xf7:
		return extension != 2 && extension != 3 // not, neg
	case 0xff:
		return extension == 2 || extension == 4 || extension == 6 // call, jmp, push
	}
	return false
}

// IsLea reports whether the instruction at the start of code is lea, which has a
// memory operand and only computes its address.
func IsLea(code []byte) bool {
	in, err := Decode(code)
	return err == nil && code[in.OpcodeOff] == 0x8d
}

func twoByteReads(op, modRM byte) bool {
	switch {
	case op >= 0x40 && op <= 0x4f: // cmov
		return true
	case op == 0xa3, op == 0xaf, op == 0xbc, op == 0xbd: // bt, imul, bsf, bsr
		return true
	case op == 0xb6, op == 0xb7, op == 0xbe, op == 0xbf: // movzx, movsx
		return true
	case op == 0xba:
		return modRM>>3&7 == 4 // bt
	}
	return false
}
