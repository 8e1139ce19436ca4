// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	qemuTool    = "qemu-system-x86_64"
	qemuPackage = "qemu-system-x86"
)

// kernelCommandLine is what every guest is booted with.
//   - panic=-1 with -no-reboot: a panic ends QEMU at once.
//   - quiet: a serial console is slow under emulation; the agent raises the
//     level again when it is up.
//   - no_timer_check: on a machine that is very busy the kernel may find that its
//     timer does not tick, and panic ("IO-APIC + timer doesn't work"); so it does
//     not look.
//   - No mitigations=off and the like: the code that is tested must be the code
//     that runs elsewhere.
const kernelCommandLine = "console=ttyS0 panic=-1 quiet log_buf_len=1M printk.devkmsg=on no_timer_check"

// qemuArgs is the command line of QEMU without the program. The control channel
// is descriptor 3. The image is booted as it is: an ELF vmlinux through its PVH
// entry (no decompression, no KASLR), a bzImage through the boot protocol.
func qemuArgs(m *Machine, initrd string) []string {
	accel := []string{"-accel", "tcg,thread=multi"}
	if m.CountInstructions {
		// sleep=off: an idle guest does not wait for the host's clock, its next
		// timer is due at once.
		accel = []string{"-accel", "tcg,thread=single", "-icount", "shift=0,align=off,sleep=off", "-rtc", "base=2000-01-01,clock=vm"}
	}
	return append(accel,
		"-M", "q35",
		"-cpu", m.CPUModel, "-smp", strconv.Itoa(m.CPUs), "-m", strconv.Itoa(m.MemoryMB),
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
		"-chardev", "stdio,id=console,signal=off,mux=off", "-serial", "chardev:console",
		"-chardev", "socket,id=control,fd=3", "-serial", "chardev:control",
		"-device", "isa-debug-exit,iobase=0x501,iosize=2",
		"-kernel", m.Image, "-initrd", initrd,
		"-append", m.commandLine(),
	)
}

func (m *Machine) commandLine() string {
	line := kernelCommandLine
	if m.CountInstructions {
		// The kernel checks the local APIC's timer against another one for 0.4 s
		// (arch/x86/kernel/apic/apic.c: calibrate_APIC_clock), which is most of the
		// boot when time is instructions, and then does not use it.
		line += " nolapic_timer"
	}
	return strings.TrimSpace(line + " " + m.ExtraCommandLine)
}

// process is a running QEMU.
type process struct {
	cmd     *exec.Cmd
	control *os.File
	console *console
	stderr  *tail
	exited  chan struct{} // closed when QEMU has ended and its output is complete
}

func startQEMU(m *Machine, initrd string, con *console) (*process, error) {
	tool, err := exec.LookPath(qemuTool)
	if err != nil {
		return nil, &MissingToolError{Tool: qemuTool, Package: qemuPackage}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the control channel: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	if err := unix.SetNonblock(pair[0], true); err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("make the control channel: %w", err)
	}
	p := &process{
		control: os.NewFile(uintptr(pair[0]), "control"),
		console: con,
		stderr:  &tail{max: 8 << 10},
		exited:  make(chan struct{}),
	}
	p.cmd = exec.Command(tool, qemuArgs(m, initrd)...)
	p.cmd.Stdout, p.cmd.Stderr = con, p.stderr
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.Env = append(os.Environ(), "LC_ALL=C")
	// A kmend that is killed must not leave its guest behind. The signal is
	// sent when the thread that forked ends, so that thread is kept.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // the exit status says nothing: a panic gives 0
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		p.control.Close()
		return nil, fmt.Errorf("start %s: %w", tool, err)
	}
	return p, nil
}

// kill ends QEMU and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	p.control.Close()
}

// maxConsole bounds the console log on disk.
const maxConsole = 16 << 20

// console takes what the guest writes to its first serial port: all of it (up to
// maxConsole) into a file, where one is wanted, and the last part into memory.
type console struct {
	mu      sync.Mutex
	file    io.WriteCloser
	path    string
	written int
	err     error
	last    tail
}

func newConsole(path string, keep bool) (*console, error) {
	c := &console{path: path, last: tail{max: 64 << 10}}
	if path != "" {
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if keep {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		f, err := os.OpenFile(path, flags, 0o644)
		if err != nil {
			return nil, fmt.Errorf("create the console log: %w", err)
		}
		c.file = f
	}
	return c, nil
}

// Write never fails: an error on the log file must not stop the guest. It is
// kept for close.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = c.last.Write(b)
	if c.file != nil && c.err == nil && c.written < maxConsole {
		n := min(len(b), maxConsole-c.written)
		_, c.err = c.file.Write(b[:n])
		c.written += n
		if c.err == nil && c.written == maxConsole {
			_, c.err = fmt.Fprintf(c.file, "\n[kmend: the console log is cut here, at %d MiB]\n", maxConsole>>20)
		}
	}
	return len(b), nil
}

func (c *console) tail() string { return c.last.String() }

func (c *console) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	if c.err != nil {
		err = c.err
	}
	if err != nil {
		return fmt.Errorf("write the console log %s: %w", c.path, err)
	}
	return nil
}

// tail keeps the last max bytes that were written.
type tail struct {
	mu  sync.Mutex
	max int
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > 2*t.max {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-t.max:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-t.max):])
}
