// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
	"kmend/internal/hostiletest"
	"kmend/internal/ui"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"größer 漢字 …":             "größer 漢字 …",
		"a\tb\nc\r":               "a b^Jc^M",
		"\x1b[2J\x00\x7f\u009b":   "^[[2J^@??",
		"a\u202eb\u2066\u200b":    `a\u202eb\u2066\u200b`,
		"\xff\ufffd\u2028x\ufeff": `??\u2028x\ufeff`,
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	if got := visibleLines("a\n\tb\x1b\u202e"); got != "a\n\tb^[\\u202e" {
		t.Errorf("%q", got)
	}
}

// TestNothingReachesTheTerminal: neither an error nor a JSON document has what a
// terminal obeys, and the document means what it meant.
func TestNothingReachesTheTerminal(t *testing.T) {
	text := hostiletest.Attack + "\U000e0041"
	for _, asJSON := range []bool{false, true} {
		var out, errs bytes.Buffer
		a := &app{Out: &out, Err: &errs, JSON: asJSON, Progress: ui.Discard()}
		if code := a.finish(errors.New("read " + text)); code != exitFailed {
			t.Errorf("exit code %d", code)
		}
		shown := out.String() + errs.String()
		if bad := hostiletest.Hidden(shown, false); bad != "" || len(shown) < 50 {
			t.Errorf("JSON %v: %d bytes, and among them %s", asJSON, len(shown), bad)
		}
		if !asJSON {
			continue
		}
		var doc errorDocument
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.Error.Message != string(bytes.ToValidUTF8([]byte("read "+text), []byte("\ufffd"))) {
			t.Errorf("%v: %q", err, doc.Error.Message)
		}
	}
}

// TestStatusShowsNamesAsText: what a record of a load and the names in sysfs say
// does not reach the terminal as it is.
func TestStatusShowsNamesAsText(t *testing.T) {
	odd := hostiletest.Attack
	since := time.Unix(1767225600, 0)
	function := host.Function{Name: odd, Sympos: 2, CoveredBy: odd}
	s := &host.Status{Release: odd, KernelID: "00112233445566", Taint: "OK", Notes: []string{odd}, Patches: []host.Patch{{
		Name: odd, State: host.Patching, Since: &since, Path: odd, SHA256: odd, Taint: odd, Notes: []string{odd},
		Objects:    []host.Object{{Name: odd, Patched: true, Functions: []host.Function{function}}},
		Transition: &host.Transition{Name: odd, Patching: true, Total: 1, Waiting: 1, Tasks: []host.Task{{Comm: odd, State: odd, Wchan: odd, Stack: []string{odd}, Function: odd, Why: odd}}},
	}}}
	installed := &host.Installation{Builds: []host.InstalledBuild{{BuildID: "0011223344556677", Notes: []string{odd}, Modules: []host.InstalledModule{{Name: odd, SHA256: odd, Release: odd, Trouble: odd}}}}}
	var out bytes.Buffer
	a := &app{Out: &out, Err: &out, Progress: ui.Discard()}
	if _, err := a.statusLine(s, ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.printStatus(&out, s), a.listTable(s).Write(&out, 0), a.printInstalled(&out, installed), a.PrintJSON(s), a.PrintJSON(installed)); err != nil {
		t.Fatal(err)
	}
	if bad := hostiletest.Hidden(out.String(), false); bad != "" || strings.Count(out.String(), "onerror") < 30 {
		t.Errorf("%s in\n%q", bad, out.String())
	}
}
