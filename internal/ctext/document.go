// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// Range is a stretch of a document, in bytes; To is behind its end.
type Range struct{ From, To int32 }

// Document is one translation unit as text: macros unexpanded, everything that
// #if left out gone. Positions are offsets into Text.
type Document struct {
	Text     []byte
	Names    *Names
	Files    []string  // by file id; paths as GCC names them, <built-in> and <command-line> too
	Includes []Include // every stay in a file: [0] is the main source; in order of From
	Defines  []*Macro  // every #define in order of From, GCC's own and the command line's first
	Pragmas  []Range   // #pragma lines
	// Hidden are lines where GCC took out a pragma that it had obeyed: once,
	// poison, system_header, push_macro, pop_macro … (or of just seven blanks).
	// See CheckHidden.
	Hidden []int32

	events   []event
	segments []segment // in order of off
	lines    []int32   // offsets of the line starts
	latest   []int32   // by Name: index in Defines of its last definition, plus 1
}

// Include is one stay in a file.
type Include struct {
	File     int   // id
	Parent   int   // index into Includes; -1 for the main file and for those of the command line
	Line     int   // of the #include directive in the parent; 0 if there is none
	From, To int32 // nested stays included; that of the main file is the whole document
	System   bool  // GCC takes it for a system header
	Forced   bool  // by -include, or by GCC itself, before the main file
}

// Macro is one #define.
type Macro struct {
	Name       Name
	From, To   int32 // of the whole directive, its newline included
	Undef      int32 // offset of the #undef or redefinition that ends it, or -1
	FuncLike   bool
	Variadic   bool
	Predefined bool    // by GCC or its command line
	Params     []Name  // the last one of a variadic macro is __VA_ARGS__ or has a name of its own
	Body       []Token // as spelled, with # and ##

	previous int32 // index in Defines of the definition of this name before it, plus 1
}

// event is a line that is not text.
type event struct {
	from, to int32
	kind     eventKind
	arg      int32 // index in Defines, Name, or index in segments
}

type eventKind uint8

const (
	eventMarker eventKind = iota // line marker that neither enters nor leaves
	eventEnter
	eventLeave
	eventDefine
	eventUndef
	eventOther // #pragma, #ident
)

// segment is the text behind a line marker.
type segment struct {
	off   int32 // where it begins
	line  int32 // the line there, in file
	file  int32
	depth int32 // stays around it
}

// Position returns where an offset comes from: a file and a line of it, counted
// from 1, after #line. Lines of <built-in> are 0.
func (d *Document) Position(off int32) (file int, line int) {
	s := d.segmentAt(off)
	if s == nil {
		return 0, 0
	}
	return int(s.file), int(s.line) + d.lineIndex(off) - d.lineIndex(s.off)
}

func (d *Document) segmentAt(off int32) *segment {
	i := sort.Search(len(d.segments), func(i int) bool { return d.segments[i].off > off })
	if i == 0 {
		return nil
	}
	return &d.segments[i-1]
}

// lineIndex is the number of newlines before an offset.
func (d *Document) lineIndex(off int32) int {
	i, found := slices.BinarySearch(d.lines, off)
	if found {
		i++
	}
	return i
}

// IncludeAt returns the innermost stay that holds the offset, as index into
// Includes.
func (d *Document) IncludeAt(off int32) int {
	i := sort.Search(len(d.Includes), func(i int) bool { return d.Includes[i].From > off }) - 1
	for i > 0 && d.Includes[i].To <= off {
		i = max(d.Includes[i].Parent, 0)
	}
	return max(i, 0)
}

// MacroAt returns the definition of a name that is live at an offset, or nil.
func (d *Document) MacroAt(name Name, off int32) *Macro {
	if int(name) >= len(d.latest) {
		return nil
	}
	for i := d.latest[name]; i != 0; {
		m := d.Defines[i-1]
		if m.To <= off {
			if m.Undef >= 0 && m.Undef <= off {
				return nil
			}
			return m
		}
		i = m.previous
	}
	return nil
}

// Lex returns the tokens of a stretch, unexpanded. Lines of directives are
// skipped; the stretch must not begin or end within one, or within a token.
func (d *Document) Lex(from, to int32) ([]Token, error) {
	if from < 0 || from > to || int(to) > len(d.Text) {
		return nil, fmt.Errorf("read tokens: %d to %d is no range of a document of %d bytes", from, to, len(d.Text))
	}
	var out []Token
	lx := Lexer{Text: d.Text, Pos: int(from), Names: d.Names}
	next := sort.Search(len(d.events), func(i int) bool { return d.events[i].to > from })
	for {
		lx.End = int(to)
		if next < len(d.events) {
			lx.End = min(lx.End, int(d.events[next].from))
		}
		for {
			t, ok, err := lx.Next()
			if err != nil {
				return nil, d.located(err)
			}
			if !ok {
				break
			}
			out = append(out, t)
		}
		if next >= len(d.events) || d.events[next].from >= to {
			return out, nil
		}
		lx.Pos = min(int(d.events[next].to), int(to))
		next++
	}
}

// located gives an error of the lexer its place in the source.
func (d *Document) located(err error) error {
	if e, ok := err.(*SyntaxError); ok && e.File == "" && len(d.segments) > 0 {
		e.File, e.Line = d.place(e.Off)
	}
	return err
}

func (d *Document) place(off int32) (string, int) {
	file, line := d.Position(off)
	if file >= len(d.Files) {
		return "", line
	}
	return d.Files[file], line
}

// errorf is a SyntaxError with its place.
func (d *Document) errorf(off int32, format string, args ...any) error {
	return d.located(&SyntaxError{Off: off, Why: fmt.Sprintf(format, args...)})
}

// CheckHidden refuses a document in which GCC obeyed push_macro or pop_macro:
// its -fdirectives-only output shows neither, nor what pop_macro defined, so
// Expand would not know the macro. Source returns the text of a file, called as
// in Files.
func (d *Document) CheckHidden(source func(file string) ([]byte, error)) error {
	texts := map[string][][]byte{}
	for _, off := range d.Hidden {
		file, line := d.place(off)
		lines, ok := texts[file]
		if !ok {
			text, err := source(file)
			if err != nil {
				return fmt.Errorf("look for hidden pragmas: %w", err)
			}
			lines = bytes.Split(text, []byte("\n"))
			texts[file] = lines
		}
		if line < 1 || line > len(lines) {
			return d.errorf(off, "the file has no such line; it is not the one that was compiled")
		}
		if l := lines[line-1]; bytes.Contains(l, []byte("push_macro")) || bytes.Contains(l, []byte("pop_macro")) {
			return d.errorf(off, "#pragma push_macro and pop_macro cannot be followed; write the #define out")
		}
	}
	return nil
}
