// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Die ends the process by a signal, as the compiler ended, so that whoever
// started it sees the same. It returns an exit code, as a shell would give it,
// in case the signal does not end it.
func Die(s syscall.Signal) int {
	// Go handles signals itself; the kernel is to do what it does by default
	// (struct kernel_sigaction: handler, flags, restorer, mask: all zero), and
	// no core of this process is wanted.
	var action [4]uintptr
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	// To this very thread: another one might still be about to take the signal
	// when this one ends the process.
	runtime.LockOSThread()
	_ = unix.Tgkill(syscall.Getpid(), unix.Gettid(), s)
	return 128 + int(s)
}
