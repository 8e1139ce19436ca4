// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/vm/wire"
)

// Requested reports whether this process is the init of a guest that kmend
// started. Process 1 of a container is not: the token is missing there.
func Requested() bool {
	if os.Getpid() != 1 || len(os.Args) == 0 || os.Args[0] != wire.InitPath {
		return false
	}
	_, err := os.Stat(wire.TokenPath)
	return err == nil
}

// Main is the agent. It does not return: the guest is switched off when the
// host asks for it or hangs up.
func Main() {
	if err := serve(); err != nil {
		// The console is all that is left to say it.
		fmt.Fprintf(os.Stderr, "kmend agent: %v\n", err)
	}
	powerOff()
}

type agent struct {
	start    time.Time
	token    string
	log      kernelLog
	children *reaper
}

func serve() error {
	if err := mountAll(); err != nil {
		return err
	}
	port, err := openControl(wire.ControlDevice)
	if err != nil {
		return err
	}
	token, err := os.ReadFile(wire.TokenPath)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	a := &agent{start: time.Now(), token: strings.TrimSpace(string(token)), children: newReaper()}
	if err := a.log.open("/dev/kmsg"); err != nil {
		return err
	}
	// From here on the console shows everything: after a panic it is the only
	// witness. (During boot the serial port would slow the guest down.)
	if err := os.WriteFile("/proc/sys/kernel/printk", []byte("8"), 0o644); err != nil {
		return fmt.Errorf("raise the console's log level: %w", err)
	}
	greeting, err := a.greet()
	if err != nil {
		return err
	}
	if err := wire.Encode(port, wire.Response{Greeting: greeting}, wire.MaxLine); err != nil {
		return fmt.Errorf("greet the host: %w", err)
	}
	d := wire.NewDecoder(port, wire.MaxRequest)
	for {
		var req wire.Request
		if err := d.Decode(&req); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		if req.Op == wire.OpQuit {
			return nil
		}
		if err := wire.Encode(port, a.answer(&req), wire.MaxLine); err != nil {
			return fmt.Errorf("answer %s: %w", req.Op, err)
		}
	}
}

func (a *agent) greet() (*wire.Greeting, error) {
	notes, err := os.ReadFile("/sys/kernel/notes")
	if err != nil {
		return nil, fmt.Errorf("read the kernel's notes: %w", err)
	}
	id, err := buildID(notes)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's build id: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, fmt.Errorf("uname: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	return &wire.Greeting{
		Version:  wire.Version,
		Token:    a.token,
		Release:  unix.ByteSliceToString(u.Release[:]),
		BuildID:  id,
		CPUs:     onlineCPUs(),
		UptimeMS: now.Nano() / 1e6,
	}, nil
}

func (a *agent) answer(req *wire.Request) *wire.Response {
	resp := &wire.Response{ID: req.ID}
	start := time.Now()
	err := a.do(req, resp)
	resp.ElapsedMS = time.Since(start).Milliseconds()
	if err != nil {
		resp.Error = err.Error()
		var errno unix.Errno
		if errors.As(err, &errno) {
			resp.Errno = int(errno)
		}
	}
	return resp
}

func (a *agent) do(req *wire.Request, resp *wire.Response) error {
	switch req.Op {
	case wire.OpRead:
		return read(req, resp)
	case wire.OpWrite:
		return write(req)
	case wire.OpList:
		return list(req, resp)
	case wire.OpLoad:
		return load(req.Path, req.Params)
	case wire.OpUnload:
		return unload(req.Name, millis(req.TimeoutMS))
	case wire.OpRun:
		return a.children.run(req, resp)
	case wire.OpLog:
		return a.log.read(resp)
	case wire.OpMark:
		return a.log.mark(req.Name)
	case wire.OpTransition:
		return transition(req.Name, millis(req.TimeoutMS), resp)
	case wire.OpFinish:
		resp.Token = req.Token
		return nil
	}
	return fmt.Errorf("unknown operation %q", req.Op)
}

func millis(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// read answers with at most Max bytes: files in sysfs and tracefs have no size
// to trust.
func read(req *wire.Request, resp *wire.Response) error {
	limit := req.Max
	if limit <= 0 || limit > wire.MaxRead {
		limit = wire.MaxRead
	}
	f, err := os.Open(req.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for len(resp.Data) <= limit {
		n, err := f.Read(buf)
		resp.Data = append(resp.Data, buf[:n]...)
		if n == 0 || err != nil {
			break
		}
	}
	if len(resp.Data) > limit {
		resp.Data, resp.More = resp.Data[:limit], true
	}
	return nil
}

func write(req *wire.Request) error {
	flags := os.O_WRONLY | os.O_CREATE
	if req.Append {
		flags |= os.O_APPEND
	} else {
		flags |= os.O_TRUNC
	}
	mode := fs.FileMode(req.Mode & 0o777)
	if mode == 0 {
		mode = 0o644
	}
	f, err := os.OpenFile(req.Path, flags, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(req.Data)
	return errors.Join(err, f.Close())
}

func list(req *wire.Request, resp *wire.Response) error {
	d, err := os.Open(req.Path)
	if err != nil {
		return err
	}
	defer d.Close()
	const most = 100_000
	names, err := d.Readdirnames(most)
	if len(names) == 0 && err != nil && len(names) < most {
		if info, serr := d.Stat(); serr == nil && info.IsDir() {
			return nil // an empty directory is not an error
		}
		return err
	}
	sort.Strings(names)
	resp.Names, resp.More = names, len(names) == most
	return nil
}

func load(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), params, 0); err != nil {
		return fmt.Errorf("finit_module %s: %w", path, err)
	}
	return nil
}

// unload asks again while the module is in use, for a while: the last reference
// of a livepatch is dropped by a work item after sysfs says that it is gone.
func unload(name string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := unix.DeleteModule(name, unix.O_NONBLOCK)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(deadline) {
			return fmt.Errorf("delete_module %s: %w", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func onlineCPUs() int {
	dirs, err := os.ReadDir("/sys/devices/system/cpu")
	if err != nil {
		return 0
	}
	n := 0
	for _, d := range dirs {
		digits := strings.TrimPrefix(d.Name(), "cpu")
		if digits != d.Name() && digits != "" && strings.Trim(digits, "0123456789") == "" {
			state, err := os.ReadFile("/sys/devices/system/cpu/" + d.Name() + "/online")
			if err != nil || strings.TrimSpace(string(state)) == "1" { // the boot CPU may have no such file
				n++
			}
		}
	}
	return n
}
