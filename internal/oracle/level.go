// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"slices"
	"strings"
)

// Level is a way to compile: plain, or one of -flive-patching.
type Level struct {
	Name     string
	Flags    []string
	FactsOff bool // no facts about other functions are used
}

// Plain is the level of an ordinary build.
const Plain = "plain"

// Levels lists all levels, the one that gives up least first.
func Levels() []Level {
	inline := slices.Concat(factFlags, []string{"-fno-ipa-cp", "-fno-ipa-cp-clone", "-fno-ipa-sra", "-fno-partial-inlining"})
	return []Level{
		{Name: Plain},
		{Name: "inline-clone", Flags: factFlags, FactsOff: true},
		{Name: "inline", Flags: inline, FactsOff: true},
		{Name: "only-inline-static", Flags: []string{"-flive-patching=inline-only-static"}, FactsOff: true},
		{Name: "none", Flags: []string{"-flive-patching=inline-only-static", "-fno-inline"}, FactsOff: true},
	}
}

// ParseLevels returns the level of a name, or all of them for "all".
func ParseLevels(name string) ([]Level, error) {
	var names []string
	for _, l := range Levels() {
		if l.Name == name {
			return []Level{l}, nil
		}
		names = append(names, l.Name)
	}
	if name == "all" {
		return Levels(), nil
	}
	return nil, fmt.Errorf("unknown level %q: one of %s, or all", name, strings.Join(names, ", "))
}
