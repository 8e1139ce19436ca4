// SPDX-License-Identifier: Apache-2.0

package ctext

import "fmt"

// arg is an argument of an invocation.
type arg struct {
	raw        []Token // as written; an eof follows it in memory
	omitted    bool    // a variable argument that is not there at all
	expanded   []Token
	isExpanded bool
}

// arguments are those of one invocation, and the buffer that they are in.
type arguments struct {
	args []arg
	toks []Token
}

// invocation reads the arguments that follow a macro's name (libcpp,
// funlike_invocation_p). If there are none, it gives back what it read.
func (e *expander) invocation(m *Macro) (args arguments, ok bool, err error) {
	e.prevent++
	defer func() { e.prevent-- }()
	var pad Token
	var t Token
	e.looking = true
	for {
		if t, err = e.token(); err != nil {
			return args, false, err
		}
		if t.Kind != padding {
			break
		}
		if pad.Kind == 0 || pad.Flags&sourced == 0 || pad.Flags&SpaceBefore == 0 && t.Flags&sourced == 0 {
			pad = t
		}
	}
	e.looking = false
	if t.Kind == Punct && t.Name == '(' {
		args, err = e.collect(m)
		return args, err == nil, err
	}
	n := len(e.ctx)
	if n == 0 && t.Kind == eof {
		return args, false, nil
	}
	if n == 0 {
		e.isAhead = true
		e.group.To = e.before
	} else {
		e.ctx[n-1].pos--
	}
	if pad.Kind != 0 {
		e.push(pad, 0, 0)
	}
	return args, false, nil
}

// collect reads arguments up to the closing parenthesis (libcpp, collect_args).
func (e *expander) collect(m *Macro) (arguments, error) {
	toks := e.buffer()
	n := len(m.Params)
	a := arguments{args: make([]arg, n)}
	var room [16]Range
	bounds := room[:0]
	for last := false; !last; {
		if len(bounds) >= max(n, 1) {
			return a, e.failed("macro %s is used with too many arguments", m)
		}
		from := len(toks)
		var err error
		if toks, last, err = e.collectOne(toks, m, m.Variadic && len(bounds) == n-1); err != nil {
			return a, err
		}
		bounds = append(bounds, Range{int32(from), int32(len(toks))})
		toks = append(toks, Token{Kind: eof})
	}
	if e.work += len(toks); e.work > e.max.work {
		return a, e.failed("macro %s expands without an end in sight", m)
	}
	a.toks = toks
	if n == 0 {
		if len(toks) > 1 {
			return a, e.failed("macro %s takes no arguments but is used with some", m)
		}
		return a, nil
	}
	if len(bounds) < n && !(m.Variadic && len(bounds) == n-1) {
		return a, e.failed("macro %s is used with too few arguments", m)
	}
	for i, r := range bounds {
		a.args[i].raw = toks[r.From:r.To]
	}
	// GNU: "b was omitted entirely" in , ## b.
	if m.Variadic && (len(bounds) < n || n == 1 && len(a.args[0].raw) == 0 && !e.strict()) {
		a.args[n-1].omitted = true
	}
	return a, nil
}

// collectOne appends one argument, up to a comma, which does not end a variable
// one, or the last parenthesis.
func (e *expander) collectOne(toks []Token, m *Macro, variable bool) (out []Token, last bool, err error) {
	from := len(toks)
	for depth := 0; ; {
		t, err := e.token()
		if err != nil {
			return toks, false, err
		}
		switch {
		case t.Kind == padding && len(toks) == from:
			continue
		case t.Kind == eof:
			return toks, false, e.failed("the arguments of macro %s do not end", m)
		case t.Kind == Punct && t.Name == '(':
			depth++
		case t.Kind == Punct && t.Name == ')':
			depth--
			last = depth < 0
		}
		if last || t.Kind == Punct && t.Name == ',' && depth == 0 && !variable {
			for len(toks) > from && toks[len(toks)-1].Kind == padding {
				toks = toks[:len(toks)-1]
			}
			return toks, last, nil
		}
		toks = append(toks, t)
	}
}

// strict tells whether GCC was asked for a C standard without GNU extensions.
func (e *expander) strict() bool {
	id, ok := e.d.Names.Lookup("__STRICT_ANSI__")
	return ok && e.macro(id) != 0
}

func (e *expander) failed(format string, m *Macro) error {
	return &SyntaxError{Off: e.group.From, Why: fmt.Sprintf(format, e.d.Names.Text(m.Name))}
}

// expand expands an argument by itself, once (libcpp, expand_arg).
func (e *expander) expand(a *arg) error {
	if a.isExpanded {
		return nil
	}
	a.isExpanded = true
	if len(a.raw) == 0 {
		return nil
	}
	if e.nested++; e.nested > e.max.nested {
		return &SyntaxError{Off: e.group.From, Why: "macro arguments are nested too deep"}
	}
	out := e.buffer()
	e.ctx = append(e.ctx, context{toks: a.raw[:len(a.raw)+1], arg: true})
	for {
		t, err := e.token()
		if err != nil {
			return err
		}
		if t.Kind == eof {
			break
		}
		out = append(out, t)
	}
	e.pop()
	e.nested--
	if e.work += len(out); e.work > e.max.work {
		return &SyntaxError{Off: e.group.From, Why: "the macros expand into each other without an end in sight"}
	}
	a.expanded = out
	return nil
}

