// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"slices"
	"testing"

	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

// TestKernelFact: get_perf_callchain drops the zeroing of a variable that
// get_callchain_entry, which is not inlined, always writes. No dump says so.
func TestKernelFact(t *testing.T) {
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	const source = "kernel/events/callchain.c"
	commands, err := tree.Commands(t.Context(), []string{source})
	if err != nil {
		t.Fatal(err)
	}
	cc, err := KernelUnit(tree, k.SourceDir, commands[0])
	if err != nil {
		t.Fatal(err)
	}
	u, err := Open(t.Context(), cc, source, Options{})
	if err != nil {
		t.Fatal(err)
	}
	nullControl(t, u)
	out, err := u.Audit(t.Context(), []string{"get_callchain_entry"})
	if err != nil {
		t.Fatal(err)
	}
	f := out[0]
	if len(f.Predicted) != 0 || len(f.Missed) != 1 || f.Missed[0].Symbol != "get_perf_callchain" || f.Missed[0].Class != Fact ||
		!slices.Equal(f.Missed[0].Optimisations, []string{"ipa-modref"}) {
		t.Errorf("%+v, want get_perf_callchain, by ipa-modref", f)
	}
	facts, err := u.VariableFacts(t.Context())
	if err != nil || len(facts) != 1 || facts[0].Symbol != "get_callchain_entry" || facts[0].Unproven || !slices.Equal(facts[0].Variables, []string{"callchain_cpus_entries"}) {
		t.Errorf("%+v %v, want that get_callchain_entry relies on nobody having the address of callchain_cpus_entries", facts, err)
	}
}

func TestSampleIsOfTheSeed(t *testing.T) {
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	draw := func(seed uint64) (out []string) {
		s, err := NewSampler(t.Context(), tree, k.SourceDir, seed)
		if err != nil {
			t.Fatal(err)
		}
		for range len(sampleDirs) {
			c, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, c.Source)
		}
		return out
	}
	first := draw(1)
	if again := draw(1); !slices.Equal(first, again) {
		t.Errorf("seed 1 gives %q, and %q", first, again)
	}
	if other := draw(2); slices.Equal(first, other) {
		t.Errorf("seeds 1 and 2 give the same: %q", first)
	}
}

func TestFindDefinition(t *testing.T) {
	k := kerneltest.Open(t)
	for name, want := range map[string]string{
		"get_callchain_entry": "kernel/events/callchain.c",
		"__do_sys_getcpu":     "kernel/sys.c",
	} {
		found, err := FindDefinition(t.Context(), k.SourceDir, name)
		if err != nil || !slices.Contains(found, want) || len(found) > 2 {
			t.Errorf("%s: %q %v, want %s", name, found, err, want)
		}
	}
	for _, name := range []string{"list_add", "a;b"} {
		if found, err := FindDefinition(t.Context(), k.SourceDir, name); err == nil {
			t.Errorf("%s: %q, want an error", name, found)
		}
	}
}
