// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"bytes"
	"fmt"
)

// SyntaxError says where a document is not C as text.
type SyntaxError struct {
	Off  int32  // in the document
	File string // where that comes from; "" if not known
	Line int
	Why  string
}

func (e *SyntaxError) Error() string {
	if e.File != "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Why)
	}
	return fmt.Sprintf("byte %d: %s", e.Off, e.Why)
}

// Lexer cuts a stretch of a document into tokens. Directives are none of its
// business: the caller stops it at line ends.
type Lexer struct {
	Text  []byte
	Pos   int // next byte
	End   int // behind the last byte
	Names *Names

	spliced bool // the token at hand contains a spliced line
}

// Classes of bytes.
const (
	letter = 1 << iota // begins an identifier; $ and bytes of UTF-8 are GCC's
	digit
	blank // white space, not the newline
)

var class = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '$', c >= 0x80:
			t[c] = letter
		case c >= '0' && c <= '9':
			t[c] = digit
		case c == ' ', c == '\t', c == '\r', c == '\v', c == '\f':
			t[c] = blank
		}
	}
	return t
}()

// Next returns the next token; ok is false at the end. A token's range is that
// of its spelling.
func (l *Lexer) Next() (tok Token, ok bool, err error) {
	var flags Flags
	if l.Pos == 0 || l.Text[l.Pos-1] == '\n' {
		flags = SpaceBefore | LineStart
	}
	// Most tokens follow one another or one blank.
	if l.Pos < l.End && l.Text[l.Pos] == ' ' {
		l.Pos++
		flags |= SpaceBefore
	}
	if l.Pos < l.End && class[l.Text[l.Pos]]&(letter|digit) == 0 {
		more, err := l.skip()
		if err != nil {
			return tok, false, err
		}
		flags |= more
	}
	if l.Pos >= l.End {
		return tok, false, nil
	}
	start := l.Pos
	l.spliced = false
	kind, err := l.scan()
	if err != nil {
		return tok, false, err
	}
	text := l.Text[start:l.Pos]
	if l.spliced {
		text = unsplice(text)
	}
	return Token{Name: l.Names.OfBytes(text), Off: int32(start), From: int32(start), To: int32(l.Pos), Kind: kind, Flags: flags}, true, nil
}

// skip passes white space, comments and spliced lines.
func (l *Lexer) skip() (flags Flags, err error) {
	for l.Pos < l.End {
		c := l.Text[l.Pos]
		switch {
		case class[c] == blank:
			l.Pos++
		case c == '\n':
			flags |= LineStart
			l.Pos++
		case c == '\\':
			n := spliceLen(l.Text[l.Pos:l.End])
			if n == 0 {
				return flags, nil
			}
			l.Pos += n
			continue // white space only if some is beside it
		case c == '/':
			n, err := commentLen(l.Text[l.Pos:l.End])
			if err != "" {
				return 0, &SyntaxError{Off: int32(l.Pos), Why: err}
			}
			if n == 0 {
				return flags, nil
			}
			l.Pos += n
		default:
			return flags, nil
		}
		flags |= SpaceBefore
	}
	return flags, nil
}

// spliceLen is the length of a backslash and newline that text begins with. GCC
// takes white space between the two for nothing (libcpp/lex.cc, _cpp_clean_line).
func spliceLen(text []byte) int {
	if len(text) < 2 || text[0] != '\\' {
		return 0
	}
	for i := 1; i < len(text); i++ {
		if text[i] == '\n' {
			return i + 1
		}
		if class[text[i]] != blank {
			break
		}
	}
	return 0
}

// unsplice joins spliced lines.
func unsplice(text []byte) []byte {
	var out []byte
	for i := 0; i < len(text); {
		if n := spliceLen(text[i:]); n > 0 {
			i += n
			continue
		}
		out = append(out, text[i])
		i++
	}
	return out
}

// commentLen is the length of the comment that text begins with: 0 if it begins
// with none. A line comment ends before its newline.
func commentLen(text []byte) (n int, err string) {
	if len(text) < 2 {
		return 0, ""
	}
	switch text[1] {
	case '*':
		n := bytes.Index(text[2:], []byte("*/"))
		if n < 0 {
			return 0, "unterminated comment"
		}
		return n + 4, ""
	case '/':
		i := 2
		for i < len(text) && text[i] != '\n' {
			i += max(1, spliceLen(text[i:]))
		}
		return i, ""
	case '\\':
		if n := 1 + spliceLen(text[1:]); n > 1 && n < len(text) && (text[n] == '*' || text[n] == '/') {
			return 0, "a comment that begins across a spliced line is not read; join the line"
		}
	}
	return 0, ""
}

func (l *Lexer) at(n int) byte {
	if l.Pos+n < l.End {
		return l.Text[l.Pos+n]
	}
	return 0
}

