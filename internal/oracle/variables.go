// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/delta"
)

// VariableFact is a function whose code rests on a fact about static variables:
// that they are never written, never read, or that nobody has their address. A
// patch that makes the fact false must replace the function.
type VariableFact struct {
	Change
	// Variables that the fact is about. Empty if no compile shows which: then it
	// may be any static variable of the unit.
	Variables []string `json:"variables"`
	// Unproven: the function uses the variables, but which of them the fact is
	// about was not shown (static locals cannot be named outside their function).
	Unproven bool `json:"unproven,omitempty"`
}

// variableFlags switch off facts about static variables.
var variableFlags = []string{"-fno-ipa-reference-addressable", "-fno-ipa-reference"}

// VariableFacts finds the functions that rest on facts about static variables,
// by two compiles: one in which GCC does not look for such facts, and one in
// which others have the address of each. That nobody has it is a fact that no
// option switches off, at no level (TREE_ADDRESSABLE). Which variables is seen
// from uses that are only there then (a variable that is never written is
// otherwise replaced by its value), or by giving away one address at a time.
func (u *Unit) VariableFacts(ctx context.Context) ([]VariableFact, error) {
	out := []VariableFact{}
	x := &explainer{u: u, seen: map[string]*difference{}}
	if !u.opt.FactsOff {
		d, err := u.compare(ctx, variant{}, variant{flags: variableFlags})
		if err != nil {
			return nil, fmt.Errorf("audit %s: %w", u.Source, err)
		}
		if out, err = x.variableFacts(ctx, out, d); err != nil {
			return nil, err
		}
	}
	d, err := u.giveAway(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit %s: give away the addresses of its static variables: %w", u.Source, err)
	}
	return x.variableFacts(ctx, out, d)
}

// undeclared is how GCC says that a name is none of the source: variables that
// inline assembly defines (gcc/c/c-decl.cc: undeclared_variable).
var undeclared = regexp.MustCompile(`'([A-Za-z_]\w*)' undeclared`)

// giveAway compares the unit with one in which others have the addresses of all
// static variables.
func (u *Unit) giveAway(ctx context.Context) (*difference, error) {
	var names []string
	for _, it := range u.base.Items {
		if it.Kind == delta.State && !it.IsGlobal() && identifier.MatchString(it.Name) {
			names = append(names, it.Name)
		}
	}
	for {
		var tail strings.Builder
		for _, n := range names {
			tail.WriteString(escape(n))
		}
		d, err := u.compare(ctx, variant{}, variant{tail: tail.String()})
		var refused *RefusedError
		if !errors.As(err, &refused) {
			return d, err
		}
		before := len(names)
		for _, m := range undeclared.FindAllStringSubmatch(plainQuotes(refused.Log), -1) {
			names = slices.DeleteFunc(names, func(n string) bool { return n == m[1] })
		}
		if len(names) == before {
			return nil, err
		}
	}
}

// variableFacts adds the functions that differ, and are not in the list yet.
func (x *explainer) variableFacts(ctx context.Context, out []VariableFact, d *difference) ([]VariableFact, error) {
	for _, c := range d.changes(func(*delta.Item) bool { return false }) {
		if slices.ContainsFunc(out, func(f VariableFact) bool { return f.Symbol == c.Symbol }) {
			continue
		}
		f := VariableFact{Change: c, Variables: []string{}}
		if err := x.nameVariables(ctx, &f, d.result); err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// nameVariables finds which variables the fact is about.
func (x *explainer) nameVariables(ctx context.Context, f *VariableFact, r *delta.Result) error {
	b, a := code(r.Before, f.Symbol), code(r.After, f.Symbol)
	uses, differs := map[string]int{}, map[string]bool{}
	count(uses, b, -1)
	count(uses, a, 1)
	for name, n := range uses {
		if n != 0 && a != nil {
			differs[name] = true
		}
	}
	if f.Variables = append(f.Variables, sorted(differs)...); len(f.Variables) > 0 {
		return nil
	}
	var candidates []string
	for name := range uses {
		candidates = append(candidates, name)
	}
	slices.Sort(candidates)
	for _, name := range candidates {
		if !identifier.MatchString(name) {
			continue
		}
		d, err := x.compare(ctx, comparison{"taking the address of " + name, "", escape(name)}, nil)
		if err != nil {
			return err
		}
		if d != nil && d.of(f.Symbol) != same {
			f.Variables = append(f.Variables, name)
		}
	}
	if len(f.Variables) == 0 {
		f.Variables, f.Unproven = append(f.Variables, candidates...), true
	}
	return nil
}

// escape is the text that gives other units the address of a variable. To
// declare it used is not enough: GCC still takes for granted that nobody has it.
func escape(name string) string {
	return fmt.Sprintf("\n#undef %s\nvoid *__kmend_address_of_%s = (void *)&%s;\n", name, name, name)
}

// count adds up how often a function refers to each local variable.
func count(counts map[string]int, it *delta.Item, by int) {
	if it == nil {
		return
	}
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
