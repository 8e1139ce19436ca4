// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"errors"
	"fmt"
)

// maxWords bounds the words of one command line; kbuild's longest have a few
// hundred.
const maxWords = 20000

// splitShell cuts a shell command line, as kbuild writes them, into simple
// commands of words. It knows quotes, backslashes and ';'. Whatever would make
// the shell do more (expansion, pipes, redirection, grouping) is an error: such
// a command is not just a compile.
func splitShell(s string) ([][]string, error) {
	var cmds [][]string
	var words []string
	var word []byte
	inWord := false
	n := 0
	flush := func() {
		if inWord {
			words = append(words, string(word))
			word, inWord = word[:0], false
			n++
		}
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case ' ', '\t', '\n':
			flush()
		case ';':
			flush()
			if len(words) > 0 {
				cmds = append(cmds, words)
				words = nil
			}
		case '\'', '"':
			k, err := quoted(s[i:], &word)
			if err != nil {
				return nil, err
			}
			i += k
			inWord = true
		case '\\':
			if i++; i == len(s) {
				return nil, errors.New("a backslash at the end")
			}
			if s[i] != '\n' {
				word, inWord = append(word, s[i]), true
			}
		case '$', '`', '|', '&', '<', '>', '(', ')', '{', '}', '*', '?', '[', ']', '~', '!', '#':
			if inWord && (c == '#' || c == '~' || c == '!' || c == '{' || c == '}' || c == ']') {
				word = append(word, c)
				continue
			}
			return nil, fmt.Errorf("it needs a shell (%q)", c)
		default:
			word, inWord = append(word, c), true
		}
		if n > maxWords {
			return nil, errors.New("it is too long")
		}
	}
	flush()
	if len(words) > 0 {
		cmds = append(cmds, words)
	}
	return cmds, nil
}

// quoted appends what the quotes at the start of s enclose and returns the index
// of the closing one.
func quoted(s string, word *[]byte) (int, error) {
	q := s[0]
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == q:
			return i, nil
		case q == '"' && (c == '$' || c == '`'):
			return 0, fmt.Errorf("it needs a shell (%q)", c)
		case q == '"' && c == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case '"', '\\', '$', '`':
				*word = append(*word, s[i])
			case '\n':
			default:
				*word = append(*word, '\\', s[i])
			}
		default:
			*word = append(*word, c)
		}
	}
	return 0, errors.New("a quote without its end")
}
