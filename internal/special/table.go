// SPDX-License-Identifier: Apache-2.0

package special

import "strings"

// Format describes one special section.
type Format struct {
	Name   string
	Stride uint64 // bytes from one entry to the next
	Short  uint64 // bytes the last entry may lack at its end (alignment padding)
	Align  uint64 // alignment the section needs in a module (scripts/module.lds.S and the C type)
	Owner  uint64 // offset in the entry of the relocation that points at the owning code
	Mask   []Span // bytes of an entry that carry no meaning for the code (source line numbers)
	// Rewrites is true when the kernel rewrites the owning instruction's bytes
	// because of the entry.
	Rewrites bool
}

// Span is a byte range [Off, Off+Len) of an entry.
type Span struct{ Off, Len uint64 }

// Names of the sections other packages treat one by one.
const (
	AltInstructions = ".altinstructions"
	AltReplacement  = ".altinstr_replacement"
	BugTable        = "__bug_table"
	ExTable         = "__ex_table"
	JumpTable       = "__jump_table"
	StaticCallSites = ".static_call_sites"
	ParaInstr       = ".parainstructions"
	SmpLocks        = ".smp_locks"
	RetpolineSites  = ".retpoline_sites"
	ReturnSites     = ".return_sites"
	OrcUnwind       = ".orc_unwind"
	OrcUnwindIP     = ".orc_unwind_ip"
	McountLoc       = "__mcount_loc"
	DynDebug        = "__dyndbg"
	PrintkIndex     = ".printk_index"
)

// formats are the sections whose entries travel with their function.
var formats = []Format{
	{Name: AltInstructions, Stride: 12, Align: 8, Owner: 0, Rewrites: true},     // struct alt_instr, asm/alternative.h
	{Name: ParaInstr, Stride: 16, Short: 6, Align: 8, Owner: 0, Rewrites: true}, // struct paravirt_patch_site, asm/paravirt_types.h
	{Name: SmpLocks, Stride: 4, Align: 4, Owner: 0, Rewrites: true},             // s32, LOCK_PREFIX in asm/alternative.h
	{Name: BugTable, Stride: 12, Align: 8, Owner: 0, Mask: []Span{{8, 2}}},      // struct bug_entry, asm-generic/bug.h
	{Name: ExTable, Stride: 12, Align: 4, Owner: 0},                             // struct exception_table_entry, asm/extable.h
	{Name: JumpTable, Stride: 16, Align: 8, Owner: 0, Rewrites: true},           // struct jump_entry, linux/jump_label.h
	{Name: StaticCallSites, Stride: 8, Align: 8, Owner: 0, Rewrites: true},      // struct static_call_site, linux/static_call_types.h
	{Name: RetpolineSites, Stride: 4, Align: 4, Owner: 0, Rewrites: true},       // s32, objtool create_retpoline_sites_sections
	{Name: ReturnSites, Stride: 4, Align: 4, Owner: 0, Rewrites: true},          // s32, objtool create_return_sites_sections
	{Name: OrcUnwindIP, Stride: 4, Align: 4, Owner: 0},                          // int, asm/orc_types.h; parallel to .orc_unwind
	{Name: McountLoc, Stride: 8, Align: 8, Owner: 0, Rewrites: true},            // unsigned long, -mrecord-mcount
}

// OrcStride is sizeof(struct orc_entry), asm/orc_types.h.
const OrcStride = 6

// Lookup returns the format of a section name, or nil.
func Lookup(name string) *Format {
	for i := range formats {
		if formats[i].Name == name {
			return &formats[i]
		}
	}
	return nil
}

// Formats returns all formats, in a fixed order.
func Formats() []Format { return formats }

// IsCompanion reports whether the section holds what entries of another one
// point at (alternative code, ORC data) and so is carried by them.
func IsCompanion(name string) bool { return name == AltReplacement || name == OrcUnwind }

// Ignored reports whether a section never reaches a running kernel or is of no
// use there: compiler notes, debug data, and what the linker script discards.
func Ignored(name string) bool {
	if name == ".BTF" || name == ".BTF.ext" {
		return true
	}
	for _, p := range []string{".discard", ".comment", ".note.GNU", ".debug", ".llvm", ".sframe", PrintkIndex, ".gnu.warning"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}
