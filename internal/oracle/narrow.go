// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"fmt"
	"strings"

	"kmend/internal/delta"
)

// Narrowing is an original static function whose code rests on facts about all
// of its callers: new code must not call it as if it kept its C interface.
type Narrowing struct {
	Change
	Proof
	Disassembly string `json:"disassembly,omitempty"`
}

// Narrowed is the answer to which static functions were made to fit their
// callers.
type Narrowed struct {
	Checked int         `json:"checked"` // static functions that exist under their own name
	InPlace []Narrowing `json:"in_place"`
	Clones  []string    `json:"clones"` // functions of the same that exist under another name: callers use a clone
}

// Narrowed finds the static functions whose code GCC narrowed by what it knows
// of their callers (-fipa-vrp, -fipa-bit-cp), in place, so that the name does
// not show it. All of them are declared used in one compile: then callers that
// GCC does not see must be reckoned with.
func (u *Unit) Narrowed(ctx context.Context) (*Narrowed, error) {
	out := &Narrowed{InPlace: []Narrowing{}, Clones: []string{}}
	var names []string
	clones := map[string]bool{}
	for _, it := range u.base.Items {
		switch {
		case isLocalFunction(it):
			names = append(names, it.Name)
		case it.Kind == delta.Func && it.Parent == nil && delta.Source(it.Name) != it.Name:
			clones[it.Name] = true
		}
	}
	out.Checked, out.Clones = len(names), append(out.Clones, sorted(clones)...)
	if len(names) == 0 {
		return out, nil
	}
	uses := comparison{"declaring the static functions used", "", redeclare("__used__", names...)}
	x := &explainer{u: u, seen: map[string]*difference{}}
	d, err := x.compare(ctx, uses, nil)
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", u.Source, err)
	}
	if d == nil {
		return nil, fmt.Errorf("audit %s: the compiler refuses to declare its static functions used: %s", u.Source, strings.Join(names, ", "))
	}
	for _, c := range d.changes(func(it *delta.Item) bool { return !isLocalFunction(it) }) {
		m := &Miss{Change: c}
		if err := x.prove(ctx, m, uses, uses, x.fact, x.cold, x.factBesideCold); err != nil {
			return nil, err
		}
		out.InPlace = append(out.InPlace, Narrowing(*m))
	}
	return out, nil
}
