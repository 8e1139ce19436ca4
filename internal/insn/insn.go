// SPDX-License-Identifier: Apache-2.0

package insn

import (
	"errors"
	"fmt"
)

// MaxLen is the greatest length of an x86 instruction in bytes (SDM 2.3.11).
const MaxLen = 15

// Op classes instructions by what they do to control flow.
type Op uint8

const (
	Other   Op = iota // falls through to the next instruction
	Call              // call rel32
	Jmp               // jmp rel8 or rel32
	Jcc               // conditional jump, rel8 or rel32
	Loop              // loop, loope, loopne, jrcxz: rel8 only
	XBegin            // xbegin: rel16 or rel32 to the abort handler
	CallInd           // call through a register or memory
	JmpInd            // jmp through a register or memory
	Ret               // ret, far ret, iret
	Int3              // int3
	UD                // ud0, ud1, ud2
	Nop               // a no-op that compilers and assemblers emit as padding
	Endbr64           // endbr64
)

var opNames = [...]string{"other", "call", "jmp", "jcc", "loop", "xbegin", "call*", "jmp*", "ret", "int3", "ud", "nop", "endbr64"}

// String is a short lower-case name.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("op%d", uint8(o))
}

// Inst is one decoded instruction. All offsets are in bytes from its first
// byte.
type Inst struct {
	Len       int
	Op        Op
	OpcodeOff int // first byte after the prefixes (of 0F, C4, C5 and 62 too)

	// A direct branch has Rel set: a displacement of RelWidth (1, 2 or 4) bytes
	// at RelOff, and its target Target bytes from the start of the instruction.
	Rel      bool
	RelOff   int
	RelWidth int
	Target   int64
	Cond     uint8 // Jcc: condition code 0-15, Loop: 0-3

	// A memory operand has DispLen (0, 1 or 4) bytes of displacement at
	// DispOff; RIPRel says that it is relative to the end of the instruction.
	RIPRel  bool
	DispOff int
	DispLen int

	// ImmLen bytes of immediates at ImmOff; branch displacements do not count,
	// moffs addresses do.
	ImmOff int
	ImmLen int
}

// IsBranch reports whether control may go to Target.
func (i Inst) IsBranch() bool { return i.Rel }

// EndsFlow reports whether the next instruction is not reached by falling
// through.
func (i Inst) EndsFlow() bool {
	switch i.Op {
	case Jmp, JmpInd, Ret, UD, Int3:
		return true
	}
	return false
}

// Field is a run of bytes of an instruction that can hold an address.
type Field uint8

const (
	NoField   Field = iota
	FieldRel        // branch displacement
	FieldDisp       // displacement of a memory operand
	FieldImm        // immediate
)

// FieldAt tells which field of the instruction is exactly the width bytes at
// off: what a relocation there would modify.
func (i Inst) FieldAt(off, width int) Field {
	switch {
	case i.Rel && off == i.RelOff && width == i.RelWidth:
		return FieldRel
	case i.DispLen > 0 && off == i.DispOff && width == i.DispLen:
		return FieldDisp
	case i.ImmLen > 0 && off == i.ImmOff && width == i.ImmLen:
		return FieldImm
	}
	return NoField
}

// Errors of Decode.
var (
	ErrTruncated = errors.New("instruction runs beyond the code")
	ErrTooLong   = errors.New("instruction is longer than 15 bytes")
	ErrUndefined = errors.New("encoding is undefined in 64-bit mode")
)

// Decode decodes the instruction at the start of code, which may be longer.
// The error is ErrTruncated, ErrTooLong or ErrUndefined.
func Decode(code []byte) (Inst, error) {
	d := decoder{code: code}
	if len(d.code) > MaxLen {
		d.code = d.code[:MaxLen]
	}
	if err := d.decode(); err != nil {
		if err == ErrTruncated && len(code) >= MaxLen {
			err = ErrTooLong
		}
		return Inst{}, err
	}
	return d.inst, nil
}

// Padding returns the number of bytes at the start of code that are int3 or
// no-op instructions and end at or before len(code).
func Padding(code []byte) int {
	n := 0
	for n < len(code) {
		i, err := Decode(code[n:])
		if err != nil || i.Op != Nop && i.Op != Int3 {
			return n
		}
		n += i.Len
	}
	return n
}
