// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kmend": main, ccName: main, slowName: slowMain})
}

// TestScript runs testdata/script/*.txt: command lines that a user could type.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/cache")
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			env.Setenv("HOME", env.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"jsonerror": cmdJSONError,
		},
	})
}

// cmdExits is "exits CODE COMMAND...": the command exits with that code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// cmdJSONError is "jsonerror EXIT KIND": standard output is one document that
// describes this error.
func cmdJSONError(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: jsonerror EXIT KIND")
	}
	var doc errorDocument
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &doc); err != nil {
		ts.Fatalf("standard output is not one JSON document: %v", err)
	}
	if got := fmt.Sprintf("%d %d %s", doc.Version, doc.Error.Exit, doc.Error.Kind); got != "1 "+args[0]+" "+args[1] {
		ts.Fatalf("version, exit, kind = %s, want 1 %s %s", got, args[0], args[1])
	}
	if doc.Error.Message == "" {
		ts.Fatalf("the error has no message")
	}
}
