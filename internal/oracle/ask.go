// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"fmt"
	"slices"

	"kmend/internal/delta"
)

// FittedToCallers lists the static functions whose code, under their own name,
// differs when GCC must reckon with callers that it does not see. It is
// Narrowed without the proofs: one compile.
func (u *Unit) FittedToCallers(ctx context.Context) ([]Change, error) {
	var names []string
	for _, it := range u.base.Items {
		if isLocalFunction(it) {
			names = append(names, it.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	d, err := u.compare(ctx, variant{}, variant{tail: redeclare("used", names...)})
	if err != nil {
		return nil, fmt.Errorf("declare the static functions used: %w", err)
	}
	return d.changes(func(it *delta.Item) bool { return !isLocalFunction(it) }), nil
}

// Explain proves why the code of one function depends on the body of another;
// nil if it does not.
func (u *Unit) Explain(ctx context.Context, name, symbol string) (*Proof, error) {
	observed, err := u.Hide(ctx, name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(observed, func(c Change) bool { return c.Symbol == symbol })
	if i < 0 {
		return nil, nil
	}
	m, err := (&explainer{u: u, name: name, seen: map[string]*difference{}}).explain(ctx, observed[i])
	if err != nil {
		return nil, err
	}
	return &m.Proof, nil
}
