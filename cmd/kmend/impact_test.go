// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
)

// TestImpactOfAFix: who is impacted by a fix of a stock kernel, which left no
// dumps. mangle of fs/proc_namespace.c is inlined wherever it is used.
func TestImpactOfAFix(t *testing.T) {
	k := kerneltest.Open(t)
	file := fixFile(t, k, "impact", sub("fs/proc_namespace.c", "\tseq_escape(m, s, \" \\t\\n\\\\#\");", "\tseq_escape(m, s, \" \\t\\n\\\\\");"))
	code, out, _ := kmend(t, "impact", "-k", k.Name, "--patch", file, "--json", "-q")
	if code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	var doc impactAnswer
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range doc.Objects {
		for _, s := range o.Symbols {
			if !s.Livepatch || s.Sympos == nil || *s.Sympos != 0 || s.Unit != "fs/proc_namespace.o" {
				t.Errorf("%s: %+v", s.Name, s)
			}
			names = append(names, s.Name)
		}
	}
	if want := []string{"show_mountinfo", "show_type", "show_vfsmnt", "show_vfsstat"}; !slices.Equal(names, want) || !doc.Complete || len(doc.Functions) != 1 {
		t.Errorf("%q of %+v, want %q", names, doc.Functions, want)
	}
	code, _, errw := kmend(t, "impact", "-k", k.Name, "kzalloc")
	if code != exitRefused || !strings.Contains(errw, "include/linux/slab.h") {
		t.Errorf("kzalloc: exit code %d: %s", code, errw)
	}
}

// TestObservedImpact: GCC's account has nobody for get_callchain_entry; a fact
// about it is used all the same. Without --audit the answer says that facts are
// not in it, with --audit it has the function and the fact.
func TestObservedImpact(t *testing.T) {
	k := kerneltest.Open(t)
	ask := func(more ...string) (names []string, doc impactAnswer) {
		code, out, errw := kmend(t, append([]string{"impact", "-q", "--json", "-k", k.Name, "kernel/events/callchain.c:get_callchain_entry"}, more...)...)
		if code != exitDone {
			t.Fatalf("exit code %d: %s", code, errw)
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		for _, s := range doc.Objects[0].Symbols {
			if !s.Own {
				names = append(names, s.Name+" "+s.Chain[0].Kind+" "+s.Chain[0].Detail)
			}
		}
		return names, doc
	}
	if names, doc := ask(); len(names) != 0 || !slices.Contains(doc.Notes, factsNoteStock) {
		t.Errorf("without --audit: %q, notes %q, want nobody and the note that facts are left out", names, doc.Notes)
	}
	if names, doc := ask("--audit"); !slices.Equal(names, []string{"get_perf_callchain fact observed: ipa-modref"}) || slices.Contains(doc.Notes, factsNoteStock) {
		t.Errorf("with --audit: %q, notes %q", names, doc.Notes)
	}
}
