// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"slices"

	"kmend/internal/insn"
	"kmend/internal/object"
)

const bindWeak = byte(elf.STB_WEAK)

// maxOutlines bounds the pieces of nameless code of one function.
const maxOutlines = 4096

// slack is how many bytes more than the object's function the running one may
// have. Branches only get shorter when the assembler resolves them, so growth
// is padding within the function.
const slack = 256

// walker compares a run of code, a function or a piece of nameless code that
// belongs to one, instruction by instruction.
type walker struct {
	*unit
	*attempt
	sec    *object.Section
	base   uint64         // where ours starts in sec
	ours   []byte         // the object's code
	relocs []object.Reloc // those of sec from base on that are not yet consumed
	theirs []byte         // running code, may go on behind the function
	place  uint64         // running address of theirs[0]
	a, b   int            // current instruction in ours and theirs

	parent  *walker // set for nameless code: where it is jumped to from
	pending []jump
}

// start pairs the offsets of an instruction in both functions.
type start struct{ ours, theirs int }

// jump is a branch or address within the function, to be checked when the
// whole mapping is known.
type jump struct {
	from, to int    // in ours
	dest     uint64 // running address
}

// side is one instruction of one side.
type side struct {
	insn.Inst
	code []byte
}

func (w *walker) differ(format string, args ...any) *difference {
	return &difference{uint64(w.a), fmt.Sprintf(format, args...)}
}

func (u *unit) walker(a *attempt, sec *object.Section, off, size, place uint64) *walker {
	r := sec.Relocs
	return &walker{
		unit: u, attempt: a, sec: sec, base: off, ours: sec.Data[off : off+size],
		relocs: r[searchRelocs(r, off):], theirs: u.run.code(place, int(size)+slack), place: place,
	}
}

// compare compares the function of an attempt with its candidate.
func (u *unit) compare(a *attempt) *difference {
	w := u.walker(a, a.fn.Section, a.fn.Value, a.fn.Size, a.cand.place)
	if d := w.body(); d != nil {
		return d
	}
	return w.checkEnd()
}

// body walks both functions to the end of the object's.
func (w *walker) body() *difference {
	if len(w.sec.Extra) > 0 {
		return w.differ("section %s has a second relocation section, %s", w.sec.Name, w.sec.Extra[0].Name)
	}
	for w.a < len(w.ours) {
		w.starts = append(w.starts, start{w.a, w.b})
		if _, d := w.step(); d != nil {
			return d
		}
	}
	w.starts = append(w.starts, start{w.a, w.b})
	w.end = w.place + uint64(w.b)
	return w.checkJumps()
}

// outline compares nameless code at off of sec up to where it leaves: GCC's
// asm goto puts such pieces into .altinstr_aux (arch/x86/include/asm/cpufeature.h).
func (w *walker) outline(sec *object.Section, off, dest uint64) error {
	if off >= uint64(len(sec.Data)) || len(sec.Extra) > 0 {
		return fmt.Errorf("reference to %s+%#x, which %w", sec.Name, off, errNoCheck)
	}
	key := sectionOffset{sec, off}
	if known, ok := w.outer[key]; ok {
		if known != dest {
			return fmt.Errorf("%s+%#x would be at both %#x and %#x", sec.Name, off, known, dest)
		}
		return nil
	}
	if len(w.outer) >= maxOutlines {
		return fmt.Errorf("more than %d pieces of nameless code in %s belong to the function", maxOutlines, sec.Name)
	}
	if w.outer == nil {
		w.outer = map[sectionOffset]uint64{}
	}
	w.outer[key] = dest
	w.rules[RuleOutline]++
	o := w.walker(w.attempt, sec, off, uint64(len(sec.Data))-off, dest)
	o.parent = w
	for o.a < len(o.ours) {
		i, d := o.step()
		if d != nil {
			return fmt.Errorf("%s+%#x: %s", sec.Name, off+d.off, d.why)
		}
		if i.EndsFlow() {
			return nil
		}
	}
	return fmt.Errorf("%s+%#x runs out of its section", sec.Name, off)
}

