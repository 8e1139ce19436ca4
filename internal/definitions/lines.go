// SPDX-License-Identifier: Apache-2.0

package definitions

import "bytes"

// maxFunction bounds the lines of one function; the longest have some 3,000.
const maxFunction = 20_000

// Lines finds the first definition of a function in a source file: its first and
// last line, counted from 1. It reads text as Find does, so what a macro makes it
// does not find, but for system calls. A function ends at the first brace in
// column 0, which the kernel's style asks for, or on the line that it begins on.
func Lines(data []byte, name string) (first, last int, ok bool) {
	at := definition(data, name)
	if at < 0 {
		return 0, 0, false
	}
	start := bytes.LastIndexByte(data[:at], '\n') + 1
	if start > 1 { // the type, or a part of it, may stand on the line before
		before := bytes.LastIndexByte(data[:start-1], '\n') + 1
		if line := data[before : start-1]; len(line) > 0 && isIdent(line[0]) && !bytes.ContainsAny(line, ";{}:#(") {
			start = before
		}
	}
	first = bytes.Count(data[:start], []byte("\n")) + 1
	last = first
	for line := range bytes.Lines(data[start:]) {
		if line[0] == '}' || isWhole(line) {
			return first, last, true
		}
		if last++; last-first > maxFunction {
			break
		}
	}
	return 0, 0, false
}

// isWhole reports whether a line begins a function and ends it.
func isWhole(line []byte) bool {
	line = bytes.TrimSpace(line)
	return bytes.IndexByte(line, '{') > 0 && bytes.HasSuffix(line, []byte("}")) && isIdent(line[0])
}

// definition is where the name stands in the definition of a function, -1 if
// there is none.
func definition(data []byte, name string) int {
	if name == "" {
		return -1
	}
	if call, ok := syscall(name); ok {
		return syscallDefinition(data, call)
	}
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte(name))
		if i < 0 {
			return -1
		}
		at += i
		if isDefinition(data, at, len(name)) {
			return at
		}
		at += len(name)
	}
}
