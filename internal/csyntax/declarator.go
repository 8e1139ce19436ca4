// SPDX-License-Identifier: Apache-2.0

package csyntax

// derivation is what is next to the name in a declarator.
type derivation uint8

const (
	dNone derivation = iota
	dPointer
	dArray
	dFunction
)

// declarator is what a declarator (C11 6.7.6) says of its name.
type declarator struct {
	tok        int // the name, or -1
	next       derivation
	pointer    bool // there is a pointer
	konst      bool // the pointer nearest to the name is const
	incomplete bool
	params     []binding // what the parameters bind, for the body
}

// kind is mFunc if the name is that of a function or of a function type, mUnsure
// if that takes the type of an expression to tell, else 0.
func (d *declarator) kind(s *specs) meaning {
	switch d.next {
	case dFunction:
		return mFunc
	case dNone:
		return s.kind
	}
	return 0
}

func (d *declarator) isConst(s *specs) bool {
	if d.pointer {
		return d.konst
	}
	return s.konst
}

// mode says whether a declarator has a name.
type mode uint8

const (
	named mode = iota
	abstract
	either
)

// declarator passes a declarator, without the asm label and attributes that
// may follow.
func (p *parser) declarator(m mode) declarator {
	d := declarator{tok: -1}
	if !p.enter() {
		return d
	}
	defer p.leave()
	pointer, konst := false, false
	for more := true; more; {
		switch p.c() {
		case cStar:
			pointer, konst = true, false
			p.pos++
		case cConst:
			konst = true
			p.pos++
		case cQualifier, cAtomic:
			p.pos++
		case cAttribute:
			p.attributes()
		default:
			more = false
		}
	}
	switch {
	case m != abstract && p.ident(p.pos):
		d.tok = p.pos
		p.pos++
	case p.c() == cLParen && p.nested(m):
		p.pos++
		d = p.declarator(m)
		p.expect(cRParen, "')' of a declarator")
	case m == named:
		p.fail(p.pos, "name to be declared expected")
		return d
	}
	p.suffixes(&d)
	if pointer && !d.pointer {
		d.pointer, d.konst = true, konst
		if d.next == dNone {
			d.next = dPointer
		}
	}
	return d
}

// suffixes passes array bounds and parameters.
func (p *parser) suffixes(d *declarator) {
	for {
		switch p.c() {
		case cLBracket:
			p.pos++
			if d.next == dNone {
				d.next, d.incomplete = dArray, p.c() == cRBracket
			}
			p.bound()
		case cLParen:
			params := p.params()
			if d.next == dNone {
				d.next = dFunction
				d.params = append([]binding(nil), params...)
			}
		default:
			return
		}
	}
}

// nested reports whether a '(' in a declarator holds a declarator; else it
// begins parameters (gcc/c/c-parser.cc, c_parser_direct_declarator).
func (p *parser) nested(m mode) bool {
	if m == named {
		return true
	}
	i := p.pos + 1
	for p.at(i) == cAttribute && p.at(i+1) == cLParen {
		i = int(p.u.match[i+1]) + 1
	}
	c := p.at(i)
	return c != cRParen && c != cEllipsis && !p.startsType(i)
}

// bound passes an array bound and its bracket. In parameters it may have
// qualifiers, static, or be a star.
func (p *parser) bound() {
	for c := p.c(); c == cStatic || c == cConst || c == cQualifier; c = p.c() {
		p.pos++
	}
	switch {
	case p.c() == cRBracket:
	case p.c() == cStar && p.at(p.pos+1) == cRBracket:
		p.pos++
	default:
		p.value()
	}
	p.expect(cRBracket, "']'")
}

// params passes parameters and returns what they bind in their scope, good
// until the next name is bound. Parse does not look at them.
func (p *parser) params() []binding {
	if !p.walk {
		p.skip(cLParen, "'('")
		return nil
	}
	p.expect(cLParen, "'('")
	p.scopes.push()
	for p.err == nil && p.c() != cRParen {
		if p.c() == cEllipsis {
			p.pos++
			break
		}
		s := p.specifiers(false)
		if !s.typed {
			p.fail(p.pos, "parameter without a type (lists of names are not supported)")
			break
		}
		d := p.declarator(either)
		p.attributes()
		if d.tok >= 0 && p.err == nil {
			p.scopes.bind(localKey{p.name(d.tok), Ordinary}, mObject)
		}
		if p.c() != cComma {
			break
		}
		p.pos++
	}
	p.expect(cRParen, "')' or ',' behind a parameter")
	return p.scopes.pop()
}