// jump notes a branch to offset to of the function under comparison.
func (w *walker) jump(to int, dest uint64) {
	for w.parent != nil {
		w = w.parent
	}
	w.pending = append(w.pending, jump{w.a, to, dest})
}

// step compares the instructions at a and b.
func (w *walker) step() (insn.Inst, *difference) {
	x, err := decode(w.ours[w.a:])
	if err != nil {
		return x.Inst, w.differ("our instruction % x: %v", head(w.ours[w.a:]), err)
	}
	if w.b >= len(w.theirs) {
		return x.Inst, w.differ("the running function ends here")
	}
	y, err := decode(w.theirs[w.b:])
	if err != nil {
		return x.Inst, w.differ("running instruction % x: %v", head(w.theirs[w.b:]), err)
	}
	relocs := w.take(x.Len)
	if len(relocs) == 0 && x.Op == insn.Nop && y.Op == insn.Nop && x.Len != y.Len {
		return x.Inst, w.nops()
	}
	if len(relocs) == 0 && !x.Rel && !x.RIPRel {
		if !bytes.Equal(x.code, y.code) {
			return x.Inst, w.unequal(x, y)
		}
		if n := w.run.relocated(w.at(), w.at()+uint64(y.Len)); n > 0 {
			return x.Inst, w.differ("the running instruction % x has a relocation, ours has none", y.code)
		}
	} else if d := w.fields(x, y, relocs); d != nil {
		return x.Inst, d
	}
	w.a += x.Len
	w.b += y.Len
	return x.Inst, nil
}

// startsWith reports whether the instruction at off is the first one that does
// something: at 0 or behind one endbr64.
func (w *walker) startsWith(off int) bool {
	if off == 0 {
		return true
	}
	i, err := insn.Decode(w.ours)
	return err == nil && i.Op == insn.Endbr64 && i.Len == off
}

func (w *walker) at() uint64 { return w.place + uint64(w.b) }

func decode(code []byte) (side, error) {
	i, err := insn.Decode(code)
	if err != nil {
		return side{}, err
	}
	return side{i, code[:i.Len]}, nil
}

func head(b []byte) []byte { return b[:min(len(b), 8)] }

func (w *walker) unequal(x, y side) *difference {
	return w.differ("instructions differ: ours % x, running % x", x.code, y.code)
}

// take consumes the relocations within the n bytes at a.
func (w *walker) take(n int) []object.Reloc {
	end := w.base + uint64(w.a+n)
	k := 0
	for k < len(w.relocs) && w.relocs[k].Offset < end {
		k++
	}
	taken := w.relocs[:k]
	w.relocs = w.relocs[k:]
	for len(taken) > 0 && taken[0].Type == uint32(elf.R_X86_64_NONE) {
		taken = taken[1:]
	}
	return taken
}

// nops skips a run of no-ops on both sides: padding whose length differs.
func (w *walker) nops() *difference {
	na, nb := nopRun(w.ours[w.a:]), nopRun(w.theirs[w.b:])
	if len(w.take(na)) > 0 || w.run.relocated(w.at(), w.at()+uint64(nb)) > 0 {
		return w.differ("a relocation modifies a no-op")
	}
	w.rules[RuleNopLength]++
	w.a += na
	w.b += nb
	return nil
}

func nopRun(code []byte) int {
	n := 0
	for n < len(code) {
		i, err := insn.Decode(code[n:])
		if err != nil || i.Op != insn.Nop {
			break
		}
		n += i.Len
	}
	return n
}

