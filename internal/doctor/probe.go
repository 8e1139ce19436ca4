// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"strings"
)

// About says what a fact is a fact about, and so which change makes it false.
type About uint8

const (
	// Body: the body of a callee; the patch changes the callee, and the caller
	// relies on what it was.
	Body About = iota
	// Callers: the arguments that the callers of a static function pass; a
	// caller in a patch passes others to a function that was narrowed.
	Callers
	// Interface: which arguments and results of a static function are passed at
	// all; code in a patch that calls it by its C prototype calls it wrongly.
	Interface
	// Variable: who reads and writes a static variable; a patch adds one.
	Variable
	// Placement: how often code runs; it decides where code lies, not what it does.
	Placement
)

var aboutNames = [...]string{"body", "callers", "interface", "variable", "placement"}

// String is the word as it is printed and stored.
func (a About) String() string { return aboutNames[a] }

// MarshalText makes it a word in JSON.
func (a About) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// Probe is one question to the compiler.
type Probe struct {
	Name   string
	Fact   string // what the compiler may have found out, and done with it
	About  About
	Option string // GCC's own name for the pass, as in -fOPTION; "" if it has none
	Source string // where it is done: a file of GCC, a pass of LLVM

	// Text is C source with the macro BODY where the variants differ, and
	// LOCAL, GLOBAL, SMALL or VAR before the definition that is hidden in the
	// controls; see Program.
	Text     string
	One, Two string // BODY of the variants; the fact holds in One
	Changed  string // the function that BODY is in
	Watched  string // the function whose code tells

	Off []string // flags that may switch it off; those that do are found by trying
}

// hiding is how a definition is made opaque to the rest of its unit.
type hiding uint8

const (
	open    hiding = iota // not at all
	byNoipa               // GCC: __attribute__((noipa)), gcc/doc/extend.texi
	byWeak                // any compiler: another definition may replace it when it is linked
	prelude = "void ext(void);\nint ext1(int);\nint *extp(void);\n" +
		"void *fresh(void) __attribute__((malloc));\nvoid rare(int) __attribute__((cold));\n" +
		"extern int g, h, arr[64];\nstruct s { int a, b; };\n"
	noinline = "__attribute__((noinline))"
)

// macros are the definitions of LOCAL (a static function that is not inlined),
// GLOBAL (one that is not static), SMALL (a static one that may be inlined) and
// VAR (a static variable).
func (h hiding) macros() string {
	def := func(local, global, small, variable string) string {
		return "#define LOCAL " + local + "\n#define GLOBAL " + global + "\n#define SMALL " + small + "\n#define VAR " + variable + "\n"
	}
	switch h {
	case byNoipa:
		// A variable has no such attribute: a global one is open to other units.
		return def("static __attribute__((noipa))", "__attribute__((noipa))", "static __attribute__((noipa))", "")
	case byWeak:
		return def("__attribute__((weak))", "__attribute__((weak))", "__attribute__((weak))", "__attribute__((weak))")
	}
	return def("static "+noinline, noinline, "static", "static")
}

// Program is the C source of a variant of the probe. Both variants have the
// same lines.
func (p *Probe) Program(two bool, h hiding) string {
	body := p.One
	if two {
		body = p.Two
	}
	return h.macros() + "#define BODY " + body + "\n" + prelude + strings.TrimLeft(p.Text, "\n")
}
