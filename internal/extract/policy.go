// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kmend/internal/csyntax"
	"kmend/internal/nearest"
)

// Policy overrides decisions by name.
type Policy map[string]string

// maxPolicy bounds a policy file.
const maxPolicy = 1 << 20

// ParsePolicy reads a policy file: one "DECISION NAME" a line, with # comments.
// A decision is copy, declare or refuse. Whether the names are used is seen once
// files are cut: see CheckUsed.
func ParsePolicy(file string, data []byte) (Policy, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("read policy %s: more than %d bytes", file, maxPolicy)
	}
	p, line := Policy{}, 0
	for text := range strings.Lines(string(data)) {
		line++
		text, _, _ = strings.Cut(text, "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		if len(f) != 2 || !slices.Contains([]string{Copied, Declare, Refuse}, f[0]) {
			return nil, fmt.Errorf("read policy %s:%d: %.60q is not \"copy NAME\", \"declare NAME\" or \"refuse NAME\"", file, line, strings.TrimSpace(text))
		}
		if was, ok := p[f[1]]; ok && was != f[0] {
			return nil, fmt.Errorf("read policy %s:%d: %s is both %s and %s; say it once", file, line, f[1], was, f[0])
		}
		p[f[1]] = f[0]
	}
	return p, nil
}

// past are the decisions of a policy as something that was done.
var past = map[string]string{Copied: "copied", Declare: "declared", Refuse: "refused"}

func refusedByPolicy(name, where string) error {
	return &Error{Code: CodePolicy, Name: name, Where: where, Why: "the policy refuses it", Advice: "patch a function that does not use it"}
}

// checkReplaced refuses a policy about a function that is replaced: nothing is
// left to decide.
func (p Policy) checkReplaced(replaced map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if _, ok := replaced[name]; ok {
			return &Error{Code: CodePolicy, Name: name, Why: "the policy wants it to be " + past[p[name]] + ", and it is replaced", Advice: "take it out of the policy"}
		}
	}
	return nil
}

// CheckUsed refuses a policy with a name that none of the files of a patch has a
// use for: it is most likely misspelled, and what was to be decided was not. To
// refuse what is not used is fine, if some unit knows the name.
func (p Policy) CheckUsed(files []*File) error {
	used, idle := map[string]bool{}, map[string]bool{}
	var names []string
	for _, f := range files {
		for _, d := range f.Decisions {
			used[d.Name] = used[d.Name] || d.Policy
			names = append(names, d.Name)
		}
		for _, n := range f.Idle {
			idle[n] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		switch {
		case used[name], p[name] == Refuse && idle[name]:
		case idle[name]:
			return &Error{Code: CodePolicy, Name: name, Why: "the policy wants it to be " + past[p[name]] + ", and nothing that was extracted uses it", Advice: "take it out of the policy"}
		default:
			advice := "check the name"
			if near := nearest.Names(name, names, 3); len(near) > 0 {
				advice += "; near names: " + strings.Join(near, ", ")
			}
			return &Error{Code: CodePolicy, Name: name, Why: "the policy names it, and no unit of the patch declares it", Advice: advice}
		}
	}
	return nil
}

// idle are the names of the policy that the unit declares, though nothing that
// comes along uses them.
func (c *cutter) idle() []string {
	var out []string
	for name := range c.q.Policy {
		d := c.decided[Name{Text: name}]
		if id, ok := c.u.Names.Lookup(name); ok && d == nil && len(c.u.Lookup(csyntax.Ordinary, id)) > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
