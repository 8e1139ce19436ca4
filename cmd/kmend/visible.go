// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
)

// visible makes one line of text of strangers, as names out of modules and files
// are. Nothing in it moves the cursor of a terminal, or makes text read in another
// order than it is written.
func visible(s string) string {
	return strings.ReplaceAll(visibleLines(strings.ReplaceAll(s, "\t", " ")), "\n", "^J")
}

// visibleLines is visible for text that has lines and tabs.
func visibleLines(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\t' || c == '\n':
			b.WriteRune(c)
		case c < ' ':
			b.WriteString("^" + string(c+'@'))
		case c == 0x7f, c >= 0x80 && c < 0xa0, c == '\ufffd':
			b.WriteRune('?')
		case misleading(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// misleading are characters that do not show: marks of direction, joiners, line
// ends that most programs do not take for such.
func misleading(c rune) bool {
	return c > 0x7f && (unicode.Is(unicode.Cf, c) || c == '\u2028' || c == '\u2029')
}

// visibleJSON escapes, in a JSON document, the characters that a terminal would
// obey or that do not show. encoding/json escapes only some. They stand in
// strings, so the document means the same.
func visibleJSON(data []byte) []byte {
	odd := func(c rune) bool { return c == 0x7f || c >= 0x80 && c < 0xa0 || misleading(c) }
	if bytes.IndexFunc(data, odd) < 0 {
		return data
	}
	var b bytes.Buffer
	for _, c := range string(data) {
		switch {
		case !odd(c):
			b.WriteRune(c)
		case c > 0xffff:
			high, low := utf16.EncodeRune(c)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.Bytes()
}
