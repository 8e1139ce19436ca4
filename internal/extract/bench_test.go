// SPDX-License-Identifier: Apache-2.0

package extract_test

import (
	"context"
	"testing"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
	"kmend/internal/extract"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

// BenchmarkCut is everything but GCC for a function of a big unit: reading its
// text, and cutting in two rounds. What the judge says is canned.
func BenchmarkCut(b *testing.B) {
	const source, function = "net/ipv4/tcp_input.c", "tcp_rcv_established"
	k := kerneltest.Open(b)
	tree, err := kbuild.Open(k)
	if err != nil {
		b.Fatal(err)
	}
	cs, err := tree.Commands(context.Background(), []string{source})
	if err != nil {
		b.Fatal(err)
	}
	text, err := tree.Preprocess(context.Background(), kbuild.Job{Command: cs[0]}, "-fdirectives-only")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			readUnit(b, text)
		}
	})
	b.Run("cut", func(b *testing.B) {
		x, u := readUnit(b, text)
		o := &extract.Object{Functions: map[string]bool{}, Variables: map[string]bool{}, Refs: map[string]map[string]bool{function: {}}}
		for i := range u.Items { // all of the unit's own is there, and called
			for _, d := range u.Items[i].Decls {
				name := u.Names.Text(d.Name)
				o.Functions[name], o.Variables[name], o.Refs[function][name] = true, true, true
			}
		}
		b.ReportAllocs()
		for b.Loop() {
			round := 0
			_, err := extract.Cut(context.Background(), extract.Request{
				Text: x, Unit: u, Source: cs[0].Source, Replace: map[string]string{function: ""}, Object: o,
				Public: func(string) bool { return true }, Read: func(string) []byte { return nil },
			}, func(context.Context, []byte) (string, error) {
				if round++; round == 1 {
					return "x.c:1:1: error: invalid use of undefined type 'struct tcp_sack_block'\n", nil
				}
				return "", nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func readUnit(b *testing.B, text []byte) (*ctext.Expanded, *csyntax.Unit) {
	b.Helper()
	doc, err := ctext.Read(text)
	if err != nil {
		b.Fatal(err)
	}
	x, err := doc.Expand()
	if err != nil {
		b.Fatal(err)
	}
	u, err := csyntax.Parse(doc.Names, x.Tokens)
	if err != nil {
		b.Fatal(err)
	}
	return x, u
}
