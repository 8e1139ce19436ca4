// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"strconv"
	"strings"
)

// builtin is a macro of GCC's that has no #define (libcpp/init.cc,
// builtin_array).
type builtin int32

const (
	builtinLine builtin = iota + 1
	builtinFile
	builtinFileName
	builtinBaseFile
	builtinLevel
	builtinCounter
	builtinDate
	builtinTime
	builtinTimestamp
	builtinHas     // __has_attribute and its kind: their value is GCC's secret
	builtinInclude // only allowed in #if
	builtinPragma
)

var builtins = map[string]builtin{
	"__LINE__": builtinLine, "__FILE__": builtinFile, "__FILE_NAME__": builtinFileName, "__BASE_FILE__": builtinBaseFile,
	"__INCLUDE_LEVEL__": builtinLevel, "__COUNTER__": builtinCounter,
	"__DATE__": builtinDate, "__TIME__": builtinTime, "__TIMESTAMP__": builtinTimestamp,
	"__has_attribute": builtinHas, "__has_cpp_attribute": builtinHas, "__has_c_attribute": builtinHas, "__has_builtin": builtinHas,
	"__has_include": builtinInclude, "__has_include_next": builtinInclude,
	"_Pragma": builtinPragma,
}

// builtin is enter for one of them.
func (e *expander) builtin(t Token, b builtin) (bool, error) {
	d := e.d
	result := Token{Off: -1, Kind: Number}
	text := ""
	point := t.To
	if !e.top {
		point = e.group.From
	}
	switch b {
	case builtinLine:
		_, line := d.Position(point)
		text = strconv.Itoa(line)
	case builtinFile:
		file, _ := d.place(point)
		text, result.Kind = quote(file), String
	case builtinFileName:
		if !e.since(12) {
			return false, nil
		}
		file, _ := d.place(point)
		text, result.Kind = quote(file[strings.LastIndexByte(file, '/')+1:]), String
	case builtinBaseFile:
		text, result.Kind = quote(d.Files[d.Includes[0].File]), String
	case builtinLevel:
		text = "0"
		if s := d.segmentAt(e.group.From); s != nil {
			text = strconv.Itoa(int(s.depth))
		}
	case builtinCounter:
		text = strconv.Itoa(e.counter)
		e.counter++
	case builtinDate:
		text, result.Kind, result.Flags = `"??? ?? ????"`, String, Placeholder
	case builtinTime:
		text, result.Kind, result.Flags = `"??:??:??"`, String, Placeholder
	case builtinTimestamp:
		text, result.Kind, result.Flags = `"??? ??? ?? ??:??:?? ????"`, String, Placeholder
	case builtinHas:
		if _, err := e.parenthesized(t); err != nil {
			return false, err
		}
		text, result.Flags = "1", Placeholder
	case builtinInclude:
		return false, &SyntaxError{Off: e.group.From, Why: d.Names.Text(t.Name) + " outside of #if"}
	case builtinPragma:
		return true, e.pragma(t)
	}
	result.Name = d.Names.Of(text)
	e.push(result, 0, t.To)
	return true, nil
}

// since tells whether the document was made by a GCC of at least this version.
func (e *expander) since(version int) bool {
	id, ok := e.d.Names.Lookup("__GNUC__")
	if !ok || e.macro(id) <= 0 {
		return false
	}
	body := e.d.Defines[e.macro(id)-1].Body
	if len(body) != 1 {
		return false
	}
	n, err := strconv.Atoi(e.d.Names.Text(body[0].Name))
	return err == nil && n >= version
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// quote makes a string constant of a file's name.
func quote(s string) string { return `"` + escapes.Replace(s) + `"` }

// parenthesized reads a parenthesized list behind t and returns its first token.
func (e *expander) parenthesized(t Token) (first Token, err error) {
	bad := &SyntaxError{Off: e.group.From, Why: e.d.Names.Text(t.Name) + " without its parentheses"}
	depth := 0
	for n := 0; ; {
		k, err := e.token()
		if err != nil {
			return first, err
		}
		if k.Kind == padding {
			continue
		}
		isPunct := k.Kind == Punct
		switch {
		case k.Kind == eof, n == 0 && (!isPunct || k.Name != '('):
			return first, bad
		case isPunct && k.Name == '(':
			depth++
		case isPunct && k.Name == ')':
			if depth--; depth == 0 {
				return first, nil
			}
		}
		if n++; n == 2 {
			first = k
		}
	}
}

// pragma passes a _Pragma ("…").
func (e *expander) pragma(t Token) error {
	text, err := e.parenthesized(t)
	if err != nil {
		return err
	}
	spelling := e.d.Names.Text(text.Name)
	if text.Kind != String {
		return &SyntaxError{Off: e.group.From, Why: "_Pragma takes a string constant"}
	}
	if strings.Contains(spelling, "push_macro") || strings.Contains(spelling, "pop_macro") {
		return &SyntaxError{Off: e.group.From, Why: "_Pragma push_macro and pop_macro cannot be followed; write the #define out"}
	}
	if n := len(e.pragmas); n == 0 || e.pragmas[n-1].From != e.group.From {
		e.pragmas = append(e.pragmas, e.group)
	} else {
		e.pragmas[n-1].To = max(e.pragmas[n-1].To, e.group.To)
	}
	return nil
}
