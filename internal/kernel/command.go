// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"kmend/internal/run"
)

// step runs the commands that add a kernel. Unlike run.Run it writes what they
// print to the log of the add as it comes, and lets them inherit the lock.
type step struct {
	log  io.Writer
	lock *os.File // inherited as descriptor 3; nil for none
}

// command describes one child of an add.
type command struct {
	argv  []string
	dir   string
	env   []string // in addition to run.CleanEnv
	stdin io.Reader
	// stdout gets the output; nil sends it to the log.
	stdout io.Writer
}

// run runs c. When ctx ends, its process group is told to end, and killed if
// it does not. When this process dies, the child is told to end (make passes
// that on to its own children).
func (s step) run(ctx context.Context, c command) error {
	tail := &tailWriter{}
	out := io.Writer(tail)
	if s.log != nil {
		fmt.Fprintf(s.log, "+ %s\n", strings.Join(c.argv, " "))
		out = io.MultiWriter(s.log, tail)
	}
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = append(run.CleanEnv(), c.env...)
	cmd.Stdin = c.stdin
	cmd.Stdout, cmd.Stderr = out, out
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	if s.lock != nil {
		cmd.ExtraFiles = []*os.File{s.lock}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	// Pdeathsig counts the death of the thread that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if cmd.Process != nil && (err != nil || ctx.Err() != nil) {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s: not found in PATH", c.argv[0])
		}
		return fmt.Errorf("%s: %w%s", c.argv[0], err, tail)
	}
	return nil
}

// tailWriter keeps the last lines of an output for an error message.
type tailWriter struct{ b []byte }

func (t *tailWriter) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 8192 {
		t.b = append(t.b[:0], t.b[len(t.b)-4096:]...)
	}
	return len(p), nil
}

// String is the last ten lines, each on its own line; "" if there are none.
func (t *tailWriter) String() string {
	lines := strings.Split(string(bytes.TrimSpace(t.b)), "\n")
	if len(lines) > 10 {
		lines = lines[len(lines)-10:]
	}
	text := strings.Join(lines, "\n\t")
	if text == "" {
		return ""
	}
	return "; it printed:\n\t" + text
}
