// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"fmt"

	"kmend/internal/ctext"
)

// maxDepth bounds how deep brackets and statements may nest, since the parser
// calls itself for each level.
const maxDepth = 5000

// parser goes once over tokens. It works in two ways: Parse collects what is
// declared at file scope and passes over what lies in between; Refs and Locals
// walk everything of one item.
//
// After an error every token is cEnd, so that all loops come to their end.
type parser struct {
	u     *Unit
	pos   int // next token
	end   int // behind the last one
	depth int
	err   *Error
	item  int // the one at hand

	decls []Decl // of Parse, of all items

	walk    bool // Refs and Locals
	lenient bool // names may stand for nothing: in the arguments of attributes
	scopes  scopes
	refs    []Ref
	locals  []Local
}

func (p *parser) at(i int) class {
	if i >= p.end {
		return cEnd
	}
	return p.u.class[p.u.Tokens[i].Name]
}

func (p *parser) c() class { return p.at(p.pos) }

func (p *parser) kind(i int) ctext.Kind {
	if i >= p.end {
		return 0
	}
	return p.u.Tokens[i].Kind
}

// ident reports whether a token is an identifier and no keyword.
func (p *parser) ident(i int) bool { return p.kind(i) == ctext.Ident && p.at(i) == cOther }

func (p *parser) name(i int) ctext.Name { return p.u.Tokens[i].Name }

func (p *parser) text(i int) string { return p.u.Names.Text(p.u.Tokens[i].Name) }

// fail records the first error: what is wrong with a token.
func (p *parser) fail(i int, format string, args ...any) {
	if p.err == nil {
		p.err = p.u.errorAt(min(i, p.end), fmt.Sprintf(format, args...))
	}
	p.pos, p.end = 0, 0
}

// errorAt is an error about a token; one behind the last is the end.
func (u *Unit) errorAt(i int, why string) *Error {
	if len(u.Tokens) == 0 {
		return &Error{Why: why}
	}
	if i >= len(u.Tokens) {
		return &Error{Off: u.Tokens[len(u.Tokens)-1].To, Why: why + ", at the end"}
	}
	t := &u.Tokens[i]
	off := t.Off
	if off < 0 {
		off = t.From
	}
	return &Error{Off: off, Why: fmt.Sprintf("%s, at %q", why, u.Names.Text(t.Name))}
}

func (p *parser) expect(c class, what string) bool {
	if p.c() != c {
		p.fail(p.pos, "%s expected", what)
		return false
	}
	p.pos++
	return true
}

// skip passes a bracket with all it holds.
func (p *parser) skip(c class, what string) {
	if p.c() != c {
		p.fail(p.pos, "%s expected", what)
		return
	}
	p.pos = int(p.u.match[p.pos]) + 1
}

// enter begins a level of nesting; leave ends it.
func (p *parser) enter() bool {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.pos, "brackets or statements nest deeper than %d", maxDepth)
		return false
	}
	return true
}

func (p *parser) leave() { p.depth-- }

// meaning of an ordinary identifier where the parser stands.
func (p *parser) meaning(name ctext.Name) meaning {
	if m := p.scopes.now[localKey{name, Ordinary}]; m != 0 {
		return m
	}
	return p.u.file[Ordinary].at(name, p.item)
}

func (p *parser) isTypedef(i int) bool { return p.ident(i) && p.meaning(p.name(i))&mTypedef != 0 }

// startsType reports whether a token begins a type name or declaration
// specifiers.
func (p *parser) startsType(i int) bool {
	c := p.at(i)
	return c >= cTypedef && c <= cTypeof || c == cOther && p.isTypedef(i)
}

// use records the use of an ordinary identifier.
func (p *parser) use(i int, call bool) {
	if !p.walk {
		return
	}
	name := p.name(i)
	if m := p.scopes.now[localKey{name, Ordinary}]; m != 0 && m&mLinked == 0 {
		return
	}
	if p.u.file[Ordinary].at(name, p.item) != 0 {
		p.ref(i, Ordinary, call)
		return
	}
	if !p.lenient && p.scopes.now[localKey{name, Ordinary}] == 0 && !predeclared(p.text(i)) {
		p.fail(i, "no declaration of the name precedes its use")
	}
}

func (p *parser) ref(i int, space Namespace, call bool) {
	body := p.u.Items[p.item].Body
	p.refs = append(p.refs, Ref{Name: p.name(i), Space: space, Tok: i, Call: call, InBody: body >= 0 && i > body})
}
