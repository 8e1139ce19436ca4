// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"bytes"
	"fmt"
)

// SyntaxError says where a document is not C as text.
type SyntaxError struct {
	Off int32 // in the document
	Why string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Off, e.Why) }

// Lexer cuts a stretch of a document into tokens. Directives are none of its
// business: the caller stops it at line ends.
type Lexer struct {
	Text  []byte
	Pos   int // next byte
	End   int // behind the last byte
	Names *Names
}

// punctuators by length, longest first (C11 6.4.6; digraphs are not used by
// the kernel and come out as their characters).
var (
	punct3 = map[string]bool{"...": true, "<<=": true, ">>=": true}
	punct2 = map[string]bool{
		"->": true, "++": true, "--": true, "<<": true, ">>": true, "<=": true, ">=": true, "==": true, "!=": true,
		"&&": true, "||": true, "*=": true, "/=": true, "%=": true, "+=": true, "-=": true, "&=": true, "^=": true, "|=": true, "##": true,
	}
)

// Next returns the next token; ok is false at the end. A token's range is that
// of its spelling.
func (l *Lexer) Next() (tok Token, ok bool, err error) {
	var flags Flags
	if l.Pos == 0 || l.Pos <= len(l.Text) && l.Text[l.Pos-1] == '\n' {
		flags |= LineStart
	}
	skipped, newline, err := l.skip()
	if err != nil {
		return tok, false, err
	}
	if skipped {
		flags |= SpaceBefore
	}
	if newline {
		flags |= LineStart
	}
	if l.Pos >= l.End {
		return tok, false, nil
	}
	start := l.Pos
	kind, err := l.scan()
	if err != nil {
		return tok, false, err
	}
	text := l.Text[start:l.Pos]
	if kind != String && kind != Char && bytes.Contains(text, []byte("\\\n")) {
		text = bytes.ReplaceAll(text, []byte("\\\n"), nil) // a spliced identifier or number
	}
	return Token{Name: l.Names.OfBytes(text), Off: int32(start), From: int32(start), To: int32(l.Pos), Kind: kind, Flags: flags}, true, nil
}

// skip passes white space, comments and spliced lines.
func (l *Lexer) skip() (skipped, newline bool, err error) {
	for l.Pos < l.End {
		c := l.Text[l.Pos]
		switch {
		case c == '\n':
			newline = true
			l.Pos++
		case c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f':
			l.Pos++
		case c == '\\' && l.at(1) == '\n':
			l.Pos += 2
		case c == '/' && l.at(1) == '*':
			n := bytes.Index(l.Text[l.Pos+2:l.End], []byte("*/"))
			if n < 0 {
				return false, false, &SyntaxError{int32(l.Pos), "unterminated comment"}
			}
			l.Pos += n + 4
		case c == '/' && l.at(1) == '/':
			for l.Pos < l.End && l.Text[l.Pos] != '\n' {
				if l.Text[l.Pos] == '\\' && l.at(1) == '\n' {
					l.Pos++
				}
				l.Pos++
			}
		default:
			return skipped, newline, nil
		}
		skipped = true
	}
	return skipped, newline, nil
}

func (l *Lexer) at(n int) byte {
	if l.Pos+n < l.End {
		return l.Text[l.Pos+n]
	}
	return 0
}

func identStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' || c >= 0x80
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// scan passes one token.
func (l *Lexer) scan() (Kind, error) {
	c := l.Text[l.Pos]
	switch {
	case c == '"':
		return String, l.quoted('"')
	case c == '\'':
		return Char, l.quoted('\'')
	case digit(c) || c == '.' && digit(l.at(1)):
		l.number()
		return Number, nil
	case identStart(c):
		return l.word()
	}
	if l.Pos+3 <= l.End && punct3[string(l.Text[l.Pos:l.Pos+3])] {
		l.Pos += 3
		return Punct, nil
	}
	if l.Pos+2 <= l.End && punct2[string(l.Text[l.Pos:l.Pos+2])] {
		l.Pos += 2
		return Punct, nil
	}
	l.Pos++
	if bytes.IndexByte([]byte("[](){}.&*+-~!/%<>^|?:;=,#"), c) >= 0 {
		return Punct, nil
	}
	return Other, nil
}

// splice passes a backslash-newline within a token.
func (l *Lexer) splice() {
	for l.at(0) == '\\' && l.at(1) == '\n' {
		l.Pos += 2
	}
}

// word passes an identifier, or the string or character constant that it is
// the prefix of.
func (l *Lexer) word() (Kind, error) {
	start := l.Pos
	for l.Pos < l.End && (identStart(l.Text[l.Pos]) || digit(l.Text[l.Pos])) {
		l.Pos++
		l.splice()
	}
	switch string(l.Text[start:l.Pos]) {
	case "L", "u", "U", "u8":
		switch l.at(0) {
		case '"':
			return String, l.quoted('"')
		case '\'':
			return Char, l.quoted('\'')
		}
	}
	return Ident, nil
}

// number passes a pp-number (C11 6.4.8).
func (l *Lexer) number() {
	for l.Pos < l.End {
		c := l.Text[l.Pos]
		switch {
		case (c == 'e' || c == 'E' || c == 'p' || c == 'P') && (l.at(1) == '+' || l.at(1) == '-'):
			l.Pos += 2
		case digit(c) || identStart(c) || c == '.':
			l.Pos++
		default:
			return
		}
		l.splice()
	}
}

func (l *Lexer) quoted(q byte) error {
	start := l.Pos
	for l.Pos++; l.Pos < l.End; l.Pos++ {
		switch l.Text[l.Pos] {
		case '\\':
			l.Pos++
		case q:
			l.Pos++
			return nil
		case '\n':
			return &SyntaxError{int32(start), "unterminated string or character constant"}
		}
	}
	return &SyntaxError{int32(start), "unterminated string or character constant"}
}
