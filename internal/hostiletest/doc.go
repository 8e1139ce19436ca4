// SPDX-License-Identifier: Apache-2.0

// Package hostiletest tries inputs that were made to harm, by the thousand or
// by the million, on what reads the files of strangers.
//
// It knows how such inputs are made of good ones (JSON, Bytes), and what holds
// for each: no panic, no hang, and memory in proportion to its size. Run holds
// that, and leaves an input that breaks it in a file. What else must hold, the
// test says. Only tests import it.
package hostiletest
