// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Options of Load and Unload.
type Options struct {
	// Timeout is how long a transition may take before it is reversed. 0: a minute.
	Timeout time.Duration
	// Force lets a transition that is not over then be forced: see ForceWarning.
	Force bool
	// Signal asks the kernel to signal the tasks that hold the transition up,
	// where it does not do that by itself.
	Signal bool
	// Progress is told of a transition about once a second.
	Progress func(Transition)
}

const defaultTimeout = time.Minute

// rollbackTimeout bounds the way back: the threads that have switched must
// switch again.
const rollbackTimeout = 2 * time.Minute

// ForceWarning is what a forced transition means
// (Documentation/ABI/testing/sysfs-kernel-livepatch).
const ForceWarning = "a forced transition switches every task at once, also those that are in the middle of a changed function: " +
	"they finish it in the code that they began, and code of both sorts runs at the same time. Where old and new code disagree about a lock or data, that can " +
	"corrupt memory or hang the machine. A live patch that is forced out can never be unloaded. Restart the machine when you can"

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	return o
}

// errStalled is await's answer when the time is over.
var errStalled = errors.New("the transition is not over")

// await waits until a live patch is in no transition; when it was on its way
// out, until its directory is gone.
func (h *Host) await(ctx context.Context, name string, opt Options) (time.Duration, error) {
	begin := h.System.Now()
	nextLook, pause, told := time.Second, 5*time.Millisecond, false
	for {
		moving, err := h.moving(name)
		took := h.System.Now().Sub(begin)
		if err != nil || !moving {
			return took, err
		}
		if took >= nextLook {
			nextLook = took + time.Second
			if p, ok := h.patch(name); ok && opt.Progress != nil {
				t := h.remaining(p)
				t.Elapsed = took
				opt.Progress(*t)
			}
			if opt.Signal && !told {
				told = true
				h.signal(name)
			}
		}
		if took >= opt.Timeout {
			return took, errStalled
		}
		if err := h.System.Sleep(ctx, min(pause, opt.Timeout-took)); err != nil {
			return took, err
		}
		pause = min(pause*2, 100*time.Millisecond)
	}
}

// moving tells whether a live patch is in transition. sysfs answers ENODEV while
// a directory is being removed.
func (h *Host) moving(name string) (bool, error) {
	b, err := h.readBounded(livepatchDir+"/"+name+"/transition", 16)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the state of live patch %s: %w", name, err)
	}
	return len(b) > 0 && b[0] == '1', nil
}

func (h *Host) signal(name string) {
	if h.kernelSignals(name) {
		h.notice("this kernel signals the tasks that hold up a transition by itself, every 15 seconds")
		return
	}
	h.step("signal " + name)
	if err := h.System.Write(h.path(livepatchDir, name, "signal"), "1"); err != nil {
		h.notice("signal the tasks that hold up %s: %v", name, err)
	}
}

// turn asks the kernel to enable (1) or disable (0) a live patch, which also
// reverses a transition in the other direction.
func (h *Host) turn(name, to string) error {
	h.step("turn " + name + " " + to)
	return h.System.Write(h.path(livepatchDir, name, "enabled"), to)
}

// force ends a transition by force. The kernel acts within a second. If that
// does not work the answer is errStalled: the way is back.
func (h *Host) force(ctx context.Context, name string) error {
	h.notice("forcing the transition of %s: %s", name, ForceWarning)
	h.step("force " + name)
	err := h.System.Write(h.path(livepatchDir, name, "force"), "1")
	if err == nil {
		_, err = h.await(ctx, name, Options{Timeout: 10 * time.Second})
	}
	if err != nil {
		h.notice("force the transition of %s: %v", name, err)
		return errStalled
	}
	return nil
}

// stalled describes a transition that is not over in time.
func (h *Host) stalled(name string, opt Options) *StallError {
	e := &StallError{Timeout: opt.Timeout}
	e.Name, e.Tasks = name, []Task{}
	if p, ok := h.patch(name); ok {
		e.Transition = *h.remaining(p)
	}
	return e
}

// removal is how the removal of a module ended.
type removal int

const (
	removed removal = iota
	held            // something holds it: it is disabled, and stays
)

// remove takes a disabled livepatch module out. The kernel drops its last
// reference a moment after its directory is gone, so it is tried for a while.
func (h *Host) remove(ctx context.Context, name string) (removal, error) {
	const patience = 5 * time.Second
	h.step("delete " + name)
	begin := h.System.Now()
	for {
		err := h.System.DeleteModule(name)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return removed, nil
		case errors.Is(err, unix.EBUSY): // it has no exit function
			return held, nil
		case !errors.Is(err, unix.EAGAIN):
			return held, fmt.Errorf("remove module %s: %w", name, err)
		case h.System.Now().Sub(begin) >= patience:
			return held, nil
		}
		if err := h.System.Sleep(ctx, 20*time.Millisecond); err != nil {
			return held, fmt.Errorf("remove module %s: %w", name, err)
		}
	}
}
