// SPDX-License-Identifier: Apache-2.0

// Package wire is the language that the host and the agent in the guest speak
// over the guest's second serial port: one JSON document a line, a request with
// an id, and one response with the same id. Response id 0 is the greeting that
// the agent sends once, unasked, when the guest is up.
//
// It knows the shapes, the bounds and the framing. It must not know how a guest
// is started, what the agent does to answer, nor what an answer means.
//
// Invariants:
//   - A line is never longer than MaxLine; a longer one is an error, not a
//     truncated document: what the guest sends is outside bytes.
//   - A request is never longer than MaxRequest, so that it fits the terminal
//     buffers of the guest (drivers/tty/tty_buffer.c keeps 64 KiB a port) and
//     cannot be lost however slowly the agent reads.
package wire
