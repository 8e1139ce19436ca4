// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"kmend/internal/vm/wire"
)

// Machine says what to boot.
type Machine struct {
	// Image is the kernel: an uncompressed ELF vmlinux, or a bzImage.
	Image string
	// BuildID is the GNU build id, in hex, that the running kernel must have.
	BuildID string
	// Modules are put into the guest; they are loaded only when asked for.
	Modules []Module
	// Files are put into the guest.
	Files []File
	// Shell puts /bin/sh and busybox's commands into the guest.
	Shell bool
	// Agent is the static program that becomes the guest's init: a kmend, or a
	// kmend-agent. Empty: the program that runs.
	Agent string

	CPUs     int    // 0: 1, with which a transition takes milliseconds
	MemoryMB int    // 0: 512
	CPUModel string // QEMU's name; "": qemu64, the fastest to emulate
	// CountInstructions makes the guest's clock an instruction counter (QEMU's
	// -icount): each instruction that it executes takes one nanosecond, and the
	// time stamp counter counts them. One CPU only. An iteration of a "rep"
	// counts as an instruction. While the guest is idle its time runs as fast
	// as it can.
	CountInstructions bool
	// ExtraCommandLine is added to the kernel's command line.
	ExtraCommandLine string
	// BootTimeout bounds the time to the agent's greeting. 0: 2 minutes.
	BootTimeout time.Duration
	// Console is the file for the console's output; "": none is kept.
	Console string

	appendConsole bool // of a second guest: keep what the first wrote
}

func (m Machine) withDefaults() (Machine, error) {
	if m.CPUs == 0 {
		m.CPUs = 1
	}
	if m.MemoryMB == 0 {
		m.MemoryMB = 512
	}
	if m.CPUModel == "" {
		m.CPUModel = "qemu64"
	}
	if m.BootTimeout == 0 {
		m.BootTimeout = 2 * time.Minute
	}
	switch {
	case m.Image == "":
		return m, errors.New("boot a guest: no kernel image is given")
	case m.BuildID == "":
		return m, errors.New("boot a guest: no build id is given to know the kernel by")
	case m.CountInstructions && m.CPUs != 1:
		return m, fmt.Errorf("boot a guest: %d CPUs; instructions are counted with 1 only", m.CPUs)
	case m.CPUs < 1 || m.CPUs > 64:
		return m, fmt.Errorf("boot a guest: %d CPUs; give 1 to 64", m.CPUs)
	case m.MemoryMB < 128 || m.MemoryMB > 64<<10:
		return m, fmt.Errorf("boot a guest: %d MiB of memory; give 128 to 65536", m.MemoryMB)
	case strings.ContainsAny(m.CPUModel, " \n") || strings.ContainsAny(m.Image, "\n\x00"):
		return m, fmt.Errorf("boot a guest: CPU model %q or image %q is not a name", m.CPUModel, m.Image)
	}
	return m, nil
}

// GuestError says that the guest stopped answering: it died (a panic ends QEMU),
// or did not answer in time.
type GuestError struct {
	During  string // what was asked
	Timeout bool   // it lives, maybe, but does not answer
	Cause   string // the kernel's last words, where there are any; or QEMU's
	Console string // the end of the console's output
}

func (e *GuestError) Error() string {
	what := "the guest ended"
	if e.Timeout {
		what = "the guest did not answer in time"
	}
	if e.Cause != "" {
		return fmt.Sprintf("%s: %s: %s", e.During, what, e.Cause)
	}
	return fmt.Sprintf("%s: %s", e.During, what)
}

// BuildIDError says that another kernel runs than the one that was expected.
type BuildIDError struct{ Want, Got, Release string }

func (e *BuildIDError) Error() string {
	return fmt.Sprintf("boot a guest: the kernel that runs (%s) has the build id %s, not %s: the image is not of the kernel that was asked for", e.Release, e.Got, e.Want)
}

// OpError says that the guest could not do an operation. It unwraps to the
// guest's error number, so that errors.Is(err, unix.EBUSY) works.
type OpError struct {
	Text  string
	Errno syscall.Errno // 0 when it was not a system call that failed
}