// scan passes one token.
func (l *Lexer) scan() (Kind, error) {
	c := l.Text[l.Pos]
	switch {
	case class[c] == letter:
		return l.word()
	case class[c] == digit || c == '.' && class[l.at(1)] == digit:
		l.number()
		return Number, nil
	case c == '"':
		return l.quoted('"', String), nil
	case c == '\'':
		return l.quoted('\'', Char), nil
	case c == '\\' || c == '@' || c == '`' || c < ' ' || c == 0x7f:
		l.Pos++
		return Other, nil
	}
	l.punct()
	return Punct, nil
}

// splice passes spliced lines within a token.
func (l *Lexer) splice() bool {
	any := false
	for l.Pos < l.End && l.Text[l.Pos] == '\\' {
		n := spliceLen(l.Text[l.Pos:l.End])
		if n == 0 {
			break
		}
		l.Pos += n
		any = true
	}
	l.spliced = l.spliced || any
	return any
}

// spliceBefore passes spliced lines within a token if one of the characters that
// go on with it follows. Those at its end are not part of it.
func (l *Lexer) spliceBefore(classes uint8, also byte) bool {
	pos, spliced := l.Pos, l.spliced
	if l.splice() && (class[l.at(0)]&classes != 0 || also != 0 && l.at(0) == also) {
		return true
	}
	l.Pos, l.spliced = pos, spliced
	return false
}

// word passes an identifier, or the string or character constant that it is
// the prefix of.
func (l *Lexer) word() (Kind, error) {
	start := l.Pos
	for {
		for l.Pos < l.End && class[l.Text[l.Pos]]&(letter|digit) != 0 {
			l.Pos++
		}
		if !l.spliceBefore(letter|digit, 0) {
			break
		}
	}
	if l.Pos-start > 3 || l.at(0) != '"' && l.at(0) != '\'' {
		return Ident, nil
	}
	switch q := l.at(0); string(l.Text[start:l.Pos]) {
	case "L", "u", "U", "u8":
		if q == '"' {
			return l.quoted('"', String), nil
		}
		return l.quoted('\'', Char), nil
	case "R", "LR", "uR", "UR", "u8R":
		if q == '"' {
			return 0, &SyntaxError{Off: int32(start), Why: "raw string constants are not read; write it as an ordinary one"}
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
		case class[c]&(letter|digit) != 0 || c == '.':
			l.Pos++
		default:
			if !l.spliceBefore(letter|digit, '.') {
				return
			}
		}
	}
}

// quoted passes a constant that may have a prefix. If nothing closes it, the
// line is one token (libcpp/lex.cc, lex_string).
func (l *Lexer) quoted(q byte, kind Kind) Kind {
	for l.Pos++; l.Pos < l.End; {
		switch l.Text[l.Pos] {
		case '\\':
			if l.splice() {
				continue
			}
			l.Pos++
			if l.Pos < l.End && l.Text[l.Pos] != '\n' && l.Text[l.Pos] != '\\' {
				l.Pos++
			} else if l.Pos < l.End && l.Text[l.Pos] == '\\' && !l.splice() {
				l.Pos++
			}
		case q:
			l.Pos++
			return kind
		case '\n':
			return Other
		default:
			l.Pos++
		}
	}
	return Other
}

// punct passes a punctuator.
func (l *Lexer) punct() {
	if l.at(1) == '\\' || l.at(2) == '\\' {
		l.splicedPunct()
		return
	}
	l.Pos += punctLen(l.Text[l.Pos], l.at(1), l.at(2), l.at(3))
}

// splicedPunct is punct for one whose characters may stand on several lines.
func (l *Lexer) splicedPunct() {
	var c [4]byte
	var ends [4]int
	start := l.Pos
	for i := range c {
		if l.Pos >= l.End {
			break
		}
		c[i] = l.Text[l.Pos]
		l.Pos++
		ends[i] = l.Pos
		l.splice()
	}
	end := ends[punctLen(c[0], c[1], c[2], c[3])-1]
	l.spliced = end-start > len(unsplice(l.Text[start:end]))
	l.Pos = end
}

// punctLen is the length of the longest punctuator among the next characters
// (C11 6.4.6).
func punctLen(c, c1, c2, c3 byte) int {
	switch c {
	case '.':
		if c1 == '.' && c2 == '.' {
			return 3
		}
	case '<', '>':
		switch {
		case c1 == c && c2 == '=':
			return 3
		case c1 == c || c1 == '=' || c == '<' && (c1 == ':' || c1 == '%'):
			return 2
		}
	case '-':
		if c1 == '>' || c1 == c || c1 == '=' {
			return 2
		}
	case '+', '&', '|':
		if c1 == c || c1 == '=' {
			return 2
		}
	case '=', '!', '*', '/', '^':
		if c1 == '=' {
			return 2
		}
	case '%':
		switch {
		case c1 == ':' && c2 == '%' && c3 == ':':
			return 4
		case c1 == '=' || c1 == '>' || c1 == ':':
			return 2
		}
	case ':':
		if c1 == '>' {
			return 2
		}
	case '#':
		if c1 == '#' {
			return 2
		}
	}
	return 1
}
