// SPDX-License-Identifier: Apache-2.0

package verify

import "fmt"

// Codes of objections and warnings. They are stable: documents and scripts may
// rely on them.
const (
	CodeModinfo     = "modinfo"            // license, livepatch or name missing or wrong
	CodeVermagic    = "vermagic"           // not that of the kernel's modules
	CodeKernelID    = "kernel-build-id"    // built for another kernel, by its own account
	CodeName        = "module-name"        // the kernel has a module of that name, or cannot take it
	CodeThisModule  = "this-module"        // struct module has another size or its pointers lie elsewhere
	CodeEnable      = "never-enabled"      // no init function, or nothing calls klp_enable_patch
	CodeNoExit      = "cannot-unload"      // no exit function
	CodeDuplicate   = "duplicate-section"  // two loaded sections of one name
	CodeSections    = "section"            // a section that breaks the load or has no business here
	CodeLivepatch   = "livepatch-structs"  // struct klp_patch cannot be followed or patches nothing
	CodeObjectNull  = "object-vmlinux"     // object named "vmlinux" in place of NULL
	CodeObject      = "object-unknown"     // patched object that the kernel does not have
	CodeOldMissing  = "function-missing"   // replaced function not in the shipped symbol table
	CodeOldAmbig    = "function-ambiguous" // position 0 for a name that is not unique, or one that depends on when the kernel counts
	CodeOldPosition = "function-position"  // position beyond the entries of that name
	CodeOldKind     = "function-kind"      // replaced symbol is no function
	CodeOldInit     = "function-init"      // replaced function is freed after boot or module load
	CodeNoFentry    = "no-fentry"          // replaced function cannot be traced, so not patched
	CodeNewFunction = "new-function"       // replacement is no code, or the kernel's symbol lookup does not find it
	CodeDoubly      = "function-twice"     // one function replaced twice
	CodeKlpFlags    = "klp-rela-flags"     // .klp.rela without SHF_RELA_LIVEPATCH or SHF_ALLOC
	CodeKlpForm     = "klp-name-form"      // .klp.rela or .klp.sym name that the kernel cannot parse
	CodeKlpObject   = "klp-rela-object"    // .klp.rela section of an object that is not patched: never applied
	CodeKlpVmlinux  = "klp-vmlinux-symbol" // symbol of vmlinux in the section of a module: refused by the kernel
	CodeKlpOwner    = "klp-symbol-object"  // symbol of a module that need not be there by then
	CodeKlpMissing  = "klp-symbol-missing"
	CodeKlpAmbig    = "klp-symbol-ambiguous"
	CodeKlpPosition = "klp-symbol-position"
	CodeKlpPlain    = "klp-symbol-plain"         // plain relocation against a .klp.sym symbol: resolves to 0
	CodeKlpOrdinary = "klp-rela-ordinary"        // .klp.rela entry whose symbol is no .klp.sym symbol
	CodeExport      = "export-unknown"           // undefined symbol that nothing exports
	CodeCRC         = "export-crc"               // CRC missing or not that of the kernel
	CodeNamespace   = "export-namespace"         // namespace not imported
	CodeExportOwner = "export-module"            // plain use of a module's export: that module must be loaded first
	CodeReloc       = "relocation"               // type or target the loader refuses
	CodeOverlap     = "relocation-overlap"       // two relocations for the same bytes
	CodeSpecial     = "special-section"          // special section that is no whole number of entries, or points nowhere
	CodeLate        = "module-special-reference" // late relocation where the kernel reads or rewrites early
	CodeOrc         = "orc"                      // ORC data missing or with holes: transitions stall
	CodeUncovered   = "uncovered-code"           // code that no replaced function's span covers
	CodeSymbol      = "symbol"                   // symbol the loader refuses
)

// Objection is one finding.
type Objection struct {
	Code   string
	Where  string // object, function, section or symbol
	What   string // what was found
	Advice string // what to do
}

func (o Objection) String() string {
	s := o.Code + ": "
	if o.Where != "" {
		s += o.Where + ": "
	}
	s += o.What
	if o.Advice != "" {
		s += "; " + o.Advice
	}
	return s
}

// Report is the result of Check.
type Report struct {
	Module     *Module
	Objections []Objection
	Warnings   []Objection
	Checked    Counts
}

// Counts says how much Check has looked at and found in its place.
type Counts struct {
	Functions  int // replaced functions found in the shipped tables, with a patchable entry
	KlpSymbols int
	Exports    int
	Relocs     int
	OrcEntries int
}

// OK reports that there is no objection.
func (r *Report) OK() bool { return len(r.Objections) == 0 }

// maxFindings bounds each list, for a hostile file could fill them for ever.
const maxFindings = 500

func (r *Report) object(code, where, advice, format string, args ...any) {
	if len(r.Objections) < maxFindings {
		r.Objections = append(r.Objections, Objection{code, where, fmt.Sprintf(format, args...), advice})
	}
}

func (r *Report) warn(code, where, advice, format string, args ...any) {
	if len(r.Warnings) < maxFindings {
		r.Warnings = append(r.Warnings, Objection{code, where, fmt.Sprintf(format, args...), advice})
	}
}
