// SPDX-License-Identifier: Apache-2.0

// Package host knows the live patches of the running kernel: it loads and
// unloads them, says who blocks a transition and why, tells what is live, and
// keeps what is to be loaded at boot.
//
// It knows the files through which Linux shows live patches
// (Documentation/ABI/testing/sysfs-kernel-livepatch, /proc/PID/patch_state), the
// two system calls that load and remove modules, and its own state directories.
// It must not know compilers, patches, or how a module is made.
//
// The layers, from the bottom:
//
//	system.go      the system calls, behind an interface
//	trusted.go     reading a file that only root can have written
//	lock.go        one kmend at a time
//	records.go     what this host remembers of what it loaded
//	sysfs.go       what the kernel says is loaded
//	tasks.go       threads that hold a transition up
//	check.go       does a module fit the kernel that runs
//	loaded.go      what it does to what is loaded; the answer of another host
//	transition.go  waiting, reversing, forcing
//	load.go, unload.go
//	installed.go   the modules that are loaded at boot, and their state file
//	install.go     changing those; unit.go: systemd's side
//
// Invariants:
//   - The bytes that were checked are the bytes that are loaded: a file is
//     opened once, read into memory, and never opened again.
//   - The kernel is known by its build id, never by its release alone.
//   - A transition is left only done or reversed, unless the process is killed;
//     what a killed one leaves is recognised and finished by the next.
//   - Every change of state is one step that may be the last (Host.fault in the
//     tests): files are written beside their place, synced and renamed.
package host
