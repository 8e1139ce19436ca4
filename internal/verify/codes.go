// SPDX-License-Identifier: Apache-2.0

package verify

// Severity says what a finding means for whoever wants to load the module.
type Severity string

// Each code has one severity, always the same.
const (
	// Objection: the load fails, the patch does nothing, the kernel crashes, or
	// something cannot be shown to be right.
	Objection Severity = "objection"
	// Warning: it can be loaded, and somebody should think about it first.
	Warning Severity = "warning"
	// Note: what will happen, for whoever does not know.
	Note Severity = "note"
)

// Codes of objections. They are stable: documents and scripts may rely on them.
const (
	CodeModinfo     = "modinfo"                  // license, livepatch or name missing or wrong
	CodeVermagic    = "vermagic"                 // not that of the kernel's modules
	CodeKernelID    = "kernel-build-id"          // built for another kernel, by its own account
	CodeName        = "module-name"              // the kernel has a module of that name, or cannot take it
	CodeThisModule  = "this-module"              // struct module has another size or its pointers lie elsewhere
	CodeEnable      = "never-enabled"            // no init function, or nothing calls klp_enable_patch
	CodeDuplicate   = "duplicate-section"        // two loaded sections of one name
	CodeSections    = "section"                  // a section that breaks the load
	CodeLivepatch   = "livepatch-structs"        // struct klp_patch cannot be followed or patches nothing
	CodeTooMany     = "too-many"                 // more objects or functions than are looked at
	CodeObjectNull  = "object-vmlinux"           // object named "vmlinux" in place of NULL
	CodeObjectName  = "object-name"              // object name that no module can have
	CodeObject      = "object-unknown"           // patched object that the kernel does not have
	CodeOldMissing  = "function-missing"         // replaced function not in the shipped symbol table
	CodeOldAmbig    = "function-ambiguous"       // position 0 for a name that is not unique, or one that depends on when the kernel counts
	CodeOldPosition = "function-position"        // position beyond the entries of that name
	CodeOldKind     = "function-kind"            // replaced symbol is no function
	CodeOldInit     = "function-init"            // replaced function, or symbol referred to, is freed after boot or module load
	CodeNoFentry    = "no-fentry"                // replaced function cannot be traced, so not patched
	CodeNewFunction = "new-function"             // replacement is no code, or the kernel's symbol lookup does not find it
	CodeDoubly      = "function-twice"           // one function replaced twice
	CodeKlpFlags    = "klp-rela-flags"           // .klp.rela without SHF_RELA_LIVEPATCH or SHF_ALLOC
	CodeKlpForm     = "klp-name-form"            // .klp.rela or .klp.sym name that the kernel cannot parse
	CodeKlpObject   = "klp-rela-object"          // .klp.rela section of an object that is not patched: never applied
	CodeKlpVmlinux  = "klp-vmlinux-symbol"       // symbol of vmlinux in the section of a module: refused by the kernel
	CodeKlpOwner    = "klp-symbol-object"        // symbol of a module that need not be there by then
	CodeKlpMissing  = "klp-symbol-missing"       // symbol not in the shipped symbol table
	CodeKlpAmbig    = "klp-symbol-ambiguous"     // position 0 for a name that is not unique
	CodeKlpPosition = "klp-symbol-position"      // position beyond the entries of that name
	CodeKlpPlain    = "klp-symbol-plain"         // plain relocation against a .klp.sym symbol: resolves to 0
	CodeKlpOrdinary = "klp-rela-ordinary"        // .klp.rela entry whose symbol is no .klp.sym symbol
	CodeExport      = "export-unknown"           // undefined symbol that nothing exports
	CodeCRC         = "export-crc"               // CRC missing or not that of the kernel
	CodeNamespace   = "export-namespace"         // namespace not imported
	CodeReloc       = "relocation"               // type or target the loader refuses
	CodeOverlap     = "relocation-overlap"       // two relocations for the same bytes
	CodeSpecial     = "special-section"          // special section that is no whole number of entries, or points nowhere
	CodeLate        = "module-special-reference" // late relocation where the kernel reads or rewrites early
	CodeOrc         = "orc"                      // no ORC data for the start of a function: transitions stall
	CodeSymbol      = "symbol"                   // symbol the loader refuses
	CodeSigForm     = "signature-form"           // appended signature that the kernel cannot read
	CodeSigNeeded   = "signature-required"       // unsigned, and the kernel takes signed modules only
	CodeSameName    = "same-module"              // two livepatches of one name
	CodeStates      = "states-incompatible"      // system states of an earlier livepatch that a later one does not know
)

