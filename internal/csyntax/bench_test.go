// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"testing"

	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

// benchUnit is a big unit of the stock kernel.
func benchUnit(b *testing.B) []byte {
	k := kerneltest.Open(b)
	tree, err := kbuild.Open(k)
	if err != nil {
		b.Fatal(err)
	}
	commands, err := tree.Commands(b.Context(), []string{"drivers/gpu/drm/i915/display/intel_display.c"})
	if err != nil {
		b.Fatal(err)
	}
	text, err := tree.Preprocess(b.Context(), kbuild.Job{Command: commands[0]})
	if err != nil {
		b.Fatal(err)
	}
	return text
}

func BenchmarkParse(b *testing.B) {
	names, tokens := lex(b, benchUnit(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(names, tokens); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(tokens)), "tokens/op")
}

// BenchmarkRefs asks for the uses of every item of the unit.
func BenchmarkRefs(b *testing.B) {
	names, tokens := lex(b, benchUnit(b))
	u, err := Parse(names, tokens)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range u.Items {
			if _, err := u.Refs(i); err != nil {
				b.Fatal(err)
			}
		}
	}
}
