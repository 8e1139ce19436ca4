// SPDX-License-Identifier: Apache-2.0

package index

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/impact"
)

// recorded is what kgraft-ipa-analysis said: options → one list of affected
// functions for each start that it found.
func recorded(t *testing.T) map[string][][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/kgraft/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][][]string{}
	for line := range strings.Lines(string(data)) {
		options, lists, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		out[options] = nil
		for _, l := range strings.Split(lists, ";") {
			if _, affected, ok := strings.Cut(l, ">"); ok {
				out[options] = append(out[options], strings.Fields(affected))
			}
		}
	}
	if len(out) < 10 {
		t.Fatalf("only %d records", len(out))
	}
	return out
}

func kgraftSources(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob("testdata/kgraft/*.[ch]")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = string(data)
	}
	return out
}

// reached are the names of all functions that the dumps lead to from a function,
// whether an object has them or not: what that tool calls affected.
func reached(t *testing.T, q *Query, f *Function) []string {
	t.Helper()
	var out []string
	q.eachUnit(f, func(uint32) {
		for _, s := range q.steps {
			if s.kind != impact.Calls && s.via >= 0 {
				out = append(out, q.str(q.node(s.node).name))
			}
		}
	})
	if q.Err() != nil {
		t.Fatal(q.Err())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestAgreesWithKgraft: where one function was asked for and found, both follow
// the dumps to the same functions.
func TestAgreesWithKgraft(t *testing.T) {
	q := open(t, build(t, kgraftSources(t)))
	rec := recorded(t)
	for _, name := range []string{"leaf", "known", "fields"} {
		f, err := q.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		tool := rec["--symbol "+name]
		if len(tool) != 1 {
			t.Fatalf("%s: %d lists are recorded", name, len(tool))
		}
		want(t, name, reached(t, q, f), tool[0]...)
	}
}

// TestWhereKgraftIsWrong: case by case, what it says and what is so.
func TestWhereKgraftIsWrong(t *testing.T) {
	q := open(t, build(t, kgraftSources(t)))
	rec := recorded(t)
	says := func(options string, lists ...string) {
		t.Helper()
		var got []string
		for _, l := range rec[options] {
			got = append(got, strings.Join(l, " "))
		}
		want(t, "recorded "+options, got, lists...)
	}
	// A removed start node: leaf has no code of its own, and is left out with all
	// that depends on it.
	says("--ignore-removed --symbol leaf")
	want(t, "leaf", ask(t, q, "leaf"), "chain.o top inlined inlined", "chain.o top2 inlined")

	// A function that nothing was copied from gets the same empty answer as a
	// name that does not exist.
	says("--symbol alone")
	says("--symbol nonsense")
	want(t, "alone", ask(t, q, "alone"), "chain.o alone own")
	if _, err := q.Find("nonsense"); !errors.As(err, new(*impact.UnknownError)) {
		t.Errorf("nonsense: %v", err)
	}

	// A recursive function is affected by itself, by way of its master copy.
	says("--symbol deep", "deep")
	want(t, "deep", ask(t, q, "deep"), "chain.o deep own")

	// A function that exists only as a clone: its callers pass what the clone
	// takes, and no dump names them.
	says("--symbol fields", "fields.isra.0")
	want(t, "fields", ask(t, q, "fields"), "clone.o caller isra calls", "clone.o caller2 isra calls", "clone.o fields.isra.0 isra own")

	// A name clash: both functions are listed as if both were meant.
	says("--symbol setup", "uses_a", "uses_b")
	if _, err := q.Find("setup"); !errors.As(err, new(*AmbiguousError)) {
		t.Errorf("setup: %v", err)
	}
	want(t, "clash_b.c:setup", ask(t, q, "clash_b.c:setup"), "clash_b.o uses_b inlined")

	// Grouping is by order, which differs between units for no reason of the
	// source: two of three units are one, the third is another function. And
	// which objects have to be patched is lost.
	says("--group --symbol tiny", "host", "host")
	want(t, "tiny", ask(t, q, "tiny"), "same_a.o host inlined", "same_b.o host inlined", "same_c.o host inlined")
}