// Codes of warnings.
const (
	CodeNoExit         = "cannot-unload"   // no exit function
	CodeNoFunction     = "object-empty"    // object of which no function is replaced
	CodeCallbacks      = "callbacks"       // callbacks, which are not judged
	CodeTwin           = "function-twin"   // the replaced function has further names
	CodeReload         = "module-reload"   // patched module cannot be loaded again
	CodeSlow           = "slow-load"       // many walks of the kernel's symbol table
	CodeExportWeak     = "export-weak"     // weak undefined symbol that nothing exports: 0
	CodeExportOwner    = "export-module"   // plain use of a module's export: that module must be loaded first
	CodeDepends        = "depends"         // modinfo depends does not fit
	CodeExports        = "exports-symbols" // the livepatch exports symbols
	CodePerCPU         = "percpu-data"     // per-CPU data of its own
	CodeBTF            = "btf"             // .BTF section
	CodeInitRef        = "init-reference"  // code that stays refers to a section that is freed
	CodeOrcHoles       = "orc-holes"       // code without ORC data
	CodeUncovered      = "uncovered-code"  // code that no replaced function's span covers
	CodeBareReturn     = "bare-return"     // returns that do not go through the kernel's return thunk
	CodeBareBranch     = "bare-branch"     // indirect branches that are no retpolines
	CodeFunctions      = "overlap"         // a function that two livepatches replace
	CodeReplaceUnknown = "replace-unknown" // whether it replaces all could not be read
	CodeDropped        = "fix-dropped"     // a function that an earlier livepatch replaces and the one that replaces all does not
	CodeMoving         = "in-transition"   // a loaded live patch is in transition: no other can be loaded
	CodeInMemory       = "in-memory"       // a disabled live patch of this name has not been removed
)

// Codes of notes.
const (
	CodeUnsigned   = "unsigned"             // no signature
	CodeSignature  = "signature-unjudged"   // a signature whose signer's certificate was not held against it
	CodeNoKernelID = "kernel-build-unknown" // the module does not say which build it is for
	CodeReplace    = "replace"              // it disables the livepatches that are loaded
	CodeMadeAtInit = "made-at-init"         // its init function makes struct klp_patch
	CodePinned     = "pinned"               // its init function takes a reference to a module
	CodeAlready    = "already-loaded"       // it is loaded
	CodeDisables   = "disables-loaded"      // live patches that are loaded, and that it disables

	CodeStatesUnknown = "states-unknown"    // system states of a loaded live patch are not known, and would count
	CodeAbsent        = "object-not-loaded" // modules that it changes and that are not loaded now
)

var severities = map[string]Severity{
	CodeNoExit: Warning, CodeNoFunction: Warning, CodeCallbacks: Warning, CodeTwin: Warning, CodeReload: Warning, CodeSlow: Warning,
	CodeExportWeak: Warning, CodeExportOwner: Warning, CodeDepends: Warning, CodeExports: Warning, CodePerCPU: Warning, CodeBTF: Warning,
	CodeInitRef: Warning, CodeOrcHoles: Warning, CodeUncovered: Warning, CodeBareReturn: Warning, CodeBareBranch: Warning,
	CodeFunctions: Warning, CodeDropped: Warning, CodeReplaceUnknown: Warning, CodeMoving: Warning, CodeInMemory: Warning,
	CodeUnsigned: Note, CodeSignature: Note, CodeNoKernelID: Note, CodeReplace: Note, CodeMadeAtInit: Note, CodePinned: Note,
	CodeAlready: Note, CodeDisables: Note, CodeStatesUnknown: Note, CodeAbsent: Note,
}

// SeverityOf returns the severity of a code's findings.
func SeverityOf(code string) Severity {
	if s, ok := severities[code]; ok {
		return s
	}
	return Objection
}
