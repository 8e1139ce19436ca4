// SPDX-License-Identifier: Apache-2.0

package ctext_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kmend/internal/ctext"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
	"kmend/internal/oracle"
)

// The expansion of a random sample of the stock kernel's units is that of gcc -E,
// token for token. $KMEND_TEST_CTEXT_UNITS says how many.
func TestKernelUnitsExpandAsGCC(t *testing.T) {
	n := 8
	if s := os.Getenv("KMEND_TEST_CTEXT_UNITS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	tree, sampler := open(t, 1)
	var tokens []int
	var took []time.Duration
	most, largest := 0, ""
	for range n {
		c, err := sampler.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			break
		}
		text, err := tree.Preprocess(ctx, kbuild.Job{Command: c}, "-fdirectives-only")
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := tree.Preprocess(ctx, kbuild.Job{Command: c})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		x := expand(t, c.Source, text)
		took = append(took, time.Since(start))
		tokens = append(tokens, len(x.Tokens))
		if len(x.Tokens) > most {
			most, largest = len(x.Tokens), c.Source
		}
		if diff := compare(t, x, theirs); diff != "" {
			t.Errorf("%s: %s", c.Source, diff)
		}
		if len(x.Doc.Hidden) > 0 {
			t.Logf("%s: %d hidden pragmas", c.Source, len(x.Doc.Hidden))
		}
	}
	slices.Sort(tokens)
	slices.Sort(took)
	t.Logf("%d units; tokens: median %d, most %d (%s); time: median %v, most %v", len(tokens), tokens[len(tokens)/2], most, largest, took[len(took)/2], took[len(took)-1])
}

func open(t testing.TB, seed uint64) (*kbuild.Tree, *oracle.Sampler) {
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	tree.Cache = nil // these texts are large and asked for once
	sampler, err := oracle.NewSampler(context.Background(), tree, k.SourceDir, seed)
	if err != nil {
		t.Fatal(err)
	}
	return tree, sampler
}

func expand(t testing.TB, name string, text []byte) *ctext.Expanded {
	t.Helper()
	d, err := ctext.Read(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	x, err := d.Expand()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return x
}

// compare returns the first difference to the output of gcc -E, "" if there is
// none. Values that only GCC knows count as equal.
func compare(t testing.TB, x *ctext.Expanded, theirs []byte) string {
	t.Helper()
	d, err := ctext.Read(theirs)
	if err != nil {
		t.Fatal(err)
	}
	want, err := d.Lex(0, int32(len(theirs)))
	if err != nil {
		t.Fatal(err)
	}
	text := func(i int) string { return d.Names.Text(want[i].Name) }
	for i := range min(len(want), len(x.Tokens)) {
		if x.Text(i) == text(i) && x.Tokens[i].Kind == want[i].Kind || x.Tokens[i].Flags&ctext.Placeholder != 0 {
			continue
		}
		var before []string
		for k := max(0, i-12); k < i; k++ {
			before = append(before, text(k))
		}
		file, line := x.Doc.Position(x.Tokens[i].From)
		return fmt.Sprintf("token %d at %s:%d: %s, GCC has %s, after %s", i, x.Doc.Files[file], line, x.Text(i), text(i), strings.Join(before, " "))
	}
	if len(want) != len(x.Tokens) {
		return fmt.Sprintf("%d tokens, GCC has %d", len(x.Tokens), len(want))
	}
	return ""
}
