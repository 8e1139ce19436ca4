// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"testing"

	"kmend/internal/delta"
	"kmend/internal/object"
	"kmend/internal/runpre"
)

// GCC has compiled the callers by what it saw of the function: another one of
// the same name is not good enough, global or not.
func TestResolveFunctionThatDiffers(t *testing.T) {
	for _, bind := range []byte{0, 1} { // STB_LOCAL, STB_GLOBAL
		sym := &object.Symbol{Name: "f", Bind: bind}
		r := &resolver{object: Vmlinux, match: &runpre.UnitMatch{Funcs: map[*object.Symbol]*runpre.FuncMatch{
			sym: {Verdict: runpre.Mismatch, Why: "instructions differ"},
		}}}
		_, err := r.function(&delta.Item{Name: "f", Symbols: []*object.Symbol{sym}})
		var nf *notFound
		if !errors.As(err, &nf) || nf.code != CodeRunPreMismatch {
			t.Errorf("bind %d: %v, want a refusal with %s", bind, err, CodeRunPreMismatch)
		}
	}
}
