// SPDX-License-Identifier: Apache-2.0

package delta

import "fmt"

// renamedState marks new state as ambiguous where the fix removes other state
// from a function that uses the new: it may be the same variable under another
// name, moved or of another type, and then its contents would be lost, and be
// there twice as long as old code runs.
func (r *Result) renamedState(c *correlation) {
	var gone []*Item
	for _, b := range r.Before.Items {
		if b.Kind == State && b.Size > 0 && c.toAfter[b] == nil && mustKnow(b) {
			gone = append(gone, b)
		}
	}
	for _, a := range r.NewData {
		if a.Kind != State || a.Size == 0 || !mustKnow(a) || c.ambiguous[a] != "" {
			continue
		}
		for _, b := range gone {
			if shareUser(b, a) {
				c.ambiguous[a] = fmt.Sprintf("the fix takes %s out of the functions that use it, and it may stand for that", b.Name)
				break
			}
		}
	}
}
