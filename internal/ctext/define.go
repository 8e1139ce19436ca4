// SPDX-License-Identifier: Apache-2.0

package ctext

import "fmt"

// define reads a #define whose name comes next.
func (r *reader) define(from, to int) error {
	if len(r.macros) == 0 {
		r.macros = make([]Macro, 1024)
	}
	m := &r.macros[0]
	*m = Macro{From: int32(from), To: int32(to), Undef: -1}
	if err := r.head(m); err != nil {
		return err
	}
	if err := r.body(m); err != nil {
		return err
	}
	r.macros = r.macros[1:]
	d := r.d
	file, _ := d.place(int32(from))
	m.Predefined = pseudo(file)
	m.previous = r.end(m.Name, m.From)
	d.Defines = append(d.Defines, m)
	d.latest[m.Name] = int32(len(d.Defines))
	r.event(from, to, eventDefine, int32(len(d.Defines)-1))
	return nil
}

// undef reads a #undef whose name comes next.
func (r *reader) undef(from, to int) error {
	t, ok, err := r.lx.Next()
	if err != nil {
		return err
	}
	if !ok || t.Kind != Ident {
		return &SyntaxError{Off: int32(from), Why: "#undef without a name"}
	}
	r.end(t.Name, int32(from))
	r.event(from, to, eventUndef, int32(t.Name))
	return nil
}

// end says that the definition of a name ends at off, and returns its index in
// Defines plus 1.
func (r *reader) end(name Name, off int32) int32 {
	d := r.d
	if int(name) >= len(d.latest) {
		d.latest = append(d.latest, make([]int32, max(int(name)+1, 2*len(d.latest))-len(d.latest))...)
	}
	i := d.latest[name]
	if i != 0 && d.Defines[i-1].Undef < 0 {
		d.Defines[i-1].Undef = off
	}
	return i
}

// head reads name and parameters.
func (r *reader) head(m *Macro) error {
	lx := &r.lx
	t, ok, err := lx.Next()
	if err != nil {
		return err
	}
	if !ok || t.Kind != Ident {
		return &SyntaxError{Off: m.From, Why: "#define without a name"}
	}
	m.Name = t.Name
	if lx.at(0) != '(' {
		return nil
	}
	m.FuncLike = true
	lx.Pos++
	bad := &SyntaxError{Off: m.From, Why: fmt.Sprintf("damaged parameters of macro %s", r.d.Names.Text(m.Name))}
	for {
		t, ok, err := lx.Next()
		if err != nil || !ok {
			return bad
		}
		switch {
		case t.Kind == Punct && t.Name == ')' && len(m.Params) == 0:
			return nil
		case t.Kind == Ident && !m.Variadic:
			m.Params = append(m.Params, t.Name)
		case t.Kind == Punct && r.d.Names.Text(t.Name) == "..." && !m.Variadic:
			m.Variadic = true
			m.Params = append(m.Params, r.words.vaArgs)
		default:
			return bad
		}
		t, ok, err = lx.Next()
		if err == nil && ok && t.Kind == Punct && r.d.Names.Text(t.Name) == "..." && !m.Variadic {
			m.Variadic = true // GNU: args...
			t, ok, err = lx.Next()
		}
		switch {
		case err != nil || !ok || t.Kind != Punct:
			return bad
		case t.Name == ')':
			return nil
		case t.Name != ',':
			return bad
		}
	}
}

// body reads the replacement.
func (r *reader) body(m *Macro) error {
	if cap(r.tokens)-len(r.tokens) < 64 {
		r.tokens = make([]Token, 0, 1<<14)
	}
	start := len(r.tokens)
	for {
		t, ok, err := r.lx.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if t.Flags &^= LineStart; len(r.tokens) == start {
			t.Flags = 0
		}
		if len(r.tokens) == cap(r.tokens) { // move the one at hand to new room
			moved := make([]Token, len(r.tokens)-start, 2*(len(r.tokens)-start)+1<<14)
			copy(moved, r.tokens[start:])
			r.tokens, start = moved, 0
		}
		r.tokens = append(r.tokens, t)
	}
	if n := len(r.tokens); n > start {
		m.Body = r.tokens[start:n:n]
	}
	return nil
}

// DefineText returns a #define in the layout of its source, with all its lines
// and comments, except a comment behind it that goes on after its last line.
// Source is the file that it comes from; if that does not hold these very tokens
// at that line, or is nil, the result is GCC's text, on one line. No newline at
// the end.
func (d *Document) DefineText(m *Macro, source []byte) string {
	normal := trimNewline(d.Text[m.From:m.To])
	_, line := d.Position(m.From)
	p := lineOffset(source, line)
	if p < 0 {
		return string(normal)
	}
	for p < len(source) { // comments may precede it on its line
		if class[source[p]] == blank {
			p++
			continue
		}
		n, _ := commentLen(source[p:])
		if source[p] != '/' || n == 0 {
			break
		}
		p += n
	}
	if p >= len(source) || source[p] != '#' {
		return string(normal)
	}
	end, err := directiveEnd(source, p)
	if err != nil || end-p > 1<<20 {
		return string(normal)
	}
	text := source[p:end]
	last, ok := d.sameTokens(normal, text)
	if !ok {
		return string(normal)
	}
	rest := trimNewline(text[last:])
	for len(rest) > 0 && rest[len(rest)-1] == '\\' { // joined to an empty line
		rest = trimNewline(rest[:len(rest)-1])
	}
	if hasBareNewline(rest) {
		rest = nil
	}
	return string(text[:last+len(rest)])
}

func trimNewline(text []byte) []byte {
	for len(text) > 0 && (text[len(text)-1] == '\n' || class[text[len(text)-1]] == blank) {
		text = text[:len(text)-1]
	}
	return text
}

// lineOffset is where a line, counted from 1, begins; -1 if there is none.
func lineOffset(text []byte, line int) int {
	p := 0
	for n := 1; ; n++ {
		if p >= len(text) || line < 1 {
			return -1
		}
		if n == line {
			return p
		}
		for p < len(text) && text[p] != '\n' {
			p++
		}
		p++
	}
}

// hasBareNewline finds a newline that no backslash precedes.
func hasBareNewline(text []byte) bool {
	for i := 0; i < len(text); {
		if n := spliceLen(text[i:]); n > 0 {
			i += n
			continue
		}
		if text[i] == '\n' {
			return true
		}
		i++
	}
	return false
}

// sameTokens compares two texts of a directive, and returns where the last token
// of the second ends.
func (d *Document) sameTokens(a, b []byte) (last int, ok bool) {
	x := Lexer{Text: a, End: len(a), Names: d.Names}
	y := Lexer{Text: b, End: len(b), Names: d.Names}
	var at, at2 int32 // where the tokens before end
	for i := 0; ; i++ {
		s, more, err := x.Next()
		t, more2, err2 := y.Next()
		if err != nil || err2 != nil || more != more2 {
			return 0, false
		}
		// # define NAME ( : a parenthesis right behind the name begins parameters.
		if i == 3 && s.Name == '(' && (s.From == at) != (t.From == at2) {
			return 0, false
		}
		at, at2 = s.To, t.To
		if !more {
			return last, true
		}
		if s.Name != t.Name || s.Kind != t.Kind {
			return 0, false
		}
		last = int(t.To)
	}
}