// fields compares instructions with relocated operands, branch displacements
// or addresses relative to RIP.
func (w *walker) fields(x, y side, relocs []object.Reloc) *difference {
	if x.Rel && y.Rel && x.RelWidth != y.RelWidth {
		if !sameBranch(x, y) {
			return w.unequal(x, y)
		}
		w.rules[RuleBranchWidth]++
	} else if !equalOutside(x, y, relocs, w.base+uint64(w.a)) {
		return w.unequal(x, y)
	}
	used := 0
	branch := false
	for i := range relocs {
		r := &relocs[i]
		n, d := w.reference(x, y, r)
		if d != nil {
			return d
		}
		used += n
		off := int(r.Offset - w.base - uint64(w.a))
		branch = branch || x.Rel && off == x.RelOff || x.RIPRel && off == x.DispOff
	}
	if n := w.run.relocated(w.at(), w.at()+uint64(y.Len)); n != used {
		return w.differ("the running instruction % x has %d relocations, %d were expected", y.code, n, used)
	}
	if (x.Rel || x.RIPRel) && !branch {
		return w.internal(x, y)
	}
	return nil
}

// sameBranch: the same kind of branch under the same condition and prefixes.
func sameBranch(x, y side) bool {
	return x.Op == y.Op && (x.Op == insn.Jmp || x.Op == insn.Jcc) && x.Cond == y.Cond &&
		bytes.Equal(x.code[:x.OpcodeOff], y.code[:y.OpcodeOff])
}

// equalOutside compares instructions of the same length outside relocated
// fields, branch displacements and displacements relative to RIP. start is the
// section offset of x.
func equalOutside(x, y side, relocs []object.Reloc, start uint64) bool {
	if x.Len != y.Len {
		return false
	}
	var skip [insn.MaxLen]bool
	mark := func(off, n int) {
		for i := off; i < off+n && i < len(skip); i++ {
			skip[i] = true
		}
	}
	for _, r := range relocs {
		n, _ := object.RelocWidth(r.Type)
		mark(int(r.Offset-start), n)
	}
	if x.Rel {
		mark(x.RelOff, x.RelWidth)
	}
	if x.RIPRel {
		mark(x.DispOff, x.DispLen)
	}
	for i := range x.code {
		if x.code[i] != y.code[i] && !skip[i] {
			return false
		}
	}
	return true
}

// reference checks one relocated operand. n is the number of relocations of
// the running code that it accounts for.
func (w *walker) reference(x, y side, r *object.Reloc) (n int, d *difference) {
	width, known := object.RelocWidth(r.Type)
	off := int(r.Offset - w.base - uint64(w.a))
	field := x.FieldAt(off, width)
	if !known || field == insn.NoField {
		return 0, w.differ("relocation %s at byte %d of % x is not on an operand", object.RelocName(r.Type), off, x.code)
	}
	pcrel := object.PCRelative(r.Type)
	if pcrel != (field == insn.FieldRel || field == insn.FieldDisp && x.RIPRel) {
		return 0, w.differ("relocation %s does not suit the operand at byte %d of % x", object.RelocName(r.Type), off, x.code)
	}
	yoff, ywidth := off, width
	if field == insn.FieldRel {
		yoff, ywidth = y.RelOff, y.RelWidth
	}
	at := w.at() + uint64(yoff)
	n = w.run.relocated(at, at+uint64(ywidth))
	delta := uint64(r.Addend)
	var t target
	var err error
	if ywidth != width { // a branch that the assembler resolved and shortened
		if n > 0 {
			return 0, w.differ("a relocation modifies the short branch % x", y.code)
		}
		t.addr = w.at() + uint64(y.Target)
	} else if t, err = w.run.readsTo(at, y.code[yoff:yoff+ywidth], r.Type); err != nil {
		return 0, w.differ("operand at byte %d of the running % x: %v", yoff, y.code, err)
	} else if pcrel {
		t.addr += uint64(y.Len - yoff)
	}
	if pcrel {
		delta += uint64(x.Len - off)
	}
	if err := w.refer(r, delta, t); err != nil {
		return 0, w.differ("% x: %v", y.code, err)
	}
	if n == 0 && !w.run.linked() {
		w.rules[RuleResolved]++
	}
	if x.Op == insn.Call && r.Sym != nil && r.Sym.Name == "__fentry__" && w.parent == nil && w.startsWith(w.a) {
		w.fentry = true
	}
	return n, nil
}

