// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"fmt"

	"kmend/internal/delta"
)

// VariableFact is a function whose code rests on a fact about static variables:
// that they are never written, never read, or that nobody has their address. A
// patch that makes the fact false must replace the function.
type VariableFact struct {
	Change
	// Variables whose use in the function is not what the source says. Empty if
	// the difference does not show which: then any static variable of the unit.
	Variables []string `json:"variables"`
}

// variableFlags switch off facts about static variables.
var variableFlags = []string{"-fno-ipa-reference-addressable", "-fno-ipa-reference"}

// VariableFacts finds the functions that rest on facts about static variables:
// those whose code differs when GCC does not look for such facts.
func (u *Unit) VariableFacts(ctx context.Context) ([]VariableFact, error) {
	out := []VariableFact{}
	if u.opt.FactsOff {
		return out, nil
	}
	d, err := u.compare(ctx, variant{}, variant{flags: variableFlags})
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", u.Source, err)
	}
	for _, c := range d.changes(func(*delta.Item) bool { return false }) {
		f := VariableFact{Change: c, Variables: []string{}}
		b, a := d.result.Before.Item(c.Symbol), d.result.After.Item(c.Symbol)
		if a != nil {
			counts := map[string]int{}
			count(counts, b, -1)
			count(counts, a, 1)
			differ := map[string]bool{}
			for n, k := range counts {
				if k != 0 {
					differ[n] = true
				}
			}
			f.Variables = append(f.Variables, sorted(differ)...)
		}
		out = append(out, f)
	}
	return out, nil
}

// count adds up how often a function refers to each local variable.
func count(counts map[string]int, it *delta.Item, by int) {
	for _, part := range []*delta.Item{it, it.Cold} {
		if part == nil {
			continue
		}
		for _, r := range part.Refs {
			if v := r.Target.Item; v != nil && !v.Kind.IsCode() && v.Kind != delta.Const && len(v.Symbols) > 0 && !v.IsGlobal() {
				counts[v.Name] += by
			}
		}
	}
}
