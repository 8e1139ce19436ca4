// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"bytes"

	"kmend/internal/delta"
	"kmend/internal/insn"
)

// Register numbers of x86-64, as instructions encode them.
const (
	noRegister = -1
	regRAX     = 0
	regRSP     = 4
)

// regs is a set of registers.
type regs uint16

func (s regs) with(r int) regs {
	if r < 0 {
		return s
	}
	return s | 1<<r
}
func (s regs) without(r int) regs {
	if r < 0 {
		return s
	}
	return s &^ (1 << r)
}
func (s regs) has(r int) bool { return r >= 0 && s&(1<<r) != 0 }

// The calling convention (psABI 3.2.3): arguments in rdi, rsi, rdx, rcx, r8,
// r9; results in rax and rdx; rax, r10 and r11 do not survive a call either.
const (
	argumentRegs = regs(1<<7 | 1<<6 | 1<<2 | 1<<1 | 1<<8 | 1<<9)
	resultRegs   = regs(1<<regRAX | 1<<2)
	scratchRegs  = argumentRegs | 1<<regRAX | 1<<10 | 1<<11
)

// trace follows an address through the registers of one function.
type trace struct {
	it   *delta.Item
	code []byte
	seen map[place]bool
}

// place is where the trace stands, and the registers that hold the address.
type place struct {
	at   int
	held regs
}

// maxPlaces bounds the work on one reference; beyond it the address counts as
// kept.
const maxPlaces = 4096

// follow reports whether the address may go where it can be kept.
func (t *trace) follow(p place) bool {
	for p.held != 0 && !t.seen[p] {
		if len(t.seen) >= maxPlaces || p.at < 0 || p.at >= len(t.code) {
			return true
		}
		t.seen[p] = true
		in, err := insn.Decode(t.code[p.at:])
		if err != nil {
			return true
		}
		switch in.Op {
		case insn.Call, insn.CallInd, insn.JmpInd:
			if p.held&argumentRegs != 0 && (in.Op != insn.Call || !keepNothing[t.callee(p.at, in)]) {
				return true
			}
			if in.Op == insn.JmpInd { // a tail call: what survives it is the caller's
				return false
			}
			p.held &^= scratchRegs
		case insn.Ret:
			return p.held&resultRegs != 0
		case insn.Jmp, insn.Jcc:
			target := p.at + int(in.Target)
			inside := t.callee(p.at, in) == "" && !t.leaves(p.at, in) && target >= 0 && target < len(t.code)
			switch {
			case inside && in.Op == insn.Jmp:
				p.at = target
				continue
			case inside:
				if t.follow(place{target, p.held}) {
					return true
				}
			case t.callee(p.at, in) == "__x86_return_thunk": // a return, arch/x86/lib/retpoline.S
				return p.held&resultRegs != 0
			case in.Op == insn.Jmp:
				return p.held&argumentRegs != 0 && !keepNothing[t.callee(p.at, in)] || t.leaves(p.at, in)
			default:
				return true // to another part of the function
			}
		case insn.Int3:
			return false
		case insn.Nop, insn.UD: // a warning goes on behind ud2
		case insn.Other:
			code := t.code[p.at : p.at+in.Len]
			held, ok := step(code, in, p.held)
			if !ok {
				return true
			}
			if bytes.IndexByte(code[:in.OpcodeOff], 0x66) >= 0 {
				held |= p.held // a 16-bit operation leaves the rest of a register
			}
			p.held = held
		default:
			return true
		}
		p.at += in.Len
	}
	return false
}

// pushed reports whether a call of a function that keeps nothing comes next.
func (t *trace) pushed(at int) bool {
	for at < len(t.code) {
		in, err := insn.Decode(t.code[at:])
		if err != nil {
			return false
		}
		switch in.Op {
		case insn.Call:
			return keepNothing[t.callee(at, in)]
		case insn.Other, insn.Nop:
			if op := t.code[at+in.OpcodeOff]; op >= 0x58 && op <= 0x5f {
				return false
			}
		default:
			return false
		}
		at += in.Len
	}
	return false
}

// branch is the reference of a direct branch, or nil if it stays inside.
func (t *trace) branch(at int, in insn.Inst) *delta.Ref {
	for i := range t.it.Refs {
		if r := &t.it.Refs[i]; r.Branch && r.Offset == uint64(at+in.RelOff) {
			return r
		}
	}
	return nil
}

