// SPDX-License-Identifier: Apache-2.0

// Package vmtest lets tests boot guests. It knows how to get an agent, whether
// QEMU is there and how to build modules from C; the program must not import it.
package vmtest
