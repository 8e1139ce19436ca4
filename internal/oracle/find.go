// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"kmend/internal/definitions"
)

// FindDefinition lists the C files below sourceDir, relative to it, that seem to
// define a function. Whether a unit has it is for its object to say. The error
// is a *NotFoundError if there is none.
func FindDefinition(ctx context.Context, sourceDir, name string) ([]string, error) {
	if !identifier.MatchString(name) {
		return nil, &NotFoundError{Name: name, Why: "that is no name of a function"}
	}
	found, err := definitions.Find(ctx, sourceDir, []string{name}, nil)
	if err != nil {
		return nil, err
	}
	files := found[name]
	units := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return path.Ext(f) != ".c" })
	switch {
	case len(units) > 0:
		return units, nil
	case len(files) > 0:
		return nil, &NotFoundError{Name: name, Why: fmt.Sprintf("it is defined in a header (%s): name a unit that uses it, as UNIT.c:%s", strings.Join(files, ", "), name)}
	}
	return nil, &NotFoundError{Name: name, Why: "no C file of the kernel seems to define it: name its unit, as UNIT.c:" + name}
}
