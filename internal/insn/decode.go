// SPDX-License-Identifier: Apache-2.0

package insn

import "encoding/binary"

// opcode maps, numbered as VEX.mmmmm and EVEX.mmm number them.
const (
	mapOne  = 0
	map0F   = 1
	map0F38 = 2
	map0F3A = 3
	mapEVX5 = 5 // AVX512-FP16
	mapEVX6 = 6
)

// decoder walks one instruction.
type decoder struct {
	code []byte
	pos  int
	inst Inst

	opsize, addrsize  bool // 66, 67
	lock, repne, repe bool // F0, F2, F3
	rexW, rexB        bool
	vex               bool // VEX or EVEX encoded
	opmap             int
	opcode            byte
	modrm             byte
}

func (d *decoder) next() (byte, error) {
	if d.pos >= len(d.code) {
		return 0, ErrTruncated
	}
	b := d.code[d.pos]
	d.pos++
	return b, nil
}

func (d *decoder) decode() error {
	if err := d.prefixes(); err != nil {
		return err
	}
	if err := d.opcodeBytes(); err != nil {
		return err
	}
	f := d.form()
	if f&bad != 0 {
		return ErrUndefined
	}
	if f&modrm != 0 {
		if err := d.operand(); err != nil {
			return err
		}
	}
	if err := d.immediate(f); err != nil {
		return err
	}
	d.inst.Len = d.pos
	d.classify()
	return nil
}

// prefixes consumes legacy prefixes and a REX prefix. A REX that is not the
// last prefix has no effect (SDM 2.2.1).
func (d *decoder) prefixes() error {
	for {
		b, err := d.next()
		if err != nil {
			return err
		}
		switch {
		case b == 0x66:
			d.opsize = true
		case b == 0x67:
			d.addrsize = true
		case b == 0xf0:
			d.lock = true
		case b == 0xf2:
			d.repne = true
		case b == 0xf3:
			d.repe = true
		case b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x64 || b == 0x65:
		case b&0xf0 == 0x40:
			d.rexW, d.rexB = b&8 != 0, b&1 != 0
			if d.pos < len(d.code) && isLegacyPrefix(d.code[d.pos]) {
				d.rexW, d.rexB = false, false
			} else if d.pos < len(d.code) && d.code[d.pos]&0xf0 == 0x40 {
				d.rexW, d.rexB = false, false
			} else {
				d.inst.OpcodeOff = d.pos
				return nil
			}
		default:
			d.pos--
			d.inst.OpcodeOff = d.pos
			return nil
		}
	}
}

func isLegacyPrefix(b byte) bool {
	switch b {
	case 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65:
		return true
	}
	return false
}

// opcodeBytes consumes escapes or a VEX or EVEX prefix, and the opcode.
func (d *decoder) opcodeBytes() error {
	rex := d.pos > 0 && d.code[d.pos-1]&0xf0 == 0x40
	b, err := d.next()
	if err != nil {
		return err
	}
	switch b {
	case 0x0f:
		return d.escape()
	case 0xc4, 0xc5, 0x62:
		// In 64-bit mode these are never lds, les or bound. They exclude the
		// prefixes that they encode themselves (SDM 2.3.2 to 2.3.4).
		if rex || d.opsize || d.lock || d.repne || d.repe {
			return ErrUndefined
		}
		return d.extended(b)
	}
	d.opmap, d.opcode = mapOne, b
	return nil
}

func (d *decoder) escape() error {
	b, err := d.next()
	if err != nil {
		return err
	}
	d.opmap, d.opcode = map0F, b
	switch b {
	case 0x38:
		d.opmap = map0F38
	case 0x3a:
		d.opmap = map0F3A
	default:
		return nil
	}
	d.opcode, err = d.next()
	return err
}

// extended consumes what follows the first byte of VEX2 (C5), VEX3 (C4) or
// EVEX (62), and the opcode.
func (d *decoder) extended(first byte) error {
	d.vex = true
	p0, err := d.next()
	if err != nil {
		return err
	}
	extra := 0
	switch first {
	case 0xc5:
		d.opmap = map0F
	case 0xc4:
		d.opmap = int(p0 & 0x1f)
		extra = 1
		if d.opmap < map0F || d.opmap > map0F3A {
			return ErrUndefined
		}
	case 0x62:
		d.opmap = int(p0 & 7)
		extra = 2
		if d.opmap == mapOne || d.opmap == 4 || d.opmap == 7 || p0&8 != 0 {
			return ErrUndefined
		}
	}
	for range extra {
		p, err := d.next()
		if err != nil {
			return err
		}
		if first == 0x62 && extra == 2 && d.pos == d.inst.OpcodeOff+3 && p&4 == 0 {
			return ErrUndefined // EVEX.P1[2] is fixed to 1
		}
	}
	d.opcode, err = d.next()
	return err
}

func (d *decoder) form() form {
	switch d.opmap {
	case mapOne:
		return oneByte[d.opcode]
	case map0F38, mapEVX5, mapEVX6:
		return modrm
	case map0F3A:
		return modrm | immB
	}
	f := twoByte[d.opcode]
	if !d.vex {
		return f
	}
	if d.opcode == 0x77 { // vzeroupper, vzeroall
		return 0
	}
	return modrm | f&immB
}

