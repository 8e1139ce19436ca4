// SPDX-License-Identifier: Apache-2.0

// Package vm proves a live patch by booting its kernel: it starts the unmodified
// kernel image in QEMU with an initramfs of its own, loads the livepatch there,
// waits for the transition, reads back what the kernel says is patched, runs a
// check before, during and after, disables and unloads, and judges.
//
// It knows QEMU's command line, the initramfs format, the protocol with the
// agent in the guest (package wire, package agent) and the files through which
// a kernel shows live patches. It must not know how patches are built, what a
// plan is, or anything of ELF beyond the module's own name.
//
// The layers, from the bottom:
//
//	cpio.go       newc archives, deterministic
//	initramfs.go  what lies in the guest: agent, shell, modules, files
//	qemu.go       the process: command line, console, control socket
//	guest.go      Boot and the operations on a running guest (for tests of any kind)
//	prove.go      Run: the sequence of one proof
//	judge.go      what the kernel log and the taint flags mean
//	report.go     the answer as plain data
//
// Invariants:
//   - Software emulation only. A /dev/kvm that opens need not work, and a
//     proof must not depend on the host.
//   - Only a positive answer counts. QEMU's exit status says nothing (a guest
//     that panics exits with 0): a report says "passed" only when every step
//     answered and the agent echoed a token that was drawn for this run.
//   - The kernel is known by its build id, never by its release string.
//   - What comes from the guest is outside bytes: lines, records, output and
//     console are bounded.
package vm
