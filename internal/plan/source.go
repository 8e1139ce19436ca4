// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
)

// Built lists the units of a plan, by source, with what they were compiled to.
func (b *Build) Built() []BuiltUnit { return nil }

// Find says where the running kernel has what a unit calls by name: an item of
// the unit as it is after the fix, or a symbol that it only uses. The error says
// why it cannot be used in place.
func (b *Build) Find(source, name string) (*Reference, error) {
	return nil, errors.New("find a symbol of a plan: not written yet")
}

// Prove compares the functions that an extracted file defines with the same
// functions of the whole unit: after the fix if patched, else before it.
func (b *Build) Prove(ctx context.Context, o SourceObject, patched bool) ([]Proof, error) {
	return nil, errors.New("prove an extraction: not written yet")
}

// FromSource makes the plan whose new code is that of extracted files, one for
// each unit of b, which is a plan with the verdict Patch. A refusal is in the
// new plan; the error is a *CopyError if a file must copy more.
func (b *Build) FromSource(ctx context.Context, objects []SourceObject) (*Build, error) {
	return nil, errors.New("make a plan from extracted files: not written yet")
}

// CrossCheck compares the plans that the binary and the source way made of one
// fix. They agree if nothing is returned.
func CrossCheck(binary, source *Build) ([]Disagreement, error) {
	return nil, errors.New("compare the two ways: not written yet")
}
