// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"kmend/internal/compiler"
)

// forwarded are the signals that are handed on to the compiler.
var forwarded = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}

// child runs a command of the compiler with the standard streams of this
// process and waits for it. The signals of forwarded reach it.
func (r *runner) child(args []string, stderr io.Writer) (Result, error) {
	cmd := &exec.Cmd{Path: r.file, Args: args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: stderr}
	signals := make(chan os.Signal, 8)
	for _, s := range forwarded {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return Result{}, execError(r.file, errors.Unwrap(err))
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may just have ended
		case err := <-done:
			return result(cmd.ProcessState, err)
		}
	}
}

func result(st *os.ProcessState, err error) (Result, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Result{}, fmt.Errorf("wait for the compiler: %w", err)
	}
	status, ok := st.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return Result{Signal: status.Signal()}, nil
	}
	return Result{Exit: st.ExitCode()}, nil
}

// withHint runs the compiler and, when it fails on code that relies on what
// the level forbids, says so. To know why it failed it is run once more: its
// messages went to the terminal, as they should.
func (r *runner) withHint() (Result, error) {
	res, err := r.child(r.args, os.Stderr)
	if err == nil && res.Exit == 1 {
		r.hint()
	}
	return res, err
}

// hint explains a failed compile.
func (r *runner) hint() {
	if r.c.Level < compiler.OnlyInlineStatic || r.c.source() == "-" {
		return
	}
	if err := os.Setenv("LC_ALL", "C"); err != nil { // inlineErrors are in English
		return
	}
	var log bytes.Buffer
	if res, err := r.child(r.args, &log); err != nil || res.Exit == 0 {
		return
	}
	if why := reliesOnInlining(log.String()); why != "" {
		fmt.Fprintf(r.notes, "kmend cc: at level %v, code that relies on inlining does not compile: %s: %s; use level inline or inline-clone for this unit\n",
			r.c.Level, r.c.source(), why)
	}
}

// inlineErrors are what GCC says of code that must be inlined, or folded after
// it was, to compile: BUILD_BUG and compiletime_assert are calls of functions
// that must not be there, and an asm operand must be a constant.
var inlineErrors = []string{
	"declared with attribute error",
	"impossible constraint in 'asm'",
	"probably does not match constraints",
	"inlining failed in call to 'always_inline'",
}

// reliesOnInlining is the first error of a log that shows it, or "".
func reliesOnInlining(log string) string {
	log = strings.NewReplacer("‘", "'", "’", "'").Replace(log)
	for line := range strings.Lines(log) {
		for _, e := range inlineErrors {
			if _, text, found := strings.Cut(line, "error: "); found && strings.Contains(line, e) {
				return strings.TrimSpace(text)
			}
		}
	}
	return ""
}
