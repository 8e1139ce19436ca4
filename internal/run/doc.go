// SPDX-License-Identifier: Apache-2.0

// Package run starts external commands and keeps what they made.
//
// It knows processes (their group, their time, their output), one semaphore for
// all parallel jobs of the program, and a content-addressed cache of small
// results on disk. It must not know what a command means: no compiler options,
// no kernel paths, no object formats.
package run
