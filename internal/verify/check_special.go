// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"kmend/internal/object"
	"kmend/internal/special"
)

type span struct {
	start, end uint64
	why        string
}

// special checks the tables that describe single instructions, and that late
// relocations stay away from what the kernel reads or rewrites early. It returns
// the entries; ok is false if they cannot be read.
func (c *checker) special() (entries []special.Entry, ok bool) {
	for _, s := range c.m.file.Sections {
		if s.Name == special.DynDebug && (c.facts.DynDebug == 0 || s.Size%c.facts.DynDebug != 0) {
			c.r.find(CodeSpecial, s.Name, "", "%d bytes are no whole number of entries of %d", s.Size, c.facts.DynDebug)
		}
		if s.Name == special.PrintkIndex && s.Size%8 != 0 {
			c.r.find(CodeSpecial, s.Name, "", "%d bytes are no whole number of pointers", s.Size)
		}
		switch s.Name { // scripts/module.lds.S
		case special.AltInstructions, special.BugTable, special.JumpTable:
			if s.Size > 0 && s.Align%8 != 0 {
				c.r.find(CodeSpecial, s.Name, "", "it is aligned to %d, the kernel wants 8", s.Align)
			}
		}
	}
	entries, err := special.Split(c.m.file)
	if err != nil {
		c.r.find(CodeSpecial, "", "", "%v", err)
		return nil, false
	}
	rewritten := map[*object.Section][]span{}
	for _, e := range entries {
		if !e.Code.IsExec() {
			c.r.find(CodeSpecial, e.Section.Name, "", "the entry at %#x describes %s, which is no code", e.Offset, e.Code.Name)
			continue
		}
		if n := rewrittenLen(&e); n > 0 {
			rewritten[e.Code] = append(rewritten[e.Code], span{e.At, e.At + n, e.Format.Name})
		}
	}
	for _, s := range c.m.file.Sections {
		spans := merged(rewritten[s])
		for i := range s.Extra {
			c.late(s, &s.Extra[i], spans)
		}
	}
	return entries, true
}

// merged sorts spans and leaves one for each start, the longest.
func merged(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end)) })
	return slices.CompactFunc(spans, func(a, b span) bool { return a.start == b.start })
}

// rewrittenLen is the number of bytes the kernel rewrites because of an entry.
// Jump labels come in two lengths, told by the instruction that objtool left.
func rewrittenLen(e *special.Entry) uint64 {
	if d := e.Code.Data; e.Format.Name == special.JumpTable && e.At+1 < uint64(len(d)) && (d[e.At] == 0xeb || d[e.At] == 0x66 && d[e.At+1] == 0x90) {
		return 2
	}
	return e.RewrittenLen()
}

// maxRewritten is more than any entry's RewrittenLen: alternatives have one
// byte for it.
const maxRewritten = 256

func (c *checker) late(s *object.Section, x *object.RelaSection, spans []span) {
	obj, err := relaObject(x.Name)
	if err != nil || obj == vmlinux || !isKlpRela(x) {
		return
	}
	if special.Lookup(s.Name) != nil || special.IsCompanion(s.Name) || s.Name == special.DynDebug || s.Name == special.PrintkIndex || s.Name == ".altinstr_aux" {
		c.r.find(CodeLate, x.Name, "", "the kernel reads %s before module %s is patched", s.Name, obj)
		return
	}
	for _, r := range x.Relocs {
		width, _ := object.RelocWidth(r.Type)
		from := uint64(0)
		if r.Offset > maxRewritten {
			from = r.Offset - maxRewritten
		}
		for i := sort.Search(len(spans), func(i int) bool { return spans[i].start >= from }); i < len(spans) && spans[i].start < r.Offset+uint64(width); i++ {
			if r.Offset < spans[i].end {
				c.r.find(CodeLate, fmt.Sprintf("%s+%#x", s.Name, r.Offset), "", "the kernel rewrites the instruction (%s) before module %s is patched", spans[i].why, obj)
				break
			}
		}
	}
}