// declaration passes a declaration, at file scope or in a block, or the
// definition of a function.
func (p *parser) declaration() {
	start := p.pos
	s := p.specifiers(true)
	if p.err != nil {
		return
	}
	atFile := p.scopes.atFile()
	if atFile && !p.walk {
		p.u.Items[p.item].Specifiers = s.tokens
	}
	if !s.typed {
		p.fail(p.pos, "declaration without a type")
		return
	}
	locals := len(p.locals)
	for n := 0; p.err == nil && p.c() != cSemi; n++ {
		p.attributes()
		first := p.pos
		d := p.declarator(named)
		p.trailer()
		if p.err != nil {
			return
		}
		if p.c() == cLBrace {
			p.functionBody(&s, &d, first, n)
			return
		}
		if p.initDeclarator(&s, &d, first); p.c() != cComma {
			break
		}
		p.pos++
		if p.c() == cSemi {
			p.fail(p.pos, "declarator expected")
		}
	}
	p.expect(cSemi, "';' behind a declaration")
	for i := locals; i < len(p.locals) && !atFile; i++ {
		if p.locals[i].Statement[1] == 0 { // those in statement expressions have theirs
			p.locals[i].Statement = [2]int{start, p.pos}
		}
	}
}

// trailer passes the asm label and attributes behind a declarator.
func (p *parser) trailer() {
	p.attributes()
	if p.c() == cAsm {
		p.pos++
		p.skip(cLParen, "'(' of an asm label")
	}
	p.attributes()
}

// initDeclarator declares a name, which its declarator and trailer precede, and
// passes its initialiser.
func (p *parser) initDeclarator(s *specs, d *declarator, first int) {
	if !s.auto {
		p.declare(s, d, first, p.pos)
	}
	last := p.pos
	if p.c() == cAssign {
		p.pos++
		p.initialiser()
	}
	if s.auto && p.err == nil {
		p.declare(s, d, first, last)
	}
}

func (p *parser) declare(s *specs, d *declarator, first, last int) {
	if p.scopes.atFile() {
		p.fileDecl(s, d, first, last)
		return
	}
	name, kind := p.name(d.tok), d.kind(s)
	means := mObject | kind
	switch {
	case s.storage&TypedefBit != 0:
		means = mTypedef | kind
	case kind&mFunc != 0 || s.storage&(Static|Extern) != 0:
		local := Local{Name: name, Tok: d.tok, Storage: s.storage, Func: kind&mFunc != 0, Unsure: kind&mUnsure != 0,
			Specifiers: s.tokens, Declarator: [2]int{first, last}, Init: -1, Const: kind&mFunc == 0 && d.isConst(s), Incomplete: d.incomplete}
		if p.at(last) == cAssign {
			local.Init = last
		}
		p.locals = append(p.locals, local)
		if local.Func || s.storage&Extern != 0 { // C11 6.2.2: it is the one at file scope
			means |= mLinked
			if p.u.file[Ordinary].at(name, p.item) != 0 {
				p.ref(d.tok, Ordinary, false)
			}
		}
	}
	p.scopes.bind(localKey{name, Ordinary}, means)
}

// functionBody passes the body of a function that is defined.
func (p *parser) functionBody(s *specs, d *declarator, first, n int) {
	if d.next != dFunction || n > 0 || s.storage&TypedefBit != 0 {
		p.fail(p.pos, "a body without the declarator of a function before it")
		return
	}
	if !p.scopes.atFile() {
		p.fail(p.pos, "nested functions are not supported")
		return
	}
	if !p.walk {
		p.fileDecl(s, d, first, p.pos)
		it := &p.u.Items[p.item]
		it.Kind, it.Body = Function, p.pos
		p.skip(cLBrace, "'{'")
		return
	}
	p.scopes.push()
	for _, b := range d.params {
		p.scopes.bind(b.key, b.means)
	}
	p.block()
	p.scopes.pop()
}
