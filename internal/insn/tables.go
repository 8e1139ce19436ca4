// SPDX-License-Identifier: Apache-2.0

package insn

// form says what follows an opcode. The low bits are flags, the rest one of
// the immediate kinds.
type form uint8

const (
	bad   form = 1 << iota // undefined in 64-bit mode
	modrm                  // a ModRM byte follows
	immB                   // 1 byte
	immW                   // 2 bytes
	immZ                   // 2 with operand-size prefix, else 4
	immV                   // 8 with REX.W, 2 with operand-size prefix, else 4
	moffs                  // a full address: 8 bytes, 4 with address-size prefix
	rel                    // the immediate (immB or immZ) is a branch displacement
)

// oneByte is the one-byte opcode map. Prefixes, REX, escapes, VEX and EVEX are
// taken off before it is consulted; groups whose immediate depends on ModRM are
// corrected in decoder.immediate.
var oneByte = makeOneByte()

// twoByte is the 0F map.
var twoByte = makeTwoByte()

func fill(t *[256]form, f form, ranges ...int) {
	for i := 0; i+1 < len(ranges); i += 2 {
		for op := ranges[i]; op <= ranges[i+1]; op++ {
			t[op] = f
		}
	}
}

func makeOneByte() [256]form {
	var t [256]form
	for row := 0; row < 0x40; row += 8 { // add or adc sbb and sub xor cmp
		fill(&t, modrm, row, row+3)
		t[row+4], t[row+5] = immB, immZ
		t[row+6], t[row+7] = bad, bad // push/pop of segments, bcd adjustment
	}
	fill(&t, bad, 0x60, 0x62, 0x82, 0x82, 0x9a, 0x9a, 0xce, 0xce, 0xd4, 0xd6, 0xea, 0xea)
	fill(&t, modrm, 0x63, 0x63, 0x84, 0x8f, 0xd0, 0xd3, 0xd8, 0xdf, 0xf6, 0xf7, 0xfe, 0xff)
	fill(&t, modrm|immB, 0x6b, 0x6b, 0x80, 0x80, 0x83, 0x83, 0xc0, 0xc1, 0xc6, 0xc6)
	fill(&t, modrm|immZ, 0x69, 0x69, 0x81, 0x81, 0xc7, 0xc7)
	fill(&t, immB, 0x6a, 0x6a, 0xa8, 0xa8, 0xb0, 0xb7, 0xcd, 0xcd, 0xe4, 0xe7)
	fill(&t, immZ, 0x68, 0x68, 0xa9, 0xa9)
	fill(&t, immV, 0xb8, 0xbf)
	fill(&t, immW, 0xc2, 0xc2, 0xca, 0xca)
	fill(&t, immW|immB, 0xc8, 0xc8) // enter
	fill(&t, moffs, 0xa0, 0xa3)
	fill(&t, rel|immB, 0x70, 0x7f, 0xe0, 0xe3, 0xeb, 0xeb)
	fill(&t, rel|immZ, 0xe8, 0xe9)
	return t
}

func makeTwoByte() [256]form {
	var t [256]form
	fill(&t, modrm, 0x00, 0xff)
	fill(&t, 0, 0x05, 0x09, 0x0b, 0x0b, 0x0e, 0x0e, 0x30, 0x37, 0x77, 0x77,
		0xa0, 0xa2, 0xa8, 0xaa, 0xc8, 0xcf)
	fill(&t, bad, 0x04, 0x04, 0x0a, 0x0a, 0x0c, 0x0c, 0x24, 0x27, 0x36, 0x36,
		0x39, 0x39, 0x3b, 0x3f, 0x7a, 0x7b)
	fill(&t, modrm|immB, 0x0f, 0x0f, 0x70, 0x73, 0xa4, 0xa4, 0xac, 0xac, 0xba, 0xba,
		0xc2, 0xc2, 0xc4, 0xc6)
	fill(&t, rel|immZ, 0x80, 0x8f)
	return t
}
