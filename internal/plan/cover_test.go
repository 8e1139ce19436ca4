// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"kmend/internal/cctest"
	"kmend/internal/closure"
	"kmend/internal/delta"
	"kmend/internal/oracle"
)

// What depends on a changed body is covered only if the patch replaces it or
// its code is the same with the fix; anything else is refused.
func TestWhatThePatchDoesNotCoverIsRefused(t *testing.T) {
	before, after := unitOf(t, `
int g(int);
__attribute__((noinline)) static int kept(int x) { return g(x) + 1; }
__attribute__((noinline)) static int gone(int x) { return g(x) + 2; }
int edited(int x) { return kept(x) + gone(x); }
int other(int x) { return kept(x) * 2; }
int user(int x) { return gone(x) * 3; }
`), unitOf(t, `
int g(int);
__attribute__((noinline)) static int kept(int x) { return g(x) + 1; }
int edited(int x) { return kept(x) * 5; }
int other(int x) { return kept(x) * 2; }
int user(int x) { return g(x) * 3; }
`)
	result := delta.Compare(before, after)
	w := &work{source: "a.c", object: Vmlinux, result: result, cl: closure.Select(result)}
	for symbol, want := range map[string]string{"edited": CoveredReplaced, "kept": CoveredUnchanged, "other": CoveredUnchanged, "gone": CoveredUnused, "nosuch": ""} {
		if got := w.covers(symbol); got != want {
			t.Errorf("%s is covered as %q, want %q", symbol, got, want)
		}
	}
	// Had the selection left out a function that differs, the audit would say so.
	w.cl.Replaced = w.cl.Replaced[:1]
	p := &Plan{}
	a := &auditor{p: p}
	var list []Dependent
	a.cover(w, &list, oracle.Change{Symbol: "user", What: "user+0x5: bytes"}, "it depends on a body")
	if len(p.Refusals) != 1 || p.Refusals[0].Code != CodeNotCovered || len(list) != 0 {
		t.Errorf("refusals %v, covered %v, want the refusal %s", p.Refusals, list, CodeNotCovered)
	}
	if w.covers("gone") != "" {
		t.Error("gone counts as unused, though a function that stays calls it")
	}
}

func unitOf(t testing.TB, source string) *delta.Unit {
	t.Helper()
	data, _ := cctest.Compile(t, "gcc-12", source, cctest.Kernel...)
	u, err := readUnit(data)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
