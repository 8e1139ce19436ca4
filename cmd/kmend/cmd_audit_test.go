// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/oracle"
)

func TestAuditStateGoesOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	s, err := openAuditState(file)
	if err != nil {
		t.Fatal(err)
	}
	key := s.key("id", "plain", "a.c", []string{"f"}, false)
	for _, k := range []string{key, "another"} {
		if err := s.put(k, &oracle.Report{Source: "a.c", Narrowed: &oracle.Narrowed{}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Cut off in the middle of the second line, as by a crash.
	if err := os.WriteFile(file, text[:len(text)-10], 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s, err = openAuditState(file); err != nil {
			t.Fatal(err)
		}
		if r := s.get(key); r == nil || r.Source != "a.c" || s.get("another") != nil {
			t.Errorf("kept %v and %v, want the first only", r, s.get("another"))
		}
		if err := s.put("third", &oracle.Report{Source: "c.c", Narrowed: &oracle.Narrowed{}}); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if s, err = openAuditState(file); err != nil || s.get("third") == nil {
		t.Errorf("what was written behind a line that is cut off is lost: %v", err)
	}
	if other := s.key("id", "plain", "a.c", nil, false); other == key {
		t.Error("all functions and one have the same key")
	}
	s.Close()
}

func TestAuditOfTheKernel(t *testing.T) {
	k := kerneltest.Open(t)
	dir := t.TempDir()
	state, tables := filepath.Join(dir, "state"), filepath.Join(dir, "tables.md")
	args := []string{"audit", "-q", "-k", k.Name, "-o", state, "--markdown", tables, "kernel/events/callchain.c:get_callchain_entry"}
	var first string
	for range 2 {
		code, out, errs := kmend(t, append(args, "--json")...)
		if code != exitDone {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		var doc auditDocument
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Fatal(err)
		}
		if len(doc.Totals) != 1 || doc.Totals[0].Fact != 1 || doc.Totals[0].Functions != 1 || len(doc.Units) != 1 {
			t.Errorf("%s, want one fact", out)
		}
		if first != "" && first != out {
			t.Errorf("the second answer differs, although results are kept:\n%s\n%s", first, out)
		}
		first = out
	}
	kept, err := os.ReadFile(state)
	if err != nil || bytes.Count(kept, []byte(`"key"`)) != 1 {
		t.Errorf("%d results are kept (%v), want the one", bytes.Count(kept, []byte(`"key"`)), err)
	}
	md, err := os.ReadFile(tables)
	if err != nil || !strings.Contains(string(md), "| plain | kernel/events/callchain.c | get_callchain_entry | get_perf_callchain | fact | ipa-modref |") {
		t.Errorf("%s %v, want the row of the miss", md, err)
	}
	code, out, _ := kmend(t, append(args, "-q", "--strict")...)
	if code != exitRefused || !strings.Contains(out, "get_perf_callchain: fact, unsafe (ipa-modref)") {
		t.Errorf("--strict: exit code %d, %s", code, out)
	}
	code, _, errs := kmend(t, "audit", "-q", "-k", k.Name, "kernel/events/callchain.c:get_callchain_entri")
	if code != exitUsage || !strings.Contains(errs, "did you mean get_callchain_entry") {
		t.Errorf("an unknown function: exit code %d, %s", code, errs)
	}
}
