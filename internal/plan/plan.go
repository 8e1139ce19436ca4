// SPDX-License-Identifier: Apache-2.0

package plan

// FormatVersion is the version of the JSON form. Fields never change their
// meaning within a version.
const FormatVersion = 1

// Verdicts of a plan.
const (
	Patch   = "patch"   // the fix can be live patched, and the plan says how
	Nothing = "nothing" // the fix changes nothing that runs
	Refused = "refused" // see Refusals
)

// Plan is the whole answer about one fix and one kernel.
type Plan struct {
	Version  int       `json:"version"`
	Name     string    `json:"name"` // of the livepatch module
	Verdict  string    `json:"verdict"`
	Way      string    `json:"way"` // WayBinary, WaySource
	Kernel   Kernel    `json:"kernel"`
	Patches  []Source  `json:"patches"`
	Files    []File    `json:"files"`
	Objects  []Object  `json:"objects"`
	Units    []Unit    `json:"units"`
	Refusals []Refusal `json:"refusals"`
	Warnings []Warning `json:"warnings"`
	Pins     []string  `json:"pins"`   // why the module must stay loaded once it was enabled; empty: it can be unloaded
	Module   *Module   `json:"module"` // nil until a module was written
	Timings  []Timing  `json:"timings"`
}

// Kernel identifies the kernel the plan is for. BuildID is what counts.
type Kernel struct {
	Name     string `json:"name"`
	Release  string `json:"release"`
	Version  string `json:"version"`
	BuildID  string `json:"build_id"`
	Compiler string `json:"compiler"`
}

// Source is one input patch.
type Source struct {
	Name    string `json:"name"`
	Subject string `json:"subject"`
	SHA256  string `json:"sha256"`
	Strip   int    `json:"strip"` // leading path components stripped (patch -p)
}

// File is one file that the patches change.
type File struct {
	Path  string `json:"path"`
	Kind  string `json:"kind"` // patch.Kind
	Hunks []Hunk `json:"hunks"`
	Used  bool   `json:"used"` // false: it has no code and was left out
}

// Hunk is where a hunk went.
type Hunk struct {
	Patch  string `json:"patch"`
	Line   int    `json:"line"`
	Offset int    `json:"offset"`
	Fuzz   int    `json:"fuzz"`
}

// Object is one kernel object to be patched.
type Object struct {
	Name      string     `json:"name"` // "vmlinux" or the module, underscored
	Functions []Function `json:"functions"`
}

// Function is one function to be replaced.
type Function struct {
	Name       string `json:"name"`   // symbol in the running kernel
	Sympos     int    `json:"sympos"` // 0: unique
	Unit       string `json:"unit"`   // source path
	Reason     Reason `json:"reason"`
	Difference string `json:"difference"` // the first difference in the code
	RunPre     RunPre `json:"run_pre"`
	OldSize    uint64 `json:"old_size"` // bytes, as compiled
	NewSize    uint64 `json:"new_size"`
}

// Kinds of Reason.
const (
	Requested = "requested" // it was asked for by name, as it is
	Edited    = "edited"    // a changed line lies in it
	Inlines   = "inlines"   // GCC copied an edited function into it
	Calls     = "calls"     // it calls a function that changes and cannot be redirected itself
	Depends   = "depends"   // the compiler used something about a changed body in it, see Text
	Affected  = "affected"  // its code differs for another reason, see Text
)

// Reason says why a function is in the patch.
type Reason struct {
	Kind string   `json:"kind"`
	Via  []string `json:"via"` // for Inlines: from the edited function to this one
	Text string   `json:"text"`
}

// RunPre is the proof that the function that was compiled before the fix is
// the one that runs.
type RunPre struct {
	Verdict    string   `json:"verdict"` // "equal"
	Address    string   `json:"address"` // link-time, hex; for a module the offset in its section
	Size       uint64   `json:"size"`
	Normalised []string `json:"normalised"` // understood differences that were levelled
}

// Unit is one translation unit of the fix.
type Unit struct {
	Source     string      `json:"source"`
	Object     string      `json:"object"` // kernel object it is part of
	Edited     []string    `json:"edited"` // source functions with changed lines
	Included   []Part      `json:"included"`
	Removed    []string    `json:"removed"` // functions that the fix removes
	References []Reference `json:"references"`
	Dropped    []Dropped   `json:"dropped"`
	Match      Match       `json:"match"`
	Unmoved    []string    `json:"unmoved"`    // functions into which GCC says it copied an edited one, and whose code is the same
	Audit      *Audit      `json:"audit"`      // nil: not audited
	Warnings   []string    `json:"warnings"`   // new compiler warnings
	Extraction *SourceUnit `json:"extraction"` // nil unless the plan's way is source
}

// Part is one function or data object that goes into the module.
type Part struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // delta.Kind in words
	Why  string `json:"why"`  // replaced, new, constant, …
	Size uint64 `json:"size"`
}

// Ways to resolve a Reference.
const (
	ByExport = "export" // exported symbol, bound by the module loader with its CRC
	ByKlp    = "klp"    // found by name and position when the patch is loaded
	ByPatch  = "patch"  // defined by another unit of the patch
)

// Reference is one symbol outside the new code that it uses.
type Reference struct {
	Name   string `json:"name"`   // in the running kernel
	How    string `json:"how"`    // ByExport, ByKlp, ByPatch
	Object string `json:"object"` // who has it
	Sympos int    `json:"sympos"` // for ByKlp; 0: unique
	Proof  string `json:"proof"`  // what shows that it is this symbol
	Uses   int    `json:"uses"`
}

// Dropped is a special section entry that was left out.
type Dropped struct {
	Function string `json:"function"`
	Section  string `json:"section"`
	Key      string `json:"key"`
	Why      string `json:"why"`
}

// Match sums up run-pre matching of a whole unit.
type Match struct {
	Equal    int      `json:"equal"`
	Others   int      `json:"others"` // functions that could not be matched and that the patch does not depend on
	Examples []string `json:"examples"`
}

// Module is the file that was written.
type Module struct {
	Path      string         `json:"path"`
	Size      int            `json:"size"`
	SHA256    string         `json:"sha256"`
	BuildID   string         `json:"build_id"`
	KlpRelocs int            `json:"klp_relocations"`
	ByObject  map[string]int `json:"klp_relocations_by_object"`
	Verified  bool           `json:"verified"` // re-read from disk without objection
}

// Warning is something the reviewer should know and kmend accepts.
type Warning struct {
	Code string `json:"code"`
	Text string `json:"text"`
}

// Timing is what a stage took, in wall seconds.
type Timing struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"`
}