// operand consumes ModRM, SIB and displacement.
func (d *decoder) operand() error {
	b, err := d.next()
	if err != nil {
		return err
	}
	d.modrm = b
	mod, rm := b>>6, b&7
	if d.opmap == map0F && !d.vex && d.opcode >= 0x20 && d.opcode <= 0x23 {
		return nil // moves to and from control registers ignore mod
	}
	if mod == 3 {
		return nil
	}
	if rm == 4 {
		sib, err := d.next()
		if err != nil {
			return err
		}
		if mod == 0 && sib&7 == 5 {
			return d.disp(4)
		}
	}
	switch {
	case mod == 1:
		return d.disp(1)
	case mod == 2:
		return d.disp(4)
	case rm == 5:
		d.inst.RIPRel = true
		return d.disp(4)
	}
	return nil
}

func (d *decoder) disp(n int) error {
	d.inst.DispOff, d.inst.DispLen = d.pos, n
	return d.skip(n)
}

func (d *decoder) skip(n int) error {
	if n > len(d.code)-d.pos {
		return ErrTruncated
	}
	d.pos += n
	return nil
}

// immediate consumes what follows the operand.
func (d *decoder) immediate(f form) error {
	n := 0
	if f&immB != 0 {
		n++
	}
	if f&immW != 0 {
		n += 2
	}
	if f&immZ != 0 {
		n += d.sizeZ()
	}
	if f&immV != 0 {
		n = d.sizeZ()
		if d.rexW {
			n = 8
		}
	}
	if f&moffs != 0 {
		n = 8
		if d.addrsize {
			n = 4
		}
	}
	more, err := d.byModRM()
	if err != nil {
		return err
	}
	n += more
	at := d.pos
	if err := d.skip(n); err != nil {
		return err
	}
	if f&rel != 0 || d.opmap == mapOne && !d.vex && d.opcode == 0xc7 && d.modrm == 0xf8 {
		return d.branch(at, n)
	}
	if n > 0 {
		d.inst.ImmOff, d.inst.ImmLen = at, n
	}
	return nil
}

// sizeZ is the size of an operand-size dependent immediate.
func (d *decoder) sizeZ() int {
	if d.opsize && !d.rexW {
		return 2
	}
	return 4
}

// byModRM is the number of immediate bytes that only the ModRM byte decides,
// and the check of groups with undefined members.
func (d *decoder) byModRM() (int, error) {
	reg := d.modrm >> 3 & 7
	switch {
	case d.vex:
		return 0, nil
	case d.opmap == map0F && d.opcode == 0x78 && (d.opsize || d.repne):
		return 2, nil // SSE4a extrq, insertq
	case d.opmap != mapOne:
		return 0, nil
	}
	switch d.opcode {
	case 0xf6, 0xf7: // test has an immediate, its group siblings have not
		if reg > 1 {
			return 0, nil
		}
		if d.opcode == 0xf6 {
			return 1, nil
		}
		return d.sizeZ(), nil
	case 0xc6, 0xc7: // mov, xabort, xbegin
		if reg != 0 && d.modrm != 0xf8 {
			return 0, ErrUndefined
		}
	case 0x8f: // pop; otherwise XOP
		if reg != 0 {
			return 0, ErrUndefined
		}
	case 0xfe:
		if reg > 1 {
			return 0, ErrUndefined
		}
	case 0xff:
		if reg == 7 {
			return 0, ErrUndefined
		}
	}
	return 0, nil
}

func (d *decoder) branch(at, n int) error {
	if n == 2 && d.opcode != 0xc7 {
		return ErrUndefined // Intel ignores the prefix here, AMD does not
	}
	d.inst.Rel, d.inst.RelOff, d.inst.RelWidth = true, at, n
	var disp int64
	switch n {
	case 1:
		disp = int64(int8(d.code[at]))
	case 2:
		disp = int64(int16(binary.LittleEndian.Uint16(d.code[at:])))
	case 4:
		disp = int64(int32(binary.LittleEndian.Uint32(d.code[at:])))
	}
	d.inst.Target = int64(d.pos) + disp
	return nil
}

// classify sets Op and Cond.
func (d *decoder) classify() {
	switch {
	case d.vex:
	case d.opmap == mapOne:
		d.inst.Op, d.inst.Cond = d.classOneByte()
	case d.opmap == map0F:
		d.inst.Op = d.classTwoByte()
		if d.inst.Op == Jcc {
			d.inst.Cond = d.opcode & 15
		}
	}
}

func (d *decoder) classOneByte() (Op, uint8) {
	op := d.opcode
	reg := d.modrm >> 3 & 7
	switch {
	case op == 0xe8:
		return Call, 0
	case op == 0xe9 || op == 0xeb:
		return Jmp, 0
	case op >= 0x70 && op <= 0x7f:
		return Jcc, op & 15
	case op >= 0xe0 && op <= 0xe3:
		return Loop, op & 3
	case op == 0xc7 && d.modrm == 0xf8:
		return XBegin, 0
	case op == 0xff && (reg == 2 || reg == 3):
		return CallInd, 0
	case op == 0xff && (reg == 4 || reg == 5):
		return JmpInd, 0
	case op == 0xc3 || op == 0xc2 || op == 0xca || op == 0xcb || op == 0xcf:
		return Ret, 0
	case op == 0xcc:
		return Int3, 0
	case op == 0x90 && !d.rexB && !d.repe && !d.repne && !d.lock:
		return Nop, 0
	}
	return Other, 0
}

func (d *decoder) classTwoByte() Op {
	switch op := d.opcode; {
	case op >= 0x80 && op <= 0x8f:
		return Jcc
	case op == 0x0b || op == 0xb9 || op == 0xff:
		return UD
	case op == 0x1e && d.modrm == 0xfa && d.repe:
		return Endbr64
	case op == 0x1f && d.modrm>>3&7 == 0 && !d.lock && !d.repe && !d.repne:
		return Nop
	}
	return Other
}
