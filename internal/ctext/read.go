// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"bytes"
	"fmt"
	"strconv"
)

// MaxText is the size up to which documents are read, in bytes.
const MaxText = 1 << 30

// maxIncludeDepth is more than GCC allows (-fmax-include-depth, 200).
const maxIncludeDepth = 1000

// hiddenPragma is what GCC leaves of a #pragma that it obeyed.
var hiddenPragma = []byte("       \n")

// Read takes the output of gcc -E -fdirectives-only: text with comments, line
// markers, and the #define, #undef and #pragma that are live. GCC's own macros
// and those of its command line are in it.
func Read(text []byte) (*Document, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("read C text: %d bytes are more than the %d that are allowed", len(text), MaxText)
	}
	r := reader{
		d:     &Document{Text: text, Names: NewNames(), Files: make([]string, 0, 1024)},
		files: map[string]int32{},
	}
	r.d.Includes = []Include{{Parent: -1, To: int32(len(text))}}
	r.lx = Lexer{Text: text, Names: r.d.Names}
	r.words = r.lx.words()
	for i, c := 0, 0; ; i++ {
		if c = bytes.IndexByte(text[i:], '\n'); c < 0 {
			break
		}
		i += c
		r.d.lines = append(r.d.lines, int32(i+1))
	}
	err := r.lines()
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		return nil, fmt.Errorf("read C text: %w", r.d.located(err))
	}
	return r.d, nil
}

// reader makes a Document.
type reader struct {
	d     *Document
	lx    Lexer // for directives
	words words
	files map[string]int32
	stays []int32 // indices of the Includes that are open, the main file not among them

	macros []Macro // room for the next ones
	tokens []Token // the same for bodies
}

// words are the names that directives and macros know.
type words struct {
	define, undef, pragma, ident, sccs, vaArgs Name
}

func (l *Lexer) words() words {
	n := l.Names
	return words{n.Of("define"), n.Of("undef"), n.Of("pragma"), n.Of("ident"), n.Of("sccs"), n.Of("__VA_ARGS__")}
}

// What lines looks at.
const (
	lookPlain = iota
	lookBlank
	lookNewline
	lookBackslash
	lookSlash
	lookQuote
	lookHash
)

var interest = func() (t [256]uint8) {
	for _, c := range []byte(" \t\r\v\f") {
		t[c] = lookBlank
	}
	t['\n'], t['\\'], t['/'], t['"'], t['\''], t['#'] = lookNewline, lookBackslash, lookSlash, lookQuote, lookQuote, lookHash
	return t
}()

// lines finds the directives: a # that only white space and comments precede on
// its line.
func (r *reader) lines() error {
	text := r.d.Text
	start := true // of the line
	for p := 0; p < len(text); {
		switch interest[text[p]] {
		case lookPlain:
			start = false
			p++
		case lookBlank:
			if start && bytes.HasPrefix(text[p:], hiddenPragma) && (p == 0 || text[p-1] == '\n') {
				r.d.Hidden = append(r.d.Hidden, int32(p))
				p += len(hiddenPragma) - 1
				continue
			}
			p++
		case lookNewline:
			start = true
			p++
		case lookBackslash:
			n := spliceLen(text[p:])
			start = start && n > 0
			p += max(1, n)
		case lookSlash:
			n, why := commentLen(text[p:])
			if why != "" {
				return &SyntaxError{Off: int32(p), Why: why}
			}
			start = start && n > 0
			p += max(1, n)
		case lookQuote:
			start = false
			p = r.quoted(p)
		case lookHash:
			if !start {
				p++
				continue
			}
			end, err := directiveEnd(text, p)
			if err == nil {
				err = r.directive(p, end)
			}
			if err != nil {
				return err
			}
			p = end
		}
	}
	return nil
}

// quoted passes a string or character constant.
func (r *reader) quoted(p int) int {
	q := Lexer{Text: r.d.Text, Pos: p, End: len(r.d.Text)}
	q.quoted(r.d.Text[p], String)
	return q.Pos
}

// directiveEnd finds the end of the directive at p: behind the newline that is
// neither spliced nor in a comment.
func directiveEnd(text []byte, p int) (int, error) {
	for p < len(text) {
		switch interest[text[p]] {
		case lookNewline:
			return p + 1, nil
		case lookBackslash:
			p += max(1, spliceLen(text[p:]))
		case lookSlash:
			n, why := commentLen(text[p:])
			if why != "" {
				return 0, &SyntaxError{Off: int32(p), Why: why}
			}
			p += max(1, n)
		case lookQuote:
			q := Lexer{Text: text, Pos: p, End: len(text)}
			q.quoted(text[p], String)
			p = q.Pos
		default:
			p++
		}
	}
	return p, nil
}

