// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestExitCodes(t *testing.T) {
	plain := errors.New("x")
	for _, c := range []struct {
		err  error
		code int
		kind string
	}{
		{nil, 0, "done"},
		{plain, 1, "failed"},
		{fmt.Errorf("add: %w", context.Canceled), 1, "interrupted"},
		{usageErrorf("x"), 2, "usage"},
		{fmt.Errorf("wrapped: %w", &exitError{exitRefused, plain}), 3, "refused"},
		{&exitError{exitNothing, nil}, 4, "nothing-to-do"},
		{&exitError{exitFailed, plain}, 1, "failed"},
	} {
		if code, kind := exitCode(c.err); code != c.code || kind != c.kind {
			t.Errorf("%v: %d %s, want %d %s", c.err, code, kind, c.code, c.kind)
		}
	}
}

// runFake runs kmend with one more command, "fake", that does f.
func runFake(t *testing.T, f func(a *app) error, args ...string) (code int, out, errs string) {
	t.Helper()
	saved := commands
	defer func() { commands = saved }()
	commands = append(commands[:len(commands):len(commands)], func(a *app) *cobra.Command {
		return &cobra.Command{Use: "fake", RunE: func(*cobra.Command, []string) error { return f(a) }}
	})
	var o, e bytes.Buffer
	code = run(context.Background(), append([]string{"fake"}, args...), &o, &e)
	return code, o.String(), e.String()
}

type logged struct{}

func (logged) Error() string { return "short" }
func (logged) Format(s fmt.State, verb rune) {
	if fmt.Fprint(s, "short"); s.Flag('+') {
		fmt.Fprint(s, "\nwhole log")
	}
}

func TestErrorsOfACommandAreNoUsageErrors(t *testing.T) {
	fail := func(*app) error { return logged{} }
	if code, out, errs := runFake(t, fail); code != 1 || out != "" || errs != "kmend: short\n" {
		t.Errorf("got %d %q %q", code, out, errs)
	}
	if _, _, errs := runFake(t, fail, "-v"); errs != "kmend: short\nwhole log\n" {
		t.Errorf("-v: got %q", errs)
	}
	code, out, errs := runFake(t, fail, "--json")
	if code != 1 || !strings.Contains(out, `"kind": "failed"`) || errs != "" {
		t.Errorf("--json: got %d %q %q", code, out, errs)
	}
}

func TestACommandThatAnsweredPrintsNoSecondDocument(t *testing.T) {
	refuse := func(a *app) error {
		if err := a.PrintJSON(map[string]int{"version": 1}); err != nil {
			return err
		}
		return &exitError{exitRefused, nil}
	}
	code, out, errs := runFake(t, refuse, "--json")
	if code != 3 || out != "{\n  \"version\": 1\n}\n" || errs != "" {
		t.Errorf("got %d %q %q", code, out, errs)
	}
}

func TestQuietShowsNoProgress(t *testing.T) {
	work := func(a *app) error {
		a.Progress.Update("compile", 1, 2)
		a.Log.Warn("odd")
		a.Log.Debug("detail")
		return nil
	}
	if _, _, errs := runFake(t, work); !strings.HasPrefix(errs, "compile\n") || !strings.Contains(errs, "odd") || strings.Contains(errs, "detail") {
		t.Errorf("got %q", errs)
	}
	if _, _, errs := runFake(t, work, "-q"); strings.Contains(errs, "compile") || !strings.Contains(errs, "odd") {
		t.Errorf("-q: got %q", errs)
	}
	if _, _, errs := runFake(t, work, "-v"); !strings.Contains(errs, "detail") {
		t.Errorf("-v: got %q", errs)
	}
}

func TestAPanicIsNoUsageError(t *testing.T) {
	code, _, errs := runFake(t, func(*app) error { panic("odd") })
	if code != 1 || !strings.HasPrefix(errs, "kmend: bug: odd\n") || !strings.Contains(errs, "goroutine") {
		t.Errorf("got %d %q", code, errs)
	}
}
