// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"os"
	"strings"
)

// Bounds of response files; GCC's own bound is 2000 files (libiberty/argv.c).
const (
	maxResponseFiles = 2000
	maxResponseSize  = 16 << 20
)

// word is one argument, and whether it comes out of a response file.
type word struct {
	text     string
	fromFile bool
}

// expand replaces each @FILE by the arguments in it, as GCC does (expandargv):
// files may name files, and what cannot be read stands for itself.
func expand(args []string) ([]word, error) {
	var out []word
	files := 0
	var add func(args []string, fromFile bool) error
	add = func(args []string, fromFile bool) error {
		for _, a := range args {
			inside, ok, err := readResponse(a)
			if err != nil {
				return err
			}
			if !ok {
				out = append(out, word{a, fromFile})
				continue
			}
			if files++; files > maxResponseFiles {
				return fmt.Errorf("read response file %s: more than %d files, do they name each other?", a, maxResponseFiles)
			}
			if err := add(inside, true); err != nil {
				return err
			}
		}
		return nil
	}
	return out, add(args, false)
}

// readResponse splits the file that an argument names, if it does.
func readResponse(arg string) (args []string, ok bool, err error) {
	name, found := strings.CutPrefix(arg, "@")
	if !found {
		return nil, false, nil
	}
	st, err := os.Stat(name)
	if err != nil || !st.Mode().IsRegular() {
		return nil, false, nil
	}
	if st.Size() > maxResponseSize {
		return nil, false, fmt.Errorf("read response file %s: %d bytes are more than %d", arg, st.Size(), maxResponseSize)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, false, nil // as GCC: it is an argument like any other
	}
	return splitArgs(string(data)), true, nil
}

// splitArgs splits text at white space. Quotes of both kinds hold arguments
// together, and a backslash takes the character after it as it is
// (libiberty/argv.c: buildargv).
func splitArgs(text string) []string {
	var args []string
	var cur []byte
	in, escaped := false, false
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case escaped:
			cur, escaped = append(cur, c), false
		case c == '\\':
			in, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			cur = append(cur, c)
		case c == '\'' || c == '"':
			in, quote = true, c
		case strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			if in {
				args, cur, in = append(args, string(cur)), nil, false
			}
		default:
			in, cur = true, append(cur, c)
		}
	}
	if in {
		args = append(args, string(cur))
	}
	return args
}
