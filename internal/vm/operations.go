// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"kmend/internal/vm/wire"
)

// opTimeout is how long the host waits for an operation that should take
// milliseconds: emulation on a busy host is slow, a dead guest is dead for ever.
const opTimeout = 60 * time.Second

// Result is how a command in the guest ended.
type Result struct {
	Exit     int    // exit status; 128+N after signal N; 124 after a timeout
	Signal   int    // the signal that ended it, or 0
	TimedOut bool   // it was killed since it took too long
	Output   string // standard output and standard error, at most 64 KiB
	Cut      bool   // there was more output
	Elapsed  time.Duration
}

// Run runs a program in the guest to its end. An exit status other than 0 is
// not an error.
func (g *Guest) Run(ctx context.Context, timeout time.Duration, argv ...string) (*Result, error) {
	r, err := g.call(ctx, "run "+shorten(argv), wire.Request{
		Op: wire.OpRun, Argv: argv, Dir: "/root", TimeoutMS: int(timeout.Milliseconds()),
		Env: []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C"},
	}, timeout+opTimeout)
	if err != nil {
		return nil, err
	}
	if r.Exit == nil {
		return nil, errors.New("run a command in the guest: the agent's answer has no exit status")
	}
	return &Result{
		Exit: r.Exit.Code, Signal: r.Exit.Signal, TimedOut: r.Exit.TimedOut,
		Output: string(r.Data), Cut: r.More, Elapsed: time.Duration(r.ElapsedMS) * time.Millisecond,
	}, nil
}

func shorten(argv []string) string {
	s := fmt.Sprintf("%q", argv)
	if len(s) > 80 {
		s = s[:77] + "…"
	}
	return s
}

// Shell runs a command of the guest's /bin/sh: see Machine.Shell.
func (g *Guest) Shell(ctx context.Context, timeout time.Duration, command string) (*Result, error) {
	return g.Run(ctx, timeout, "/bin/sh", "-c", command)
}

// Load loads a module that was put into the guest through Machine.Modules.
func (g *Guest) Load(ctx context.Context, module, params string) error {
	_, err := g.call(ctx, "load "+module, wire.Request{Op: wire.OpLoad, Path: Module{Name: module}.guestPath(), Params: params}, opTimeout)
	return err
}

// Unload unloads a module; while it is in use it is tried again until patience
// is over.
func (g *Guest) Unload(ctx context.Context, module string, patience time.Duration) error {
	_, err := g.call(ctx, "unload "+module, wire.Request{Op: wire.OpUnload, Name: module, TimeoutMS: int(patience.Milliseconds())}, patience+opTimeout)
	return err
}

// ReadFile reads a file of the guest, at most 2 MiB of it; more is an error.
func (g *Guest) ReadFile(ctx context.Context, name string) ([]byte, error) {
	r, err := g.call(ctx, "read "+name, wire.Request{Op: wire.OpRead, Path: name}, opTimeout)
	if err != nil {
		return nil, err
	}
	if r.More {
		return nil, fmt.Errorf("read %s in the guest: it is longer than %d bytes", name, wire.MaxRead)
	}
	return r.Data, nil
}

// WriteFile writes a file of the guest. Files in /sys and /proc get the data in
// one write(2) when it is at most 16 KiB.
func (g *Guest) WriteFile(ctx context.Context, name string, data []byte, mode fs.FileMode) error {
	const piece = 16 << 10
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), piece)
		req := wire.Request{Op: wire.OpWrite, Path: name, Data: data[:n], Mode: uint32(mode.Perm()), Append: !first}
		if _, err := g.call(ctx, "write "+name, req, opTimeout); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// List returns the sorted names in a directory of the guest.
func (g *Guest) List(ctx context.Context, dir string) ([]string, error) {
	r, err := g.call(ctx, "list "+dir, wire.Request{Op: wire.OpList, Path: dir}, opTimeout)
	if err != nil {
		return nil, err
	}
	return r.Names, nil
}

// Log returns the records of the kernel log since the last call, from the boot
// on, and how often records were overwritten before they were read.
func (g *Guest) Log(ctx context.Context) (records []wire.Record, lost int, err error) {
	const most = 32 << 20 / 64 // bounds what a guest that logs without end can make the host keep
	for {
		r, err := g.call(ctx, "read the kernel log", wire.Request{Op: wire.OpLog}, opTimeout)
		if err != nil {
			return records, lost, err
		}
		records = append(records, r.Records...)
		lost += r.Lost
		if !r.More {
			return records, lost, nil
		}
		if len(records) > most {
			return records, lost, errors.New("read the kernel log: the guest writes more than can be read")
		}
	}
}

// Mark writes a line into the guest's kernel log and onto its console.
func (g *Guest) Mark(ctx context.Context, text string) error {
	_, err := g.call(ctx, "mark the kernel log", wire.Request{Op: wire.OpMark, Name: text}, opTimeout)
	return err
}

// WaitTransition waits until the livepatch is not in transition (or is gone).
// done is false when it still was after patience; blockers are then the threads
// that have not switched.
func (g *Guest) WaitTransition(ctx context.Context, livepatch string, patience time.Duration) (done bool, blockers []wire.Task, err error) {
	r, err := g.call(ctx, "wait for the transition of "+livepatch,
		wire.Request{Op: wire.OpTransition, Name: livepatch, TimeoutMS: int(patience.Milliseconds())}, patience+opTimeout)
	if err != nil {
		return false, nil, err
	}
	return r.Done, r.Blockers, nil
}

// Finish makes the agent echo a fresh random token: the proof that the guest
// is alive at the end. Then the guest is switched off.
func (g *Guest) Finish(ctx context.Context) error {
	token := rand.Text()
	r, err := g.call(ctx, "finish", wire.Request{Op: wire.OpFinish, Token: token}, opTimeout)
	if err != nil {
		return err
	}
	if r.Token != token {
		return &GuestError{During: "finish", Cause: "the agent did not echo the token"}
	}
	g.nextID++
	if err := wire.Encode(g.proc.control, wire.Request{ID: g.nextID, Op: wire.OpQuit}, wire.MaxRequest); err == nil {
		select {
		case <-g.proc.exited:
		case <-time.After(5 * time.Second): // Close kills it
		case <-ctx.Done():
		}
	}
	return nil
}
