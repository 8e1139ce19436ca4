// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"fmt"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
)

// Prefix is what the name of a replaced function gets in front, as reviewers of
// live patches know it.
const Prefix = "klpp_"

// Request is what a file is cut out of, and how.
type Request struct {
	Text    *ctext.Expanded
	Unit    *csyntax.Unit
	Source  string            // of the translation unit, as GCC names it in the text
	Replace map[string]string // functions to be replaced, with why
	Object  *Object           // what the compiled unit shows
	Policy  Policy
	// SelfContained copies what only headers of the kernel's own directories
	// declare, so that the headers package is enough to compile the file.
	SelfContained bool
	AllIncludes   bool            // keep every #include of the unit, needed or not
	Copy          map[string]bool // functions to be copied whatever the object shows
	Also          []string        // functions to be copied though nothing here may use them
	// Public reports whether the headers package has a file.
	Public func(file string) bool
	// Read returns the text of a file as GCC names it; nil if there is none.
	Read func(file string) []byte

	needed   map[Name]bool   // what compiling an earlier cut found missing
	builtins map[string]bool // names that GCC has a function of its own for
}

// Name is a file-scope name with its name space.
type Name struct {
	Text string
	Tag  bool
}

// Object is what the unit's object shows of its symbols. Names are those of
// the source; clones have the compiler's suffix.
type Object struct {
	// Functions and Variables are those that the running kernel has under their
	// own name and that new code can refer to.
	Functions, Variables map[string]bool
	// New are the variables that the fix adds: their definition comes along.
	New map[string]bool
	// Refs are for each function, its clones and cold parts included, the
	// symbols that its code refers to.
	Refs map[string]map[string]bool
	// Elements is for each array the number of its elements.
	Elements map[string]int64
}

// Kinds of what a decision is about.
const (
	KindFunction = "function"
	KindVariable = "variable"
	KindLocal    = "static-local"
)

// Decisions about a name.
const (
	Include = "include" // a header has it
	Copied  = "copy"    // its text comes along
	Declare = "declare" // declared, and bound to the kernel's own
	Bind    = "bind"    // its text comes along, its object is the kernel's own
	Replace = "replace" // defined anew
	Refuse  = "refuse"
)

// Decision says what became of one name that the new code uses.
type Decision struct {
	Name   string
	Kind   string
	What   string // one of the decisions
	Origin string // file:first-last
	Why    string
	Policy bool // decided by the policy, not by the rules
}

// File is the result.
type File struct {
	Text []byte // for people
	// Marked is the same with #line where the text was cut, so that __LINE__
	// and __FILE__ are those of the unit.
	Marked []byte
	// Origins are for each line of Text where the kernel's source has it.
	Origins   []Origin
	Decisions []Decision
	Lines     int      // without blank lines, comments and the head
	Copied    []string // functions whose text was copied
	Declared  []string // own names declared for the kernel's own
	Constants []string // those of them that are constants
	Rounds    int      // compiles until nothing was missing
	Idle      []string // names of the policy that the unit declares and the file does not use
}

// Origin is a line of a source file; zero for a line that extraction made.
type Origin struct {
	File string
	Line int
}

// Error says why no file could be cut.
type Error struct {
	Code   string // not-extracted, policy
	Name   string
	Where  string // file:line
	Why    string
	Advice string
}

func (e *Error) Error() string {
	s := "extract"
	if e.Name != "" {
		s += " " + e.Name
	}
	if e.Where != "" {
		s += " (" + e.Where + ")"
	}
	s += ": " + e.Why
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Codes of errors.
const (
	CodeNotExtracted = "not-extracted"
	CodePolicy       = "policy"
)

func refused(name, where, advice, why string, args ...any) error {
	return &Error{Code: CodeNotExtracted, Name: name, Where: where, Why: fmt.Sprintf(why, args...), Advice: advice}
}