// internal handles a branch or an address within the section for which the
// object needed no relocation.
func (w *walker) internal(x, y side) *difference {
	to, dest := int64(w.a), w.at()
	if x.Rel {
		to += x.Target
		dest += uint64(y.Target)
	} else {
		to += int64(x.Len) + int64(int32(le.Uint32(x.code[x.DispOff:])))
		dest += uint64(y.Len) + uint64(int64(int32(le.Uint32(y.code[y.DispOff:]))))
	}
	if to == int64(len(w.ours)) && w.parent == nil { // dead: a branch to where nothing follows
		w.jump(int(to), dest)
		return nil
	}
	if err := w.codeRef(w.sec, w.base+uint64(to), dest); err != nil {
		return w.differ("% x: %v", y.code, err)
	}
	return nil
}

// where maps an instruction of ours to the running one; both relative to the
// starts of the functions.
func (a *attempt) where(off int) (int, bool) {
	i, found := slices.BinarySearchFunc(a.starts, off, func(s start, off int) int { return s.ours - off })
	if !found {
		return 0, false
	}
	return a.starts[i].theirs, true
}

func (w *walker) checkJumps() *difference {
	for _, j := range w.pending {
		to, ok := w.where(j.to)
		if !ok {
			return &difference{uint64(j.from), fmt.Sprintf("leads to %#x, which is inside an instruction", j.to)}
		}
		if want := w.place + uint64(to); j.dest != want {
			return &difference{uint64(j.from), fmt.Sprintf("leads to %+#x of the running function, where ours leads to %+#x",
				int64(j.dest-w.place), to)}
		}
	}
	return nil
}

// checkEnd requires that nothing but padding follows up to the next symbol,
// apart from weak functions that lost their names.
func (w *walker) checkEnd() *difference {
	room := w.run.room(w.cand)
	if room == 0 {
		return w.differ("the running function's extent is not known")
	}
	used := w.end - w.place
	if used > room {
		return w.differ("another running symbol starts %#x bytes into the running function, which would end at %#x", room, used)
	}
	rest := w.run.code(w.end, int(room-used))
	if uint64(len(rest)) != room-used {
		return w.differ("the code behind the running function cannot be read")
	}
	for pos := 0; ; {
		pos += insn.Padding(rest[pos:])
		if pos == len(rest) {
			return nil
		}
		n := w.overridden(w.end + uint64(pos))
		if n == 0 && w.beginsFunction(w.end+uint64(pos), rest[pos:]) {
			w.rules[RuleNameless]++
			return nil
		}
		if n == 0 || n > len(rest)-pos {
			return w.differ("the running function goes on behind the end of ours: % x", head(rest[pos:]))
		}
		w.rules[RuleOverriddenWeak]++
		pos += n
	}
}

// beginsFunction reports whether the code at addr is the start of another
// function: aligned as GCC aligns functions, beginning with call __fentry__.
// Such a one has no name if it was weak, of another translation unit, and
// overridden. All of our function was found before it.
func (w *walker) beginsFunction(addr uint64, code []byte) bool {
	in, err := insn.Decode(code)
	if err != nil || in.Op != insn.Call || addr%16 != 0 {
		return false
	}
	return w.run.has("__fentry__", true, addr+uint64(in.Target))
}

// overridden returns the length of the code at addr if it is a weak function
// of the translation unit.
func (w *walker) overridden(addr uint64) int {
	for _, g := range w.weak {
		x := w.walker(newAttempt(g, Symbol{Name: g.Name, place: addr}), g.Section, g.Value, g.Size, addr)
		if x.body() == nil {
			return int(x.end - addr)
		}
	}
	return 0
}

var errNoCheck = errors.New("cannot be checked")
