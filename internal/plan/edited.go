// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"regexp"
	"sort"
	"strings"

	"kmend/internal/patch"
)

// The kernel's style puts the first line of a function's definition at column
// 0, and its closing brace too: what diff -p relies on.
var (
	headerLine = regexp.MustCompile(`^[A-Za-z_]`)
	labelLine  = regexp.MustCompile(`^[A-Za-z_]\w*\s*:([^:]|$)`)
	calledName = regexp.MustCompile(`([A-Za-z_]\w*)\s*\(`)
	syscallDef = regexp.MustCompile(`^(?:COMPAT_)?SYSCALL(?:32)?_DEFINE\d\s*\(\s*(\w+)`)
)

// EditedFunctions lists the source functions that contain changed lines, by
// name; outside tells whether lines outside any function changed. It serves
// explanation only: what must be replaced is seen from the code.
func EditedFunctions(f *patch.AppliedFile) (names []string, outside bool) {
	found := map[string]bool{}
	note := func(text []byte, r patch.Range) {
		lines := splitLines(text)
		for n := r.First; n <= r.Last && n <= len(lines); n++ {
			if name := enclosing(lines, n-1); name != "" {
				found[name] = true
			} else if len(bytes.TrimSpace(lines[n-1])) > 0 {
				outside = true
			}
		}
	}
	for _, ch := range f.Changes() {
		note(f.Orig, ch.Old)
		note(f.Patched, ch.New)
	}
	for name := range found {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, outside
}

func splitLines(text []byte) [][]byte { return bytes.SplitAfter(text, []byte("\n")) }

// enclosing is the name of the function whose text holds line at (from 0).
func enclosing(lines [][]byte, at int) string {
	for i := at; i >= 0; i-- {
		line := string(lines[i])
		if strings.HasPrefix(line, "}") && i != at {
			return ""
		}
		if !headerLine.MatchString(line) || labelLine.MatchString(line) {
			continue
		}
		if m := syscallDef.FindStringSubmatch(line); m != nil {
			return "sys_" + m[1]
		}
		m := calledName.FindStringSubmatch(line)
		if m == nil || strings.HasSuffix(strings.TrimSpace(line), ";") || strings.Contains(strings.SplitN(line, "(", 2)[0], "=") {
			return ""
		}
		return m[1]
	}
	return ""
}

// sameFunction reports whether a code symbol was made from a source function:
// itself, a clone, or a wrapper the system call macros make.
func sameFunction(symbol, source string) bool {
	if i := strings.IndexByte(symbol, '.'); i > 0 {
		symbol = symbol[:i]
	}
	if symbol == source {
		return true
	}
	call, ok := strings.CutPrefix(source, "sys_")
	return ok && strings.HasPrefix(symbol, "__") && strings.HasSuffix(symbol, "sys_"+call)
}
