// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"kmend/internal/insn"
	"kmend/internal/object"
	"kmend/internal/special"
)

// branches looks for returns and indirect branches as no compiler makes them
// for a kernel with return thunks (CONFIG_RETHUNK) and retpolines. They work,
// and undo the kernel's protection against speculation for the code that they
// are in. What the kernel rewrites at load (paravirt calls, alternatives) does
// not count.
func (c *checker) branches(entries []special.Entry) {
	if !c.facts.Rethunk && !c.facts.Retpoline {
		return
	}
	rewritten := map[where]bool{}
	for _, e := range entries {
		switch e.Format.Name {
		case special.ParaInstr, special.AltInstructions:
			rewritten[where{e.Code, e.At}] = true
		}
	}
	done := map[where]bool{} // functions of one address are looked at once
	for _, f := range c.m.file.Symbols {
		if f.Section == nil || !f.IsFunc() || !f.Section.IsExec() || !f.Section.IsAlloc() || done[where{f.Section, f.Value}] {
			continue
		}
		done[where{f.Section, f.Value}] = true
		c.branchesOf(f, rewritten)
	}
}

func (c *checker) branchesOf(f *object.Symbol, rewritten map[where]bool) {
	// Up to the next name: sizes may overlap, and then this would not end.
	_, size := c.m.kernelSize(where{f.Section, f.Value})
	code := f.Section.Data
	start := min(f.Value, uint64(len(code)))
	code = code[start:min(uint64(len(code)), start+min(f.Size, size))]
	for at := 0; at < len(code); {
		in, err := insn.Decode(code[at:])
		if err != nil {
			return // data in code, or not code at all: the kernel does not look either
		}
		switch {
		case rewritten[where{f.Section, f.Value + uint64(at)}]:
		case in.Op == insn.Ret && c.facts.Rethunk && (code[at] == 0xc3 || code[at] == 0xc2):
			c.r.find(CodeBareReturn, f.Name, "compile it with the kernel's own flags", "at +%#x it returns by itself and not through __x86_return_thunk: the kernel's protection against Retbleed does not cover it", at)
			return
		case (in.Op == insn.CallInd || in.Op == insn.JmpInd) && c.facts.Retpoline:
			c.r.find(CodeBareBranch, f.Name, "compile it with the kernel's own flags", "at +%#x it branches through a pointer without a retpoline: the kernel's protection against Spectre v2 does not cover it", at)
			return
		}
		at += in.Len
	}
}
