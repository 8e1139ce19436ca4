// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"kmend/internal/compiler"
	"kmend/internal/driver"
	"kmend/internal/host"
	"kmend/internal/kernel"
	"kmend/internal/plan"
)

// Exit codes, the same for every command. docs/json.md names them too.
const (
	exitDone    = 0 // what was asked for is done
	exitFailed  = 1 // I/O error, missing tool, failed test, bug
	exitUsage   = 2 // the command line is wrong
	exitRefused = 3 // unsafe or unsupported; the reasons are printed
	exitNothing = 4 // there is nothing to do: the fix changes no code
)

const exitStatusHelp = `EXIT STATUS:
  0  done
  1  failed: a file, a tool, a test, or a bug in kmend
  2  the command line is wrong
  3  refused: unsafe or not supported; the reasons are printed
  4  nothing to do: the fix changes no code
`

// exitError carries the exit code that an error asks for. A nil err means
// that the command has said already what there is to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageErrorf is an error of the command line, exit code 2.
func usageErrorf(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode maps an error to the exit code and to the word that names it in
// JSON. It is the only place that does.
func exitCode(err error) (code int, kind string) {
	var ee *exitError
	var unknownKernel *kernel.NotFoundError
	var badCommand *driver.UsageError
	var noLevel *compiler.LevelError
	var noFunction *plan.FunctionError
	var refusal *host.Refusal
	switch {
	case err == nil:
		return exitDone, "done"
	case errors.As(err, &ee) && ee.code == exitUsage, errors.As(err, &unknownKernel), errors.As(err, &badCommand), errors.As(err, &noFunction):
		return exitUsage, "usage"
	case errors.As(err, &ee) && ee.code == exitRefused, errors.As(err, &noLevel), errors.As(err, &refusal):
		return exitRefused, "refused"
	case errors.As(err, &ee) && ee.code == exitNothing:
		return exitNothing, "nothing-to-do"
	case errors.Is(err, context.Canceled):
		return exitFailed, "interrupted"
	default:
		return exitFailed, "failed"
	}
}

// errorDocument is what --json prints for an error; see docs/json.md.
type errorDocument struct {
	Version int `json:"version"`
	Error   struct {
		Exit    int    `json:"exit"`
		Kind    string `json:"kind"`
		Message string `json:"message"`
	} `json:"error"`
}

// finish reports err, in the form that was asked for, and returns the exit
// code of the process.
func (a *app) finish(err error) int {
	a.Progress.Done()
	code, kind := exitCode(err)
	if err == nil {
		return code
	}
	var ee *exitError
	if errors.As(err, &ee) && ee.err == nil && a.answered {
		return code
	}
	if a.JSON && !a.answered {
		var doc errorDocument
		doc.Version = 1
		doc.Error.Exit, doc.Error.Kind, doc.Error.Message = code, kind, err.Error()
		if perr := a.PrintJSON(doc); perr != nil {
			fmt.Fprintf(a.Err, "kmend: %v\n", perr)
			return exitFailed
		}
		return code
	}
	if ee != nil && ee.err == nil {
		return code
	}
	text := err.Error()
	if a.Verbose {
		text = fmt.Sprintf("%+v", err) // rich errors add their whole log
	}
	fmt.Fprintf(a.Err, "kmend: %s\n", visibleLines(text)) // it may quote names of strangers
	return code
}

// PrintJSON prints v as the one document that --json promises.
func (a *app) PrintJSON(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the answer as JSON: %w", err)
	}
	if _, err := a.Out.Write(append(visibleJSON(data), '\n')); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	a.answered = true
	return nil
}
