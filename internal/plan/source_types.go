// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"kmend/internal/kbuild"
)

// Ways in which the new code of a plan was made.
const (
	WayBinary = "binary" // cut out of the whole unit's object
	WaySource = "source" // compiled from a C file with just the functions concerned
)

// FunctionSpec asks for a function as it is, without a fix. File is a C file of
// the kernel, relative to its source, or empty: then the function must have just
// one definition.
type FunctionSpec struct{ File, Name string }

// String is the form in which a person writes it.
func (s FunctionSpec) String() string {
	if s.File == "" {
		return s.Name
	}
	return s.File + ":" + s.Name
}

// SourceObject is the object of a C file that was extracted from a unit: the
// new code of that unit, in place of what the binary way cuts out.
type SourceObject struct {
	Source string // path of the unit's C file
	File   string // name of the extracted C file, for the plan
	Object []byte // relocatable ELF, after objtool, one section per function and variable
	Clones []byte // .ipa-clones dump of its compile
	Types  []byte // .BTF of its compile

	// Renamed gives the unit's name for each function that the file defines
	// under a name of its own (klpp_foo: foo): those that are replaced.
	Renamed map[string]string
	// Copied are functions of the unit that the file defines under their own
	// names.
	Copied []string
	// Elsewhere are functions that the unit's text has as extern inline only
	// (gnu_inline): where no body takes the place of the call, another unit's
	// function is meant.
	Elsewhere []string
	// TextEqual says that extractor and unit agree token by token, after macro
	// expansion, in every function that the file defines. Only then are
	// differences accepted that come from what else GCC saw (rules inlining and
	// clone).
	TextEqual bool

	Decisions []Decision
	Unpatched []Proof // of the same extraction from the source without the fix
}

// Decision says what was done about one name that the extracted code uses.
type Decision struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`     // function, variable, static-local
	Decision string `json:"decision"` // include, copy, declare, bind, replace, refuse
	Symbol   string `json:"symbol"`   // in the running kernel, for declare
	How      string `json:"how"`      // ByExport, ByKlp, ByPatch, for declare
	Origin   string `json:"origin"`   // FILE:FIRST-LAST
	Why      string `json:"why"`
	By       string `json:"by"` // rule, policy
}

// SourceUnit is how the new code of a unit was made the source way.
type SourceUnit struct {
	File      string     `json:"file"` // extracted C file
	Decisions []Decision `json:"decisions"`
	Unpatched []Proof    `json:"unpatched"` // extracted from the source without the fix, against the unit before
	Patched   []Proof    `json:"patched"`   // what goes into the module, against the unit after
}

// Verdicts of a Proof.
const (
	ProofIdentical   = "identical"   // equal code, references and special section entries
	ProofNamed       = "named"       // it differs, and the rules explain all of it
	ProofUnexplained = "unexplained" // it differs, and nothing explains that
)

// Proof says how a function compiled from the extracted file compares with the
// same function compiled in its unit.
type Proof struct {
	Function   string      `json:"function"` // the unit's name
	Verdict    string      `json:"verdict"`
	Rules      []RuleCount `json:"rules"`
	Difference string      `json:"difference"` // the first one in words, empty if identical
	WholeSize  uint64      `json:"whole_size"` // in bytes, in the unit
	PartSize   uint64      `json:"part_size"`  // in bytes, from the extracted file
}

// RuleCount is how often a rule levelled or explained something.
type RuleCount struct {
	Rule  string `json:"rule"`
	Count int    `json:"count"`
}

// BuiltUnit is what a plan knows of one translation unit, for whoever extracts
// from it.
type BuiltUnit struct {
	Source        string
	Objects       []string // kernel objects that it is part of and that are patched
	Command       *kbuild.Command
	Overlay       map[string][]byte // files of the fix, as compiled; empty for functions as they are
	Before, After *kbuild.Result    // the whole unit; equal for functions as they are
	Replaced      []string          // functions to be extracted and renamed: symbols of After
	Carried       []string          // functions without fentry that change: to be copied
	New           []string          // functions that the fix adds
}

// CopyError says that an extracted file calls functions of the unit where they
// are and must not: it has to copy them. The caller can do so and try again.
type CopyError struct {
	Source    string
	Functions []string // by name
	Why       []string // one reason each
}

// Error names the functions and the first reason.
func (e *CopyError) Error() string {
	why := ""
	if len(e.Why) > 0 {
		why = ": " + e.Why[0]
	}
	return fmt.Sprintf("%s: the extracted code cannot use the kernel's own %s%s; copy them into the extracted file", e.Source, strings.Join(e.Functions, ", "), why)
}

// Disagreement is a difference between the binary and the source way of one
// fix.
type Disagreement struct {
	Object   string `json:"object"`
	Function string `json:"function"`
	Why      string `json:"why"`
}
