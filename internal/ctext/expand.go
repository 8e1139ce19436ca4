// SPDX-License-Identifier: Apache-2.0

package ctext

import (
	"fmt"
	"slices"
	"sort"
)

// limits bound an expansion.
type limits struct {
	tokens int // in the result
	work   int // tokens copied on the way
	nested int // arguments in arguments
}

// The largest units of the kernel have 2 million tokens.
var defaultLimits = limits{tokens: 16 << 20, work: 256 << 20, nested: 4000}

// Expanded is a document with its macros expanded.
type Expanded struct {
	Doc    *Document
	Tokens []Token
	// Uses are the macros that were expanded, nested ones too, each once for an
	// outermost invocation; in order of At. GCC's own __LINE__ and the like are not
	// among them.
	Uses []Use
	// Pragmas are the outermost invocations that a _Pragma came out of, in order. Its
	// tokens are in none of Tokens.
	Pragmas []Range
}

// Use says that a macro was expanded.
type Use struct {
	At    int32 // From of the outermost invocation
	Macro int   // index in Document.Defines
}

// Text is the spelling of a token.
func (x *Expanded) Text(i int) string { return x.Doc.Names.Text(x.Tokens[i].Name) }

// MacrosIn returns which macros were expanded by invocations that begin in a
// range: indices in Document.Defines, each once, ascending.
func (x *Expanded) MacrosIn(from, to int32) []int {
	i := sort.Search(len(x.Uses), func(i int) bool { return x.Uses[i].At >= from })
	var out []int
	for ; i < len(x.Uses) && x.Uses[i].At < to; i++ {
		out = append(out, x.Uses[i].Macro)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Expand expands the macros of the whole document as GCC's preprocessor does
// (libcpp/macro.cc). One thing GCC knows is not in the document: a #if between
// the name of a macro with parameters and its parenthesis, which keeps GCC from
// expanding it.
func (d *Document) Expand() (*Expanded, error) { return d.expand(defaultLimits) }

func (d *Document) expand(max limits) (*Expanded, error) {
	e := newExpander(d)
	e.max = max
	if err := e.run(); err != nil {
		return nil, fmt.Errorf("expand macros: %w", d.located(err))
	}
	return &Expanded{Doc: d, Tokens: e.out, Uses: e.uses, Pragmas: e.pragmas}, nil
}

// Kinds that only the expander knows.
const (
	padding Kind = 100 + iota // where GCC would put white space; see spacing
	param                     // a parameter in a body; From is its index
	eof
)

// Flags that only the expander knows.
const (
	noExpand    = lastFlag << iota // a macro's name met within its own expansion
	pasteLeft                      // the next token is pasted to this one
	stringified                    // of a param: # precedes it
	sourced                        // of a padding: SpaceBefore is that of a token
)

// expander follows cpp_get_token and what it calls. Tokens in contexts have in To
// the offset whose line is that of a __LINE__ there, see point.
type expander struct {
	d    *Document
	max  limits
	lx   Lexer
	next int // event that the lexer comes to

	macros   []int32 // by Name: index in Defines plus 1; negative: a builtin; 0: none
	disabled []bool  // by Name: being expanded
	bodies   []*body // by index in Defines
	lastUse  []int32 // by index in Defines: At of its last use, plus 1

	ctx     []context
	prevent int  // collecting arguments: nothing is expanded
	looking bool // for the parenthesis after a name: directives end the search
	ahead   Token
	isAhead bool // ahead was read and given back
	nested  int
	work    int
	free    [][]Token // buffers to use again
	text    []byte    // scratch

	group   Range // the outermost invocation at hand
	before  int32 // group.To before the last token was read
	top     bool  // that is of a macro with parameters
	counter int

	out     []Token
	uses    []Use
	pragmas []Range
}

// context is a list of tokens to be read before what is below it.
type context struct {
	toks  []Token
	pos   int
	point int32 // of all its tokens, unless arg
	macro Name  // whose expansion this is; 0: none
	arg   bool  // an argument that is expanded by itself; ends in eof
	owned bool  // toks goes back to the free buffers
}

func newExpander(d *Document) *expander {
	e := &expander{
		d:       d,
		lx:      Lexer{Text: d.Text, Names: d.Names},
		bodies:  make([]*body, len(d.Defines)),
		lastUse: make([]int32, len(d.Defines)),
		out:     make([]Token, 0, len(d.Text)/5+64),
	}
	for name, b := range builtins {
		e.set(d.Names.Of(name), -int32(b))
	}
	e.bound()
	return e
}

// set makes a name a macro, or none.
func (e *expander) set(name Name, macro int32) {
	if int(name) >= len(e.macros) {
		n := max(int(name)+1, e.d.Names.Len())
		e.macros = append(e.macros, make([]int32, n-len(e.macros))...)
		e.disabled = append(e.disabled, make([]bool, n-len(e.disabled))...)
	}
	e.macros[name] = macro
}

func (e *expander) macro(name Name) int32 {
	if int(name) < len(e.macros) {
		return e.macros[name]
	}
	return 0
}

// bound stops the lexer at the next directive.
func (e *expander) bound() {
	e.lx.End = len(e.d.Text)
	if e.next < len(e.d.events) {
		e.lx.End = int(e.d.events[e.next].from)
	}
}

// base reads the next token of the document; at its end, or at a directive while
// looking for a parenthesis, eof.
func (e *expander) base() (Token, error) {
	if e.isAhead {
		e.isAhead = false
		e.before, e.group.To = e.group.To, e.ahead.To
		return e.ahead, nil
	}
	for {
		t, ok, err := e.lx.Next()
		if err != nil {
			return t, err
		}
		if ok {
			e.ahead = t // in case it is given back
			e.before, e.group.To = e.group.To, t.To
			return t, nil
		}
		if e.next >= len(e.d.events) {
			return Token{Kind: eof}, nil
		}
		ev := e.d.events[e.next]
		if e.looking && ev.kind != eventMarker || e.prevent > 0 && ev.kind == eventLeave {
			return Token{Kind: eof}, nil // arguments do not go on behind the end of a file
		}
		switch ev.kind {
		case eventDefine:
			e.set(e.d.Defines[ev.arg].Name, ev.arg+1)
		case eventUndef:
			e.set(Name(ev.arg), 0)
		}
		e.next++
		e.lx.Pos = int(ev.to)
		e.bound()
	}
}

// run expands everything.
func (e *expander) run() error {
	for {
		t, err := e.base()
		if err != nil {
			return err
		}
		if t.Kind == eof {
			return nil
		}
		id := int32(0)
		if t.Kind == Ident {
			id = e.macro(t.Name)
		}
		if id == 0 {
			err = e.emit(t)
		} else {
			err = e.outermost(t, id)
		}
		if err != nil {
			return err
		}
	}
}

// emit appends a token to the result, whose room doubles: append alone would copy
// long lists many times.
func (e *expander) emit(t Token) error {
	if n := len(e.out); n == cap(e.out) {
		e.out = slices.Grow(e.out, n)
	}
	if len(e.out) >= e.max.tokens {
		return &SyntaxError{Off: e.group.From, Why: fmt.Sprintf("the expansion has more than %d tokens", e.max.tokens)}
	}
	e.out = append(e.out, t)
	return nil
}

// outermost expands the macro that t is the name of, and all that follows from
// it.
func (e *expander) outermost(t Token, id int32) error {
	e.group = Range{t.From, t.To}
	e.top = id < 0 || e.d.Defines[id-1].FuncLike
	start := len(e.out)
	name := t
	name.To = t.Off
	entered, err := e.enter(name, id)
	if err != nil {
		return err
	}
	if !entered {
		return e.emit(t)
	}
	var space spacing
	space.pad(padOf(t))
	for len(e.ctx) > 0 {
		k, err := e.token()
		if err != nil {
			return err
		}
		if k.Kind == padding {
			space.pad(k)
			continue
		}
		k.Flags = k.Flags&Placeholder | space.of(k)
		if err := e.emit(k); err != nil {
			return err
		}
	}
	for i := start; i < len(e.out); i++ {
		e.out[i].From, e.out[i].To = e.group.From, e.group.To
	}
	if len(e.out) > start {
		e.out[start].Flags |= t.Flags & LineStart
	}
	return nil
}

// token is cpp_get_token: the next token, expanded where that is allowed, or a
// padding.
func (e *expander) token() (Token, error) {
	var t Token
	if n := len(e.ctx); n == 0 {
		var err error
		if t, err = e.base(); err != nil {
			return t, err
		}
		t.To = t.Off
	} else {
		c := &e.ctx[n-1]
		if c.pos == len(c.toks) {
			e.pop()
			return Token{Kind: padding}, nil
		}
		t = c.toks[c.pos]
		c.pos++
		if !c.arg {
			t.To = c.point
		}
		if t.Flags&pasteLeft != 0 {
			return padOf(t), e.paste(t)
		}
	}
	if t.Kind != Ident || t.Flags&noExpand != 0 {
		return t, nil
	}
	id := e.macro(t.Name)
	if id == 0 {
		return t, nil
	}
	if e.disabled[t.Name] {
		t.Flags |= noExpand
		return t, nil
	}
	if e.prevent > 0 {
		return t, nil
	}
	entered, err := e.enter(t, id)
	if entered || err != nil {
		return padOf(t), err
	}
	return t, nil
}

// enter makes the expansion of a macro the next tokens. It returns false for the
// name of a macro with parameters that no arguments follow.
func (e *expander) enter(t Token, id int32) (bool, error) {
	if id < 0 {
		return e.builtin(t, builtin(-id))
	}
	m, b := e.d.Defines[id-1], e.bodies[id-1]
	if b == nil {
		var err error
		if b, err = e.compile(m); err != nil {
			return false, err
		}
		e.bodies[id-1] = b
	}
	c := context{toks: b.toks, macro: m.Name, point: t.To}
	if m.FuncLike {
		args, ok, err := e.invocation(m)
		if err != nil || !ok {
			return false, err
		}
		e.use(id - 1)
		if len(m.Params) > 0 {
			if c.toks, err = e.replace(m, b, args.args); err != nil {
				return false, err
			}
			c.owned = true
		}
		e.put(args.toks)
	} else {
		e.use(id - 1)
	}
	e.disabled[m.Name] = true
	e.ctx = append(e.ctx, c)
	if e.work += len(c.toks); e.work > e.max.work {
		return false, &SyntaxError{Off: e.group.From, Why: "the macros expand into each other without an end in sight"}
	}
	return true, nil
}

func (e *expander) use(macro int32) {
	if e.lastUse[macro] != e.group.From+1 {
		e.lastUse[macro] = e.group.From + 1
		e.uses = append(e.uses, Use{e.group.From, int(macro)})
	}
}

// pop leaves a context. A macro may be expanded again when the last one of its
// contexts is left.
func (e *expander) pop() {
	n := len(e.ctx) - 1
	c := e.ctx[n]
	if c.macro != 0 && (n == 0 || e.ctx[n-1].macro != c.macro) {
		e.disabled[c.macro] = false
	}
	if c.owned {
		e.put(c.toks)
	}
	e.ctx = e.ctx[:n]
}

// push makes one token the next.
func (e *expander) push(t Token, macro Name, point int32) {
	e.ctx = append(e.ctx, context{toks: append(e.buffer(), t), macro: macro, point: point, owned: true})
}

// buffer returns an empty list with room.
func (e *expander) buffer() []Token {
	if n := len(e.free); n > 0 {
		b := e.free[n-1]
		e.free = e.free[:n-1]
		return b
	}
	return make([]Token, 0, 64)
}

func (e *expander) put(b []Token) {
	if cap(b) > 0 {
		e.free = append(e.free, b[:0])
	}
}

// padOf is a padding that has the white space of t.
func padOf(t Token) Token {
	return Token{Kind: padding, Flags: sourced | t.Flags&SpaceBefore}
}

// spacing works out whether white space precedes a token from the paddings before
// it: the first that has a token's white space counts, but a padding without one
// takes back that of a token that has none (libcpp/macro.cc, stringify_arg).
type spacing struct{ source Flags }

func (w *spacing) pad(p Token) {
	if w.source&sourced == 0 || w.source&SpaceBefore == 0 && p.Flags&sourced == 0 {
		w.source = p.Flags
	}
}

// of returns SpaceBefore or 0 for the token that comes next.
func (w *spacing) of(t Token) Flags {
	f := t.Flags
	if w.source&sourced != 0 {
		f = w.source
	}
	w.source = 0
	return f & SpaceBefore
}
