// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"errors"
	"strings"
)

// parseDeps reads the prerequisites out of a dependency file of GCC (-MD):
// "target: file file \" with backslash-newline between lines, and blanks, '#'
// and '$' in names escaped (GCC libcpp/mkdeps.cc, munge).
func parseDeps(s string) ([]string, error) {
	i := strings.Index(s, ": ")
	if i < 0 {
		if strings.HasSuffix(strings.TrimSpace(s), ":") {
			return nil, nil
		}
		return nil, errors.New("read the compiler's dependency file: no target in it")
	}
	var out []string
	var word []byte
	flush := func() {
		if len(word) > 0 {
			out = append(out, string(word))
			word = word[:0]
		}
	}
	for k := i + 2; k < len(s); k++ {
		c := s[k]
		switch {
		case c == '\\' && k+1 < len(s) && s[k+1] == '\n':
			flush()
			k++
		case c == '\\' && k+1 < len(s) && strings.IndexByte(" \t#\\:", s[k+1]) >= 0:
			k++
			word = append(word, s[k])
		case c == '$' && k+1 < len(s) && s[k+1] == '$':
			k++
			word = append(word, '$')
		case c == ' ' || c == '\t' || c == '\r':
			flush()
		case c == '\n': // the end of the rule
			flush()
			return out, nil
		default:
			word = append(word, c)
		}
	}
	flush()
	return out, nil
}