// replace puts arguments into a body (libcpp, replace_args).
func (e *expander) replace(m *Macro, b *body, args []arg) ([]Token, error) {
	body := b.toks
	if b.vaOpt {
		var err error
		if body, err = e.chooseOpt(m, body, args); err != nil {
			return nil, err
		}
	}
	for i := range body { // first of all, in order: __COUNTER__ counts in it
		if t := &body[i]; t.Kind == param && t.Flags&(stringified|pasteLeft) == 0 && !pasted(body, i) && int(t.From) < len(args) {
			if err := e.expand(&args[t.From]); err != nil {
				return nil, err
			}
		}
	}
	out := e.buffer()
	for i, t := range body {
		if t.Kind != param {
			out = append(out, t)
			continue
		}
		var a *arg
		if int(t.From) < len(args) {
			a = &args[t.From]
		} else {
			a = &arg{} // what is left of __VA_OPT__
		}
		out = e.argument(out, m, body, i, a)
	}
	for i := range args {
		e.put(args[i].expanded)
		args[i].expanded = nil
	}
	return out, nil
}

// pasted tells whether ## precedes a token of a body.
func pasted(body []Token, i int) bool { return i > 0 && body[i-1].Flags&pasteLeft != 0 }

// argument appends what stands for the parameter body[i].
func (e *expander) argument(out []Token, m *Macro, body []Token, i int, a *arg) []Token {
	t := body[i]
	paste := -1 // the token of out that takes on t's pasteLeft
	var from []Token
	switch {
	case t.Flags&stringified != 0:
		from = []Token{e.stringify(a.raw)}
	case t.Flags&pasteLeft != 0 && !pasted(body, i):
		from = a.raw
	case pasted(body, i):
		from = a.raw
		if n := len(out); n > 0 {
			if l := out[n-1]; l.Kind == Punct && l.Name == ',' && m.Variadic && int(t.From) == len(m.Params)-1 {
				if a.omitted {
					out = out[:n-1]
				} else {
					paste = n - 1
				}
			} else if len(from) == 0 {
				paste = n - 1
			}
		}
	default:
		from = a.expanded
	}
	if i > 0 && !pasted(body, i) {
		out = append(out, padOf(t))
	}
	if len(from) > 0 {
		out = append(out, from...)
		if t.Flags&pasteLeft != 0 {
			paste = len(out) - 1
		}
	}
	if t.Flags&pasteLeft == 0 {
		out = append(out, Token{Kind: padding})
	}
	if paste >= 0 {
		out[paste].Flags = out[paste].Flags&^pasteLeft | t.Flags&pasteLeft
	}
	return out
}

// stringify makes a string of an argument (libcpp, stringify_arg).
func (e *expander) stringify(raw []Token) Token {
	text := append(e.text[:0], '"')
	var space spacing
	backslashes := 0
	for _, t := range raw {
		if t.Kind == padding {
			space.pad(t)
			continue
		}
		if space.of(t) != 0 && len(text) > 1 {
			text = append(text, ' ')
		}
		spelling := e.d.Names.Text(t.Name)
		if t.Kind == String || t.Kind == Char {
			for i := range len(spelling) {
				if c := spelling[i]; c == '"' || c == '\\' {
					text = append(text, '\\')
				}
				text = append(text, spelling[i])
			}
		} else {
			text = append(text, spelling...)
		}
		if t.Kind == Other && spelling == `\` {
			backslashes++
		} else {
			backslashes = 0
		}
	}
	if backslashes%2 == 1 { // GCC warns and leaves it out
		text = text[:len(text)-1]
	}
	text = append(text, '"')
	e.text = text
	return Token{Name: e.d.Names.OfBytes(text), Off: -1, Kind: String}
}

// paste puts together the tokens that ## joins, beginning with lhs, which was
// just read, and makes the result the next token (libcpp, paste_all_tokens).
func (e *expander) paste(lhs Token) error {
	c := &e.ctx[len(e.ctx)-1]
	lhs.Flags &^= pasteLeft
	for more := true; more && c.pos < len(c.toks); {
		rhs := c.toks[c.pos]
		c.pos++
		if rhs.Kind == padding {
			break
		}
		more = rhs.Flags&pasteLeft != 0
		e.text = append(append(e.text[:0], e.d.Names.Text(lhs.Name)...), e.d.Names.Text(rhs.Name)...)
		lx := Lexer{Text: e.text, End: len(e.text), Names: e.d.Names}
		t, ok, err := lx.Next()
		if err != nil || !ok || lx.Pos != lx.End || lhs.Kind == Punct && lhs.Name == '/' && rhs.Name != '=' {
			return &SyntaxError{Off: e.group.From, Why: fmt.Sprintf("## of %.60q and %.60q in a macro gives no token", e.d.Names.Text(lhs.Name), e.d.Names.Text(rhs.Name))}
		}
		lhs = Token{Name: t.Name, Off: -1, Kind: t.Kind, Flags: lhs.Flags & SpaceBefore}
	}
	e.push(lhs, c.macro, c.point)
	return nil
}
