// SPDX-License-Identifier: Apache-2.0

// Package agent is the init process of the guest that kmend boots to prove a
// live patch. The kmend program itself, linked statically, is put into the
// initramfs as /init; when it finds that it was started as such (Requested) it
// does nothing else but Main: mount the kernel's file systems, greet the host on
// the second serial port, and do what the host asks, one operation at a time.
//
// It knows system calls and files of the guest. It must not know QEMU, what a
// live patch is beyond the names of files in sysfs, nor what makes a test pass:
// the host judges.
//
// The agent is process 1: when it ends, the kernel panics, and the host sees a
// guest that died. So no error is ever hidden by it.
package agent
