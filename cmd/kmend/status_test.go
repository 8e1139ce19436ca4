// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
)

// With --watch --json each change is one line, and time alone is no change.
func TestStatusLine(t *testing.T) {
	var out bytes.Buffer
	a := &app{Out: &out, JSON: true}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	last := ""
	for i, state := range []string{"", "", host.Patching, host.Enabled, host.Enabled, ""} {
		s := &host.Status{Version: 1, Time: begin.Add(time.Duration(i) * time.Second), Patches: []host.Patch{}}
		if state != "" {
			s.Patches = append(s.Patches, host.Patch{Name: "lp", State: state})
		}
		var err error
		if last, err = a.statusLine(s, last); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for line := range strings.Lines(out.String()) {
		var s host.Status
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		state := "nothing"
		if len(s.Patches) > 0 {
			state = s.Patches[0].State
		}
		seen = append(seen, s.Time.Format("5 ")+state)
	}
	if got := strings.Join(seen, ", "); got != "0 nothing, 2 patching, 3 enabled, 5 nothing" {
		t.Errorf("%s", got)
	}
}

// What is not replaced at the moment is said to be so for the right reason.
func TestFunctionState(t *testing.T) {
	for _, c := range []struct {
		state, object string
		patched       bool
		f             host.Function
		want          string
	}{
		{host.Enabled, "vmlinux", true, host.Function{Live: true}, "live"},
		{host.Enabled, "loop", false, host.Function{}, "waits for its module to be loaded"},
		{host.Patching, "vmlinux", false, host.Function{}, "about to be replaced"},
		{host.Patching, "vmlinux", true, host.Function{Live: true}, "live for tasks that have switched"},
		{host.Unpatching, "vmlinux", false, host.Function{}, "on its way out"},
		{host.Unpatching, "vmlinux", true, host.Function{}, "on its way out"},
		{host.Enabled, "vmlinux", true, host.Function{CoveredBy: "lp2"}, "replaced again by lp2"},
	} {
		got := functionState(&host.Patch{State: c.state}, host.Object{Name: c.object, Patched: c.patched}, c.f)
		if got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