func (e *OpError) Error() string { return "in the guest: " + e.Text }
func (e *OpError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// Guest is a running virtual machine. Its operations are for one caller at a
// time; after a GuestError only Close is useful.
type Guest struct {
	Greeting wire.Greeting

	proc    *process
	initrd  string
	token   string
	nextID  int
	answers chan *wire.Response
	readErr error // valid when answers is closed
}

// Boot starts a guest and returns when its agent is ready. The caller must
// Close it. When ctx ends the running operation ends; the guest lives until
// Close.
func Boot(ctx context.Context, m Machine) (*Guest, error) {
	m, err := m.withDefaults()
	if err != nil {
		return nil, err
	}
	token := rand.Text()
	files, err := buildInitramfs(&m, token)
	if err != nil {
		return nil, err
	}
	initrd, err := writeInitrd(files)
	if err != nil {
		return nil, err
	}
	con, err := newConsole(m.Console, m.appendConsole)
	if err != nil {
		os.Remove(initrd)
		return nil, err
	}
	proc, err := startQEMU(&m, initrd, con)
	if err != nil {
		os.Remove(initrd)
		con.close()
		return nil, err
	}
	g := &Guest{proc: proc, initrd: initrd, token: token, answers: make(chan *wire.Response, 1)}
	go g.readAnswers()
	if err := g.awaitGreeting(ctx, m.BootTimeout, m.BuildID); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

func writeInitrd(a *archive) (string, error) {
	f, err := os.CreateTemp("", "kmend-initrd-*.cpio")
	if err != nil {
		return "", fmt.Errorf("write the guest's files: %w", err)
	}
	w := bufio.NewWriterSize(f, 256<<10)
	err = a.writeTo(w)
	if err := errors.Join(err, w.Flush(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write the guest's files: %w", err)
	}
	return f.Name(), nil
}

// readAnswers is the only reader of the control channel.
func (g *Guest) readAnswers() {
	d := wire.NewDecoder(g.proc.control, wire.MaxLine)
	for {
		r := new(wire.Response)
		if err := d.Decode(r); err != nil {
			g.readErr = err
			close(g.answers)
			return
		}
		g.answers <- r
	}
}

func (g *Guest) awaitGreeting(ctx context.Context, timeout time.Duration, buildID string) error {
	const during = "boot the kernel"
	r, err := g.await(ctx, during, 0, timeout)
	if err != nil {
		return err
	}
	switch hello := r.Greeting; {
	case hello == nil:
		return &GuestError{During: during, Cause: "the first line from the guest is not the agent's greeting"}
	case hello.Version != wire.Version:
		return fmt.Errorf("boot a guest: its agent speaks version %d of the protocol, this program version %d", hello.Version, wire.Version)
	case hello.Token != g.token:
		return &GuestError{During: during, Cause: "the agent's token is not the one that was given to it"}
	case !strings.EqualFold(hello.BuildID, buildID):
		return &BuildIDError{Want: buildID, Got: hello.BuildID, Release: hello.Release}
	default:
		g.Greeting = *hello
		return nil
	}
}

// await returns the response with the given id.
func (g *Guest) await(ctx context.Context, during string, id int, timeout time.Duration) (*wire.Response, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case r, ok := <-g.answers:
		if !ok {
			return nil, g.gone(during)
		}
		if r.ID != id {
			return nil, &GuestError{During: during, Cause: fmt.Sprintf("the agent answered request %d instead of %d", r.ID, id)}
		}
		return r, nil
	case <-timer.C:
		tail := g.proc.console.tail()
		return nil, &GuestError{During: during, Timeout: true, Cause: joinCause(fmt.Sprintf("after %v", timeout.Round(time.Second)), lastWords(tail)), Console: tail}
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", during, context.Cause(ctx))
	}
}

// gone explains the end of the control channel. QEMU may still be writing the
// console; it is given a moment to end by itself.
func (g *Guest) gone(during string) error {
	select {
	case <-g.proc.exited:
	case <-time.After(3 * time.Second):
	}
	tail := g.proc.console.tail()
	cause := lastWords(tail)
	if cause == "" {
		cause = strings.TrimSpace(g.proc.stderr.String())
	}
	if !errors.Is(g.readErr, io.EOF) && !errors.Is(g.readErr, io.ErrUnexpectedEOF) {
		cause = joinCause(g.readErr.Error(), cause)
	}
	return &GuestError{During: during, Cause: cause, Console: tail}
}

func joinCause(a, b string) string {
	if b == "" {
		return a
	}
	return a + ": " + b
}

// call asks for one operation. timeout is the time the host waits; it must be
// longer than what the request itself allows the agent.
func (g *Guest) call(ctx context.Context, during string, req wire.Request, timeout time.Duration) (*wire.Response, error) {
	g.nextID++
	req.ID = g.nextID
	if err := g.proc.control.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return nil, fmt.Errorf("%s: %w", during, err)
	}
	if err := wire.Encode(g.proc.control, req, wire.MaxRequest); err != nil {
		switch {
		case errors.Is(err, wire.ErrLineTooLong):
			return nil, fmt.Errorf("%s: %w", during, err)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, &GuestError{During: during, Timeout: true, Console: g.proc.console.tail()}
		}
		g.readErr = io.EOF
		return nil, g.gone(during)
	}
	r, err := g.await(ctx, during, req.ID, timeout)
	if err != nil {
		return nil, err
	}
	if r.Error != "" {
		return r, &OpError{Text: r.Error, Errno: syscall.Errno(r.Errno)}
	}
	return r, nil
}

// Close ends the guest at once and removes what belonged to it. It returns an
// error when the console log could not be written.
func (g *Guest) Close() error {
	g.proc.kill()
	os.Remove(g.initrd)
	return g.proc.console.close()
}
