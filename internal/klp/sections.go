// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"debug/elf"
	"fmt"
	"strings"

	"kmend/internal/object"
	"kmend/internal/special"
)

// Names of the sections a module is made of, besides the special ones.
const (
	secText     = ".text"
	secRodata   = ".rodata"
	secStrings  = ".rodata.str1.1"
	secData     = ".data"
	secBss      = ".bss"
	secDataOnce = ".data.once" // WARN_ONCE and the like; kept apart as in every module
	secAltAux   = ".altinstr_aux"
	secInitText = ".init.text"
	secExitText = ".exit.text"
	secModinfo  = ".modinfo"
	secVersions = "__versions"
	secThis     = ".gnu.linkonce.this_module"
	secBuildID  = ".note.gnu.build-id"
)

const (
	flagA   = uint64(elf.SHF_ALLOC)
	flagAX  = uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR)
	flagAW  = uint64(elf.SHF_ALLOC | elf.SHF_WRITE)
	flagAMS = uint64(elf.SHF_ALLOC | elf.SHF_MERGE | elf.SHF_STRINGS)
)

// outRow is one section a module can have. Rows are in the order of the file.
type outRow struct {
	name  string
	flags uint64
	kind  elf.SectionType
	align uint64
	// stride is the size of an entry of a table, 0 for free-form sections.
	// Entries follow each other without padding.
	stride uint64
	short  uint64 // bytes the last entry of a piece may lack
}

// outRows returns all sections a module of such a kernel can have, in file
// order. Code comes first and .text first of it: the kernel's symbol lookup
// counts code after the last named symbol to that symbol. Flags and alignment
// are those of the kernel's own modules.
func outRows(facts *Facts) []outRow {
	prog, nobits, note := elf.SHT_PROGBITS, elf.SHT_NOBITS, elf.SHT_NOTE
	rows := []outRow{
		{name: secBuildID, flags: flagA, kind: note, align: 4},
		{name: secText, flags: flagAX, kind: prog, align: 16},
		{name: special.AltReplacement, flags: flagAX, kind: prog, align: 1},
		{name: secAltAux, flags: flagAX, kind: prog, align: 1},
		{name: secExitText, flags: flagAX, kind: prog, align: 16},
		{name: secInitText, flags: flagAX, kind: prog, align: 16},
		{name: secRodata, flags: flagA, kind: prog, align: 1},
		{name: secStrings, flags: flagAMS, kind: prog, align: 1},
		{name: secModinfo, flags: flagA, kind: prog, align: 1},
		{name: special.OrcUnwind, flags: flagA, kind: prog, align: 2, stride: special.OrcStride},
	}
	for _, f := range special.Formats() {
		rows = append(rows, outRow{name: f.Name, flags: specialFlags(f.Name), kind: prog, align: f.Align, stride: f.Stride, short: f.Short})
	}
	return append(rows,
		outRow{name: special.PrintkIndex, flags: flagA, kind: prog, align: 8, stride: 8}, // struct pi_entry *, linux/printk.h
		outRow{name: secVersions, flags: flagA, kind: prog, align: 32},
		outRow{name: special.DynDebug, flags: flagAW, kind: prog, align: 8, stride: max(facts.DynDebug, 1)}, // struct _ddebug, linux/dynamic_debug.h
		outRow{name: secDataOnce, flags: flagAW, kind: prog, align: 1},
		outRow{name: secData, flags: flagAW, kind: prog, align: 8},
		outRow{name: secThis, flags: flagAW, kind: prog, align: 64},
		outRow{name: secBss, flags: flagAW, kind: nobits, align: 1},
	)
}

// specialFlags: the kernel writes to these three after load (bug flags, jump
// label keys, static call keys); the rest is read-only.
func specialFlags(name string) uint64 {
	switch name {
	case special.BugTable, special.JumpTable, special.StaticCallSites:
		return flagAW
	}
	return flagA
}

// placeName says which section of the module a payload's section goes to.
func placeName(facts *Facts, object string, s *object.Section) (string, error) {
	refuse := func(why, advice string) error {
		return &Error{Code: CodeSection, Object: object, Where: "section " + s.Name, Why: why, Advice: advice}
	}
	if !s.IsAlloc() {
		return "", refuse("it is never loaded", "leave it out of the payload")
	}
	if s.Flags&uint64(elf.SHF_TLS|elf.SHF_GROUP|elf.SHF_COMPRESSED) != 0 {
		return "", refuse("it is thread-local, compressed or part of a section group, which the module loader does not know", "refuse the patch")
	}
	if elf.SectionType(s.Type) != elf.SHT_PROGBITS && elf.SectionType(s.Type) != elf.SHT_NOBITS {
		return "", refuse(fmt.Sprintf("its type is %s", elf.SectionType(s.Type)), "leave it out of the payload")
	}
	name := s.Name
	switch {
	case special.Lookup(name) != nil, special.IsCompanion(name), name == special.PrintkIndex, name == secAltAux, name == secDataOnce:
		return name, nil
	case name == special.DynDebug:
		if facts.DynDebug == 0 {
			return "", refuse("the kernel has no dynamic debugging", "compile with the kernel's own configuration")
		}
		return name, nil
	}
	return plainPlace(s, refuse)
}

// plainPlace handles code and data that is not special.
func plainPlace(s *object.Section, refuse func(why, advice string) error) (string, error) {
	name := s.Name
	under := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if name == p || strings.HasPrefix(name, p+".") {
				return true
			}
		}
		return false
	}
	if under(secData+"..percpu", secBss+"..percpu") {
		return "", refuse("it defines per-CPU data, of which the kernel would get a second copy", "reference the kernel's own")
	}
	switch {
	case s.IsExec():
		// __sched and __ref code is ordinary code once it is in a module.
		if s.IsWritable() || !under(secText, ".ref.text", ".sched.text") {
			return "", refuse("it holds code that must stay apart (init, exit, noinstr, kprobes, entry)", "refuse the patch")
		}
		return secText, nil
	case elf.SectionType(s.Type) == elf.SHT_NOBITS:
		if !under(secBss, secData) {
			return "", refuse("it is no section for uninitialised data that kmend knows", "refuse the patch")
		}
		return secBss, nil
	case s.IsWritable():
		if !under(secData) {
			return "", refuse("the kernel gives it a meaning that kmend does not know", "refuse the patch")
		}
		return secData, nil
	case !under(secRodata):
		return "", refuse("the kernel gives it a meaning that kmend does not know", "refuse the patch")
	case s.IsStrings() && strings.Contains(name, ".str1."):
		return secStrings, nil
	}
	return secRodata, nil
}