// orc checks that every function has unwind data from its first byte on, and
// warns of holes: without it the stack of a task inside is unreliable, and a
// transition waits for ever.
func (c *checker) orc(entries []special.Entry) {
	type entry struct {
		at          uint64
		stop, entry bool
	}
	table := map[*object.Section][]entry{}
	for _, e := range entries {
		if e.Orc != nil {
			// struct orc_entry: sp_reg in the low bits of byte 4; 0 is a terminator (end is for entry code).
			table[e.Code] = append(table[e.Code], entry{e.At, e.Orc[4]&0xf == 0 && e.Orc[5]&4 == 0, atEntry(e.Orc)})
			c.r.Checked.OrcEntries++
		}
	}
	for _, list := range table {
		// A terminator comes before another entry for the same address (orc_sort_cmp).
		sort.SliceStable(list, func(i, j int) bool {
			return list[i].at < list[j].at || list[i].at == list[j].at && list[i].stop && !list[j].stop
		})
	}
	for _, f := range c.m.file.Symbols {
		if f.Section == nil || !f.IsFunc() || !f.Section.IsExec() || !f.Section.IsAlloc() || f.Size == 0 {
			continue
		}
		list := table[f.Section]
		i := sort.Search(len(list), func(i int) bool { return list[i].at > f.Value })
		// objtool leaves out an entry that equals the one before it, and a function
		// that follows another one without padding has what that returned with.
		if i == 0 || list[i-1].stop || list[i-1].at != f.Value && !list[i-1].entry {
			c.r.find(CodeOrc, f.Name, "run objtool on the object", "no unwind data for its start: its callers' stacks cannot be read and transitions stall")
			continue
		}
		for end := f.Value + f.Size; i < len(list) && list[i].at < end; i++ {
			stop := end
			if i+1 < len(list) {
				stop = min(end, list[i+1].at)
			}
			if list[i].stop && !filler(f.Section.Data, list[i].at, stop) {
				c.r.find(CodeOrcHoles, f.Name, "run objtool on the object", "no unwind data for its code from +%#x to +%#x", list[i].at-f.Value, stop-f.Value)
			}
		}
	}
}

// atEntry reports whether an entry describes the stack where a function starts:
// the return address on top, nothing else known (asm/orc_types.h, struct
// orc_entry of 6 bytes: sp_offset, bp_offset, then sp_reg and bp_reg, type).
func atEntry(e []byte) bool {
	const regSP = 5 // ORC_REG_SP
	return le.Uint16(e) == 8 && e[4] == regSP && e[5] == 0
}

// filler reports whether bytes are only int3 and one-byte nop, which objtool
// leaves without unwind data: no return address points behind them.
func filler(data []byte, from, to uint64) bool {
	for ; from < to && from < uint64(len(data)); from++ {
		if data[from] != 0xcc && data[from] != 0x90 {
			return false
		}
	}
	return true
}

// coverage warns of code that can be on a stack without the livepatch core
// noticing: only the spans of replaced functions keep the module from going.
func (c *checker) coverage() {
	if c.m.Objects == nil {
		return
	}
	covered := map[where]uint64{}
	for _, o := range c.m.Objects {
		for _, f := range o.Funcs {
			covered[where{f.at, f.Offset}] = f.Offset + f.Size
		}
	}
	for _, s := range c.m.file.Sections {
		if !s.IsExec() || !s.IsAlloc() || isInit(s.Name) || s.Name == ".exit.text" || s.Name == ".altinstr_replacement" || s.Name == ".altinstr_aux" {
			continue
		}
		end := uint64(0)
		for _, y := range c.m.named()[s] {
			if e, ok := covered[where{s, y.Value}]; ok {
				end = max(end, e)
			}
			if y.Value >= end && y.Value < s.Size {
				c.r.find(CodeUncovered, y.Name, "pin the module, or place the code behind a replaced function of the same object under a .L name",
					"a task that sleeps in it, called by a jump, does not keep the module from being unloaded")
			}
		}
	}
}