// callee is the undefined symbol a direct branch goes to, or "".
func (t *trace) callee(at int, in insn.Inst) string {
	if r := t.branch(at, in); r != nil {
		return r.Target.Extern
	}
	return ""
}

// leaves reports whether a branch goes to another item of the unit.
func (t *trace) leaves(at int, in insn.Inst) bool {
	r := t.branch(at, in)
	return r != nil && r.Target.Item != nil
}

// step says which registers hold the address behind an instruction that is no
// branch. ok is false if the instruction may put it elsewhere; what is not
// known may.
func step(code []byte, in insn.Inst, held regs) (after regs, ok bool) {
	rex, op, at := prefix(code, in), code[in.OpcodeOff], in.OpcodeOff+1
	m := modrm(code, at, rex)
	switch {
	case op >= 0x50 && op <= 0x57: // push
		return held, !held.has(int(op&7 | rex&1<<3))
	case op >= 0x58 && op <= 0x5f: // pop
		return held.without(int(op&7 | rex&1<<3)), true
	case op >= 0xb8 && op <= 0xbf: // mov $imm, %reg
		return held.without(int(op&7 | rex&1<<3)), true
	case op == 0x98, op == 0xa8, op == 0xa9: // cltq and the like; test of rax
		return held, true
	case op == 0x99: // cqto
		return held.without(2), true
	case op == 0x8a: // load of one byte
		return held, !m.direct
	case op == 0xc0, op == 0xc1, op >= 0xd0 && op <= 0xd3, op == 0xfe, op == 0xff && m.reg&7 < 2: // shift, inc, dec
		return held, !m.direct || !held.has(m.rm)
	case op == 0x69, op == 0x6b: // imul
		return held.without(m.reg), !m.direct || !held.has(m.rm)
	case op == 0xf6, op == 0xf7: // test; not, neg, mul, div
		return held, m.reg&7 < 2 || held&resultRegs == 0 && (!m.direct || !held.has(m.rm))
	case op == 0x68, op == 0x6a: // push $imm
		return held, true
	case op == 0xc6, op == 0xc7: // mov $imm
		if m.direct && op == 0xc7 {
			return held.without(m.rm), true
		}
		return held, true
	case op == 0x84, op == 0x85, op < 0x40 && op&0x38 == 0x38 && op&7 < 6, op == 0x80, op == 0x81, op == 0x83: // test, cmp; with an immediate the result stays in place
		return held, true
	case (op == 0x31 || op == 0x33) && m.direct && m.reg == m.rm: // xor %reg, %reg
		return held.without(m.rm), true
	case op == 0x89: // mov %reg, to
		if !m.direct {
			return held, !held.has(m.reg)
		}
		return move(held, m.reg, m.rm), true
	case op == 0x8b, op == 0x63: // mov from, %reg
		if !m.direct {
			return held.without(m.reg), true
		}
		return move(held, m.rm, m.reg), true
	case op == 0x88: // mov of one byte
		return held, !held.has(m.reg)
	case op == 0x8d: // lea
		if held.has(m.rm) || held.has(m.index) {
			return held.with(m.reg), true
		}
		return held.without(m.reg), true
	case op == 0x0f && at < len(code):
		n := modrm(code, at+1, rex)
		switch op2 := code[at]; {
		case op2 >= 0xb6 && op2 <= 0xb7, op2 >= 0xbe && op2 <= 0xbf: // movzx, movsx
			return held.without(n.reg), true
		case op2 >= 0x40 && op2 <= 0x4f: // cmov
			if n.direct && held.has(n.rm) {
				return held.with(n.reg), true
			}
			return held, true
		case op2 >= 0x90 && op2 <= 0x9f, op2 == 0xa3, op2 == 0xba && n.reg&7 == 4: // setcc, bt
			return held, true
		case op2 == 0xaf: // imul
			return held, !held.has(n.reg) && !(n.direct && held.has(n.rm))
		}
	case op < 0x40 && (op&7 == 4 || op&7 == 5): // with an immediate, of rax
		return held, !held.has(regRAX)
	case op < 0x40 && op&7 < 4: // other arithmetic
		return held, !held.has(m.reg) && !(m.direct && held.has(m.rm))
	}
	return held, false
}

// move is what a copy of all of a register does.
func move(held regs, from, to int) regs {
	if held.has(from) {
		return held.with(to)
	}
	return held.without(to)
}
