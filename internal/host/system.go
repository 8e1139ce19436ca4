// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/kernel"
	"kmend/internal/verify"
)

// System is what this package asks of the kernel beyond reading files. Tests
// have one of their own.
type System interface {
	// InitModule loads the module in image: init_module(2).
	InitModule(image []byte) error
	// DeleteModule removes a module without waiting: delete_module(2).
	DeleteModule(name string) error
	// Write writes value to an existing file of sysfs in one write(2).
	Write(path, value string) error
	// Log begins to listen to the kernel log; the function that it returns
	// gives the lines since then, and ends the listening.
	Log() (lines func() []string)
	// Run runs a program (systemctl) and returns what it printed.
	Run(ctx context.Context, argv ...string) (string, error)
	// Release is what uname -r prints.
	Release() (string, error)
	// IsRoot tells whether the process has root's rights.
	IsRoot() bool
	Now() time.Time
	// Sleep waits for d, or until ctx ends: its error then.
	Sleep(ctx context.Context, d time.Duration) error
}

// Host is a running system. Its methods may be called by one goroutine at a
// time; several processes exclude each other by a lock file.
type Host struct {
	// Root is put before every path, so that a test can lay out a system of its
	// own. "" on a real one.
	Root   string
	System System
	// Kernels gives the kernels that kmend knows all about, for checks that need
	// more than a module says about itself.
	Kernels func() ([]*kernel.Kernel, error)
	// Notice, if set, is told what a user should know while something is done.
	Notice func(text string)

	verifier *verify.Verifier // see verifierOf
	verifies string           // the build id of its kernel

	owner uint32            // whose files are trusted: root's
	fault func(step string) // called before each step that changes something
}

// Open returns the system that this process runs on.
func Open() *Host {
	return &Host{System: linux{}, Kernels: kernel.List}
}

// At returns a system that is laid out below a directory, by the user of this
// process: for tests.
func At(root string, system System) *Host {
	return &Host{Root: root, System: system, Kernels: func() ([]*kernel.Kernel, error) { return nil, nil }, owner: uint32(os.Getuid())}
}

func (h *Host) path(parts ...string) string {
	return filepath.Join(append([]string{h.Root + "/"}, parts...)...)
}

// outside is a path as it is called without Root.
func (h *Host) outside(path string) string {
	if h.Root == "" {
		return path
	}
	return strings.TrimPrefix(path, strings.TrimSuffix(h.Root, "/"))
}

func (h *Host) notice(format string, args ...any) {
	if h.Notice != nil {
		h.Notice(fmt.Sprintf(format, args...))
	}
}

func (h *Host) step(name string) {
	if h.fault != nil {
		h.fault(name)
	}
}

// NotRootError says that what was asked for takes root's rights.
type NotRootError struct{ What string }

func (e *NotRootError) Error() string {
	return e.What + ": this takes root's rights; run it as root, for example with sudo"
}

func (h *Host) needRoot(what string) error {
	if !h.System.IsRoot() {
		return &NotRootError{What: what}
	}
	return nil
}

type linux struct{}

// init_module takes the module from memory: what was checked is what is loaded,
// whatever becomes of the file.
func (linux) InitModule(image []byte) error  { return unix.InitModule(image, "") }
func (linux) DeleteModule(name string) error { return unix.DeleteModule(name, unix.O_NONBLOCK) }
func (linux) Now() time.Time                 { return time.Now() }
func (linux) IsRoot() bool                   { return os.Geteuid() == 0 }

func (linux) Write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

func (linux) Release() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

func (linux) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (linux) Run(ctx context.Context, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Log reads /dev/kmsg from its end on. Without the right to read it there are
// no lines.
func (linux) Log() func() []string {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Seek(fd, 0, unix.SEEK_END)
	}
	return func() (lines []string) {
		if err != nil {
			return nil
		}
		defer unix.Close(fd)
		const most = 1000
		buf := make([]byte, 16<<10) // a record has at most 8 KiB (kernel/printk/printk.c)
		for range most {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n <= 0 {
				break
			}
			lines = append(lines, kernelLine(buf[:n])...)
		}
		return lines
	}
}

// kernelLine is the text of a record of the kernel itself: facility 0, as
// "priority,sequence,time,flags;text\n…" (Documentation/ABI/testing/dev-kmsg).
func kernelLine(record []byte) []string {
	head, text, ok := bytes.Cut(record, []byte(";"))
	priority, _, _ := bytes.Cut(head, []byte(","))
	if !ok || len(priority) != 1 { // 8 and more: another facility
		return nil
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return []string{string(line)}
}
