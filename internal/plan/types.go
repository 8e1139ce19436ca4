// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"

	"kmend/internal/delta"
	"kmend/internal/kbuild/types"
)

// compareTypes refuses changes that code which is not replaced would not know
// of: the layout of a type, the type of a variable that lives on, the
// interface of a function that other translation units call.
func compareTypes(p *Plan, u *compiled, result *delta.Result) error {
	changes, err := types.Compare(u.before.Types, u.after.Types)
	if err != nil {
		return fmt.Errorf("compare types: %w", err)
	}
	refuse := func(code string, c types.Change, why, advice string) {
		p.refuse(Refusal{Code: code, File: u.source, Symbol: c.Kind + " " + c.Name, Why: why + ": " + c.Detail, Advice: advice,
			Detail: changedLines(c.Before, c.After)})
	}
	for _, c := range changes.Types {
		refuse(CodeLayoutChanged, c, "its layout changes, and memory of the running kernel has the old one", "keep the type, and hold new data elsewhere (shadow variables)")
	}
	for _, c := range changes.Variables {
		if it := result.Before.Item(c.Name); it != nil && result.After.Item(c.Name) != nil {
			refuse(CodeLayoutChanged, c, "its type changes, and the variable of the running kernel has the old one", "keep the variable's type")
		}
	}
	for _, c := range changes.Functions {
		if it := result.Before.Item(c.Name); it != nil && it.IsGlobal() && result.After.Item(c.Name) != nil {
			refuse(CodeInterfaceChanged, c, "other translation units call it and are not compiled again", "keep its parameters and result")
		}
	}
	return nil
}

// changedLines is what of two descriptions is not in the other, as in a diff.
func changedLines(before, after string) string {
	var out []string
	only := func(mark, a, b string) {
		in := map[string]int{}
		for _, l := range strings.Split(b, "\n") {
			in[l]++
		}
		for _, l := range strings.Split(a, "\n") {
			if in[l]--; in[l] < 0 {
				out = append(out, mark+l)
			}
		}
	}
	only("-", before, after)
	only("+", after, before)
	return strings.Join(out, "\n")
}
