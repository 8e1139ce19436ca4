// SPDX-License-Identifier: Apache-2.0

package index

import (
	"cmp"
	"debug/elf"
	"slices"
	"sort"

	"kmend/internal/insn"
	"kmend/internal/object"
)

// textScan is the part of an objectScan that finds who calls clones.
type textScan struct {
	starts    []uint64 // bit set of the places of a section where clones start
	relocated []uint64 // bit set of the places that a relocation fills
	hits      []uint64
}

func (o *objectScan) sortFuncs() {
	slices.SortFunc(o.funcs, func(a, b function) int {
		if a.section != b.section {
			return cmp.Compare(a.section, b.section)
		}
		if a.value != b.value {
			return cmp.Compare(a.value, b.value)
		}
		return cmp.Compare(a.node, b.node) // the place in the symbol table
	})
	for i := range o.funcs {
		o.bySymbol[o.funcs[i].node] = int32(i)
	}
}

// search is the first function of a section at an offset or behind it.
func (o *objectScan) search(sec uint32, at uint64) int {
	return sort.Search(len(o.funcs), func(i int) bool {
		f := &o.funcs[i]
		return f.section > sec || f.section == sec && f.value >= at
	})
}

// containing is the function that an offset of a section lies in, or nil.
func (o *objectScan) containing(sec uint32, at uint64) *function {
	i := o.search(sec, at+1) - 1
	if i < 0 || o.funcs[i].section != sec || at-o.funcs[i].value >= max(o.funcs[i].size, 1) {
		return nil
	}
	return &o.funcs[i]
}

// cloneUsers reports every reference from a function to a clone: relocations,
// and branches within a section, which the assembler resolves by itself.
func (o *objectScan) cloneUsers(use func(clone, user *function)) {
	if !slices.ContainsFunc(o.funcs, func(f function) bool { return f.clone }) {
		return
	}
	// The relocations are within the file: markFentry has read them.
	_ = o.eachRela(func(target *elfHeader, _ []byte) bool { return target.exec() }, func(to uint32, _ bool, r rela) {
		if int(r.sym) >= len(o.bySymbol) {
			return
		}
		sym := o.symtab[int(r.sym)*symSize:]
		sec, at := uint32(le.Uint16(sym[6:])), le.Uint64(sym[8:])
		if sec == 0 || uint64(sec) >= uint64(len(o.headers)) || !o.headers[sec].exec() {
			return
		}
		switch elf.SymType(sym[4] & 15) {
		case elf.STT_FUNC:
			if i := o.bySymbol[r.sym]; i < 0 || !o.funcs[i].clone {
				return
			}
		case elf.STT_SECTION:
			at += uint64(r.addend)
			if object.PCRelative(r.kind) {
				at += 4 // a branch: the field ends the instruction
			}
		}
		o.report(sec, at, to, r.off, use)
	})
	for i := 0; i < len(o.funcs); {
		sec, j, clones := o.funcs[i].section, i, false
		for ; j < len(o.funcs) && o.funcs[j].section == sec; j++ {
			clones = clones || o.funcs[j].clone
		}
		if clones && o.headers[sec].exec() {
			o.branches(sec, o.funcs[i:j], use)
		}
		i = j
	}
}

func (o *objectScan) report(sec uint32, at uint64, from uint32, off uint64, use func(clone, user *function)) {
	clone := o.containing(sec, at)
	if clone == nil || !clone.clone {
		return
	}
	if user := o.containing(from, off); user != nil && user != clone {
		use(clone, user)
	}
}

// branches finds the branches of a section to the clones that start in it.
// First every place is taken whose bytes would be the displacement of one:
// nearly all of them are. Then the functions that hold such places are decoded;
// where that fails, the places count, so that no caller is missed.
func (o *objectScan) branches(sec uint32, funcs []function, use func(clone, user *function)) {
	code, err := o.contents(sec)
	if err != nil || len(code) == 0 {
		return
	}
	t := &o.text
	t.reset(len(code))
	for i := range funcs {
		if f := &funcs[i]; f.clone && f.value < uint64(len(code)) {
			set(t.starts, f.value)
		}
	}
	_ = o.eachRela(func(target *elfHeader, _ []byte) bool { return target == &o.headers[sec] }, func(_ uint32, _ bool, r rela) {
		if r.off < uint64(len(code)) {
			set(t.relocated, r.off)
		}
	})
	t.search(code)
	for len(t.hits) > 0 {
		user := o.containing(sec, t.hits[0])
		if user == nil {
			t.hits = t.hits[1:]
			continue
		}
		end := min(user.value+user.size, uint64(len(code)))
		n := sort.Search(len(t.hits), func(i int) bool { return t.hits[i] >= end })
		o.confirm(code[user.value:end], user, t.hits[:n], use)
		t.hits = t.hits[max(n, 1):]
	}
}

// confirm decodes a function and reports its branches to clones.
func (o *objectScan) confirm(code []byte, user *function, hits []uint64, use func(clone, user *function)) {
	to := func(at int64) {
		if at >= 0 {
			o.report(user.section, uint64(at), user.section, user.value, use)
		}
	}
	for off := 0; off < len(code); {
		i, err := insn.Decode(code[off:])
		if err != nil {
			for _, h := range hits {
				rel := int(h - user.value)
				to(int64(h) + 1 + int64(int8(code[rel])))
				if rel+4 <= len(code) {
					to(int64(h) + 4 + int64(int32(le.Uint32(code[rel:]))))
				}
			}
			return
		}
		if i.Rel && !isSet(o.text.relocated, user.value+uint64(off+i.RelOff)) {
			to(int64(user.value) + int64(off) + i.Target)
		}
		off += i.Len
	}
}

func (t *textScan) reset(n int) {
	words := n/64 + 1
	for _, b := range []*[]uint64{&t.starts, &t.relocated} {
		if cap(*b) < words {
			*b = make([]uint64, words)
		}
		*b = (*b)[:words]
		clear(*b)
	}
	t.hits = t.hits[:0]
}

func set(b []uint64, i uint64)        { b[i/64] |= 1 << (i % 64) }
func isSet(b []uint64, i uint64) bool { return b[i/64]>>(i%64)&1 != 0 }

// search lists the places of a section that may be the displacement, of 1 or 4
// bytes, of a branch to a start.
func (t *textScan) search(code []byte) {
	n := uint64(len(code))
	for p := range n {
		if isSet(t.relocated, p) {
			continue
		}
		near := p + 1 + uint64(int64(int8(code[p])))
		hit := near < n && isSet(t.starts, near)
		if !hit && p+4 <= n {
			far := p + 4 + uint64(int64(int32(le.Uint32(code[p:]))))
			hit = far < n && isSet(t.starts, far)
		}
		if hit {
			t.hits = append(t.hits, p)
		}
	}
}