// directive reads the one between from and to.
func (r *reader) directive(from, to int) error {
	r.lx.Pos, r.lx.End = from+1, to
	t, ok, err := r.lx.Next()
	switch {
	case err != nil:
		return err
	case !ok:
		r.event(from, to, eventOther, 0) // a # alone
		return nil
	case t.Kind == Number:
		return r.marker(from, to, t)
	}
	switch t.Name {
	case r.words.define:
		return r.define(from, to)
	case r.words.undef:
		return r.undef(from, to)
	case r.words.pragma:
		r.d.Pragmas = append(r.d.Pragmas, Range{int32(from), int32(to)})
		fallthrough
	case r.words.ident, r.words.sccs:
		r.event(from, to, eventOther, 0)
		return nil
	}
	return &SyntaxError{Off: int32(from), Why: fmt.Sprintf("#%.40s is not what gcc -E -fdirectives-only leaves", r.d.Names.Text(t.Name))}
}

func (r *reader) event(from, to int, kind eventKind, arg int32) {
	r.d.events = append(r.d.events, event{int32(from), int32(to), kind, arg})
}

// marker reads a line marker: # line "file" flags (GCC manual, Preprocessor
// Output).
func (r *reader) marker(from, to int, number Token) error {
	bad := &SyntaxError{Off: int32(from), Why: "damaged line marker"}
	line, err := strconv.ParseInt(r.d.Names.Text(number.Name), 10, 32)
	if err != nil {
		return bad
	}
	name, ok, err := r.lx.Next()
	if err != nil || !ok || name.Kind != String || r.d.Text[name.Off] != '"' {
		return bad
	}
	s := segment{off: int32(to), line: int32(line), file: r.file(r.d.Text[name.Off+1 : name.To-1])}
	var enter, leave, system bool
	for {
		t, ok, err := r.lx.Next()
		if err != nil {
			return bad
		}
		if !ok {
			break
		}
		switch r.d.Names.Text(t.Name) {
		case "1":
			enter = true
		case "2":
			leave = true
		case "3":
			system = true
		case "4":
		default:
			return bad
		}
	}
	kind := eventMarker
	if enter {
		kind = eventEnter
		err = r.enter(from, s, system)
	} else if leave {
		kind = eventLeave
		err = r.leave(from, s)
	} else if len(r.stays) == 0 && !pseudo(r.d.Files[s.file]) {
		r.main(s)
	}
	s.depth = int32(len(r.stays))
	r.event(from, to, kind, int32(len(r.d.segments)))
	r.d.segments = append(r.d.segments, s)
	return err
}

// pseudo recognises files that GCC made up: <built-in>, <command-line>.
func pseudo(file string) bool { return len(file) > 0 && file[0] == '<' }

// main notes which file the main source is: the first one that GCC names.
func (r *reader) main(s segment) {
	if len(r.d.segments) == 0 {
		r.d.Includes[0].File = int(s.file)
	}
}

func (r *reader) enter(from int, s segment, system bool) error {
	if len(r.stays) >= maxIncludeDepth {
		return &SyntaxError{Off: int32(from), Why: "files are included too deep"}
	}
	in := Include{File: int(s.file), From: int32(from), To: -1, System: system}
	if n := len(r.stays); n > 0 {
		in.Parent = int(r.stays[n-1])
	} else if file, _ := r.d.place(int32(from)); pseudo(file) || len(r.d.segments) == 0 {
		in.Parent, in.Forced = -1, true
	}
	r.stays = append(r.stays, int32(len(r.d.Includes)))
	r.d.Includes = append(r.d.Includes, in)
	return nil
}

func (r *reader) leave(from int, s segment) error {
	n := len(r.stays)
	if n == 0 {
		return &SyntaxError{Off: int32(from), Why: "a line marker leaves a file that was not entered"}
	}
	in := &r.d.Includes[r.stays[n-1]]
	r.stays = r.stays[:n-1]
	in.To = int32(from)
	if !in.Forced {
		in.Line = int(s.line) - 1 // GCC goes on behind the directive
	}
	return nil
}

func (r *reader) finish() error {
	if len(r.d.segments) == 0 {
		return fmt.Errorf("it has no line markers; it must be made by gcc -E -fdirectives-only, without -P")
	}
	if len(r.stays) > 0 {
		in := r.d.Includes[r.stays[len(r.stays)-1]]
		return &SyntaxError{Off: in.From, Why: "the text ends in an included file: it was cut off"}
	}
	return nil
}

// file gives a file its id. GCC escapes names as in C (libcpp, cpp_quote_string).
func (r *reader) file(quoted []byte) int32 {
	if id, ok := r.files[string(quoted)]; ok {
		return id
	}
	id := int32(len(r.d.Files))
	r.files[string(quoted)] = id
	var name []byte
	for i := 0; i < len(quoted); i++ {
		c := quoted[i]
		if c == '\\' && i+1 < len(quoted) {
			i++
			if c = quoted[i]; c == 'n' {
				c = '\n'
			}
		}
		name = append(name, c)
	}
	r.d.Files = append(r.d.Files, string(name))
	return id
}
