// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"fmt"

	"kmend/internal/nearest"
)

// Level says how much a compiler may take from the body of one function into
// the code of another. Levels are ordered: each one forbids all that the one
// before it forbids, and more.
type Level uint8

const (
	// Plain is the compiler as it is: everything is allowed.
	Plain Level = iota
	// InlineClone allows inlining and clones, and no other fact about a body.
	InlineClone
	// Inline allows inlining and no clones.
	Inline
	// OnlyInlineStatic allows inlining of static functions only.
	OnlyInlineStatic
	// None allows no inlining, always_inline excepted.
	None
)

// Levels lists all levels in order.
var Levels = []Level{Plain, InlineClone, Inline, OnlyInlineStatic, None}

var levelNames = [...]string{"plain", "inline-clone", "inline", "only-inline-static", "none"}

// String is the level as -flive-patching= takes it.
func (l Level) String() string { return levelNames[l] }

// MarshalText makes the level a word in JSON.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText wrote, as ParseLevel does.
func (l *Level) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLevel(string(text))
	return err
}

// ParseLevel reads the name of a level. inline-only-static, as GCC spells it,
// is only-inline-static.
func ParseLevel(name string) (Level, error) {
	if name == "inline-only-static" {
		return OnlyInlineStatic, nil
	}
	for _, l := range Levels {
		if name == l.String() {
			return l, nil
		}
	}
	names := append([]string{"inline-only-static"}, levelNames[:]...)
	return Plain, fmt.Errorf("unknown level %.60q, where none, only-inline-static, inline, inline-clone and plain are known%s",
		name, nearest.DidYouMean(name, names))
}

// pass is an optimisation of GCC that takes a fact about one function, or
// variable, into the code of another.
type pass struct {
	option string // without -f
	from   Level  // the lowest level that forbids it
}

// passes is the list of GCC's control_options_for_live_patching (gcc/opts.cc;
// the same in 9 to 15, as far as a version has the pass) and, from Inline on,
// the passes that make clones, which GCC itself forbids at inline-only-static.
// whole-program is not among them: like -flto it is no pass that is on by
// itself, see Conflict.
var passes = []pass{
	{"ipa-pta", InlineClone},
	{"ipa-reference", InlineClone},
	{"ipa-reference-addressable", InlineClone}, // 9
	{"ipa-ra", InlineClone},
	{"ipa-icf", InlineClone},
	{"ipa-icf-functions", InlineClone},
	{"ipa-icf-variables", InlineClone},
	{"ipa-bit-cp", InlineClone},
	{"ipa-vrp", InlineClone},
	{"ipa-pure-const", InlineClone},
	{"ipa-stack-alignment", InlineClone}, // 9
	{"ipa-modref", InlineClone},          // 11
	{"ipa-cp", Inline},
	{"ipa-cp-clone", Inline},
	{"ipa-sra", Inline},
	{"partial-inlining", Inline},
}

// harmless are interprocedural passes that stay on at every level. They move
// code between hot and cold, or concern types only: a body that changes later
// makes no code wrong that they touched.
var harmless = map[string]bool{
	"ipa-profile":              true, // frequencies (gcc/ipa-profile.cc)
	"ipa-strict-aliasing":      true, // types, not bodies; 12
	"ipa-reorder-for-locality": true, // the order of functions; 15
}

// off lists the passes that a level forbids.
func off(l Level) []string {
	var out []string
	for _, p := range passes {
		if p.from <= l {
			out = append(out, p.option)
		}
	}
	return out
}

// Conflict says why an option of the command line cannot go with a level, or
// "" if it can.
func (l Level) Conflict(option string) string {
	if l == Plain {
		return ""
	}
	for _, p := range passes {
		if option == "-f"+p.option && p.from <= l {
			return fmt.Sprintf("level %v switches %s off", l, p.option)
		}
	}
	switch {
	case option == "-flto", len(option) > 6 && option[:6] == "-flto=":
		return "with link-time optimisation functions are compiled when the program is linked, where no level reaches"
	case option == "-fwhole-program":
		return "it makes every function static, so that every fact about one may be used in another"
	case option == "-finline" && l == None:
		return "level none switches inlining off"
	}
	return ""
}
