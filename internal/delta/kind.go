// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"strings"

	"kmend/internal/insn"
)

// kindOf tells an item's kind from its section (include/linux/init.h,
// asm-generic/vmlinux.lds.h). Read-only data is Rodata here; whether it is a
// mere constant is seen from its references.
func kindOf(it *Item) Kind {
	name := it.Section.Name
	has := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				return true
			}
		}
		return false
	}
	switch {
	case it.Section.IsExec():
		switch {
		case has(".init.text", ".head.text", ".meminit.text", ".cpuinit.text"):
			return InitCode
		case has(".exit.text", ".memexit.text"):
			return ExitCode
		case name == altAux:
			return AltAux
		}
		return Func
	case has(".init", ".con_initcall", ".security_initcall", ".exit.", ".meminit", ".initcall", ".x86_cpu_dev.init"):
		return InitData
	case has("__ksymtab", "___ksymtab", "__kcrctab", "___kcrctab", ".export_symbol"):
		return Export
	case has(".data..percpu"):
		return PerCPU
	case name == ".data.once":
		return OnceFlag
	case name == "__dyndbg":
		return DebugSite
	case has(".rodata"):
		return Rodata
	case has(".data", ".bss", ".ref.data"):
		return State
	}
	return Registration
}

// classifyByReferences turns read-only data that nothing but its content
// identifies into constants: local, numbered by the compiler, without
// references of its own. Zero-sized numbered objects (lock class keys of a
// kernel without lockdep) hold nothing and are constants as well.
func (u *Unit) classifyByReferences() {
	for _, it := range u.Items {
		if !numberedLocal(it) || len(it.Refs) > 0 {
			continue
		}
		if it.Kind == Rodata || it.Kind == State && it.Size == 0 {
			it.Kind = Const
		}
	}
}

// numberedLocal reports whether the item's name is the compiler's choice.
func numberedLocal(it *Item) bool {
	if len(it.Symbols) == 0 {
		return strings.HasPrefix(it.Section.Name, ".rodata..LC") // a literal with -fdata-sections
	}
	if it.IsGlobal() {
		return false
	}
	_, numbered := Stem(it.Name)
	return numbered
}

func isCodePadding(b []byte) bool { return insn.Padding(b) == len(b) }
