// SPDX-License-Identifier: Apache-2.0

package oracle

import "strings"

// ApartTail is the text that, behind the end of a unit, takes from GCC what it
// does not know where some functions of the unit are compiled apart from it: the
// bodies of functions that are only declared there (hidden), that all callers of
// the functions compiled apart are in sight (called), and that nobody else has
// the addresses of static variables that are only declared there (variables).
// What is left is the difference between the two compiles that the texts make.
func ApartTail(hidden, called, variables []string) string {
	var b strings.Builder
	b.WriteString(redeclare("__noipa__", hidden...))
	b.WriteString(redeclare("__used__", called...))
	for _, v := range variables {
		b.WriteString(escape(v))
	}
	return b.String()
}

// Identifier reports whether a symbol's name is one that C text can use.
func Identifier(name string) bool { return identifier.MatchString(name) }
