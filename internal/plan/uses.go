// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"

	"kmend/internal/delta"
)

// sameUses reports whether two functions, cold parts included, refer to the same
// functions, variables and constants, each as often.
func sameUses(a, b *delta.Item) bool { return maps.Equal(usesOf(a), usesOf(b)) }

func usesOf(it *delta.Item) map[string]int {
	out := map[string]int{}
	eachRef(it, func(r *delta.Ref) {
		t := r.Target.Item
		switch {
		case r.Target.Extern != "":
			out[r.Target.Extern]++
		case r.Target.Content != nil:
			out["content "+r.Target.Content.Bytes]++
		case t == nil || t == it || t.Parent == it: // within the function
		case t.Kind == delta.Const:
			out["constant "+string(t.Data())]++
		default:
			stem, _ := delta.Stem(t.Name)
			out[stem]++
		}
	})
	return out
}
