// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/patch"
)

// compareConstants looks at what types do not show: enumerators of enums
// without a name, and macros. All code of the unit that uses them is replaced
// together, but what it stored before stays in memory with the old value. For
// an enumerator, which often is a state or a flag, that is refused; a macro is
// mostly a limit or a time, so there is a warning.
func compareConstants(p *Plan, f *patch.AppliedFile) {
	before, after := plainText(f.Orig), plainText(f.Patched)
	was, is := enumerators(before), enumerators(after)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if now, ok := is[name]; ok && now != was[name] {
			p.refuse(Refusal{Code: CodeLayoutChanged, File: f.Path, Symbol: "enumerator " + name,
				Why:    fmt.Sprintf("its value changes from %s to %s, and memory of the running kernel may hold the old one", was[name], now),
				Advice: "keep the values of enumerators, and put new ones at the end"})
		}
	}
	was, is = macros(before), macros(after)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if now, ok := is[name]; ok && now != was[name] {
			p.warn("macro-changed", fmt.Sprintf("%s: %s changes from %s to %s: check that nothing in memory depends on the old value", f.Path, name, was[name], now))
		}
	}
}

var comments = regexp.MustCompile(`(?s)/\*.*?\*/|//[^\n]*`)

// plainText is source text without comments and continued lines.
func plainText(text []byte) string {
	return comments.ReplaceAllString(strings.ReplaceAll(string(text), "\\\n", " "), " ")
}

var (
	enumBody   = regexp.MustCompile(`\benum\b[^{}();=]*\{([^{}]*)\}`)
	enumerator = regexp.MustCompile(`^(\w+)\s*(?:=\s*(.+))?$`)
	directive  = regexp.MustCompile(`(?m)^[ \t]*#.*$`)
	macro      = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+(\S.*)$`)
)

// enumerators gives the value of each as written: that of the last one before
// it with a value, and the distance.
func enumerators(text string) map[string]string {
	out := map[string]string{}
	for _, m := range enumBody.FindAllStringSubmatch(directive.ReplaceAllString(text, ""), -1) {
		base, n := "0", 0
		for _, part := range splitList(m[1]) {
			e := enumerator.FindStringSubmatch(strings.Join(strings.Fields(part), " "))
			if e == nil {
				continue
			}
			if e[2] != "" {
				base, n = e[2], 0
			}
			value := base
			if n > 0 && base == "0" {
				value = fmt.Sprint(n)
			} else if n > 0 {
				value = fmt.Sprintf("%s + %d", base, n)
			}
			if old, twice := out[e[1]]; twice { // in two functions, or behind an #if
				value = old + " or " + value
			}
			out[e[1]] = value
			n++
		}
	}
	return out
}

// splitList splits at commas outside parentheses.
func splitList(s string) (parts []string) {
	depth, start := 0, 0
	for i, c := range s {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// macros gives the text of each macro without parameters.
func macros(text string) map[string]string {
	out := map[string]string{}
	for _, m := range macro.FindAllStringSubmatch(text, -1) {
		body := strings.Join(strings.Fields(m[2]), " ")
		if old, twice := out[m[1]]; twice {
			body = old + " or " + body
		}
		out[m[1]] = body
	}
	return out
}
