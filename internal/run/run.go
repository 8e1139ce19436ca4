// SPDX-License-Identifier: Apache-2.0

package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// DefaultLogLimit is how many bytes of each output stream are kept when
// Cmd.Limit is zero.
const DefaultLogLimit = 16 << 20

// Cmd is one command to run.
type Cmd struct {
	Argv  []string  // Argv[0] is looked up in PATH
	Dir   string    // working directory; "" is the current one
	Env   []string  // the whole environment; nil means CleanEnv()
	Stdin io.Reader // nil is /dev/null
	Limit int       // bytes kept of each of stdout and stderr; 0 is DefaultLogLimit
	Tee   io.Writer // gets stdout, too, as it comes; its errors are ignored
}

// Output is what a command that ended left behind.
type Output struct {
	Stdout, Stderr []byte
	Truncated      bool          // an output was longer than the limit; its middle is missing
	Wall           time.Duration // start to end
	CPU            time.Duration // user + system, of the command and the children it waited for
}

// Error says that a command could not be started, failed, or was killed. Log
// holds everything the command printed (up to the limit).
type Error struct {
	Argv []string
	Dir  string
	Exit int    // exit status; -1 when it did not exit by itself
	Log  []byte // stderr, or stdout when stderr is empty
	Err  error  // the cause: *exec.ExitError, a context error, exec.ErrNotFound
}

// Error names the program, how it ended and the last lines it printed.
func (e *Error) Error() string {
	name := "command"
	if len(e.Argv) > 0 {
		name = e.Argv[0]
	}
	switch {
	case errors.Is(e.Err, context.Canceled):
		return fmt.Sprintf("run %s: cancelled", name)
	case errors.Is(e.Err, context.DeadlineExceeded):
		return fmt.Sprintf("run %s: stopped, it took too long", name)
	case errors.Is(e.Err, exec.ErrNotFound):
		return fmt.Sprintf("run %s: not found in PATH; install it, on Debian with apt-get install %s", name, filepath.Base(name))
	case e.Exit < 0:
		return fmt.Sprintf("run %s: %v%s", name, e.Err, tail(e.Log))
	}
	return fmt.Sprintf("run %s: exit status %d%s", name, e.Exit, tail(e.Log))
}

func (e *Error) Unwrap() error { return e.Err }

// tail formats the last lines of a log for one error message.
func tail(log []byte) string {
	const keep = 8
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return ", without a message"
	}
	if len(lines) > keep {
		lines = append([]string{"…"}, lines[len(lines)-keep:]...)
	}
	return ": " + strings.Join(lines, "\n\t")
}

// CleanEnv is the environment for tools whose result must not depend on who
// calls: PATH, HOME and TMPDIR of the caller, and the C locale. Variables that
// change what a compiler does (CPATH, GCC_EXEC_PREFIX, SOURCE_DATE_EPOCH, …)
// are left out.
func CleanEnv() []string {
	env := []string{"LC_ALL=C", "LANG=C", "TZ=UTC"}
	for _, k := range []string{"PATH", "HOME", "TMPDIR"} {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// Run runs c and waits for it. When ctx ends, the command's whole process group
// is killed. The error is an *Error; Output is returned in that case too when
// the command was started.
func Run(ctx context.Context, c Cmd) (*Output, error) {
	if len(c.Argv) == 0 {
		return nil, &Error{Exit: -1, Err: errors.New("no command given")}
	}
	fail := func(err error) *Error {
		return &Error{Argv: c.Argv, Dir: c.Dir, Exit: -1, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	limit := c.Limit
	if limit <= 0 {
		limit = DefaultLogLimit
	}
	stdout, stderr := newBounded(limit), newBounded(limit)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, c.Env, c.Stdin
	if cmd.Env == nil {
		cmd.Env = CleanEnv()
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if c.Tee != nil {
		cmd.Stdout = tee{stdout, c.Tee}
	}
	// A group of its own: gcc's cc1, make's children die with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fail(err)
	}
	err := cmd.Wait()
	out := &Output{
		Stdout: stdout.bytes(), Stderr: stderr.bytes(),
		Truncated: stdout.dropped > 0 || stderr.dropped > 0,
		Wall:      time.Since(start),
	}
	if st := cmd.ProcessState; st != nil {
		out.CPU = st.UserTime() + st.SystemTime()
	}
	if err == nil {
		return out, nil
	}
	e := fail(err)
	e.Log = out.Stderr
	if len(bytes.TrimSpace(e.Log)) == 0 {
		e.Log = out.Stdout
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		e.Exit = exit.ExitCode()
	}
	if ctx.Err() != nil {
		e.Exit, e.Err = -1, ctx.Err()
	}
	return out, e
}

// tee hands on what is written.
type tee struct{ keep, also io.Writer }

func (t tee) Write(p []byte) (int, error) {
	_, _ = t.also.Write(p)
	return t.keep.Write(p)
}

// bounded keeps the first and the last half of what is written to it.
type bounded struct {
	head, tail []byte
	half       int
	dropped    int
}

func newBounded(limit int) *bounded { return &bounded{half: max(limit/2, 1)} }

func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if room := b.half - len(b.head); room > 0 {
		k := min(room, len(p))
		b.head = append(b.head, p[:k]...)
		p = p[k:]
	}
	b.tail = append(b.tail, p...)
	// Trim only when twice as long as wanted, so that each byte is moved about once.
	if len(b.tail) > 2*b.half {
		b.trim()
	}
	return n, nil
}

func (b *bounded) trim() {
	if over := len(b.tail) - b.half; over > 0 {
		b.dropped += over
		b.tail = append(b.tail[:0], b.tail[over:]...)
	}
}

func (b *bounded) bytes() []byte {
	b.trim()
	if b.dropped == 0 {
		return append(b.head, b.tail...)
	}
	out := append([]byte{}, b.head...)
	out = fmt.Appendf(out, "\n[%d bytes left out]\n", b.dropped)
	return append(out, b.tail...)
}
