// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"kmend/internal/vm/wire"
)

// reaper waits for all children. As process 1 the agent inherits every orphan
// of the guest, so one place must call wait4, for everybody.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

func newReaper() *reaper {
	r := &reaper{waiting: map[int]chan syscall.WaitStatus{}}
	sigs := make(chan os.Signal, 1) // one is enough: collect takes all there are
	signal.Notify(sigs, syscall.SIGCHLD)
	go func() {
		for range sigs {
			r.collect()
		}
	}()
	return r
}

func (r *reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ch, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			ch <- status
		}
	}
}

// start holds the lock over the fork, so that the child cannot be collected
// before somebody waits for it.
func (r *reaper) start(argv, env []string, dir string, out *os.File) (int, chan syscall.WaitStatus, error) {
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	ch := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = ch
	return pid, ch, nil
}

func (r *reaper) run(req *wire.Request, resp *wire.Response) error {
	if len(req.Argv) == 0 {
		return errors.New("no command")
	}
	dir := req.Dir
	if dir == "" {
		dir = "/"
	}
	// Not os.Pipe: its ends do not block, and a command's output must.
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	rd, wr := os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output")
	defer rd.Close()
	pid, done, err := r.start(req.Argv, req.Env, dir, wr)
	wr.Close()
	if err != nil {
		return err
	}
	out := capture(rd)

	timeout := millis(req.TimeoutMS)
	if timeout <= 0 {
		timeout = time.Minute
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	exit := &wire.Exit{}
	var status syscall.WaitStatus
	select {
	case status = <-done:
	case <-timer.C:
		exit.TimedOut = true
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		// A task that cannot be killed (in D state) must not hang the agent.
		select {
		case status = <-done:
		case <-time.After(2 * time.Second):
		}
	}
	switch {
	case status.Signaled():
		exit.Signal = int(status.Signal())
		exit.Code = 128 + exit.Signal
	default:
		exit.Code = status.ExitStatus()
	}
	if exit.TimedOut && exit.Code == 0 {
		exit.Code = 124 // as timeout(1)
	}
	resp.Exit = exit
	resp.Data, resp.More = out.take()
	return nil
}

// output collects what a command writes, up to wire.MaxOutput, and drains the
// rest so that the command is not stopped by a full pipe.
type output struct {
	mu   sync.Mutex
	data []byte
	more bool
	eof  chan struct{}
}

func capture(r io.Reader) *output {
	o := &output{eof: make(chan struct{})}
	go func() {
		defer close(o.eof)
		buf := make([]byte, 16<<10)
		for {
			n, err := r.Read(buf)
			o.mu.Lock()
			room := wire.MaxOutput - len(o.data)
			if n > room {
				o.more = true
			}
			o.data = append(o.data, buf[:min(n, room)]...)
			o.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return o
}

// take returns the output. A background process may hold the pipe open for
// ever, so the end of the stream is waited for only a moment.
func (o *output) take() ([]byte, bool) {
	select {
	case <-o.eof:
	case <-time.After(300 * time.Millisecond):
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]byte(nil), o.data...), o.more
}
