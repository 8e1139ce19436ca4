// SPDX-License-Identifier: Apache-2.0

package csyntax

import "kmend/internal/ctext"

// block passes a compound statement in a scope of its own.
func (p *parser) block() {
	if !p.enter() {
		return
	}
	defer p.leave()
	p.scopes.push()
	p.expect(cLBrace, "'{'")
	for p.err == nil && p.c() != cRBrace {
		p.statement()
	}
	p.expect(cRBrace, "'}'")
	p.scopes.pop()
}

// statement passes a statement or declaration with its labels.
func (p *parser) statement() {
	if !p.enter() {
		return
	}
	defer p.leave()
	for p.err == nil && p.labelled() {
	}
	for p.c() == cExtension {
		p.pos++
	}
	switch c := p.c(); c {
	case cRBrace: // a label at the end of a block
	case cLBrace:
		p.block()
	case cSemi:
		p.pos++
	case cAsm:
		p.asm()
	case cAssert:
		p.staticAssert()
	case cLabel:
		p.pos++
		for p.label(); p.c() == cComma; p.label() {
			p.pos++
		}
		p.expect(cSemi, "';'")
	case cIf, cWhile, cSwitch, cDo, cFor:
		p.scopes.push()
		p.controlled(c)
		p.scopes.pop()
	case cGoto, cJump, cReturn:
		p.jump(c)
	default:
		if p.emptyWithAttributes() {
			return
		}
		if p.startsType(p.pos) {
			p.declaration()
			return
		}
		p.expr(true)
		p.expect(cSemi, "';' behind an expression")
	}
}

// labelled passes one label.
func (p *parser) labelled() bool {
	switch c := p.c(); {
	case c == cCase:
		p.pos++
		p.expr(false)
		if p.c() == cEllipsis {
			p.pos++
			p.expr(false)
		}
		return p.expect(cColon, "':' of case")
	case c == cDefault:
		p.pos++
		return p.expect(cColon, "':' of default")
	case p.ident(p.pos) && p.at(p.pos+1) == cColon:
		p.pos += 2
		if p.c() == cAttribute && p.attributesEnd() != cSemi { // of the label, such as unused
			p.attributes()
		}
		return true
	}
	return false
}

// attributesEnd is the token behind the attributes at hand.
func (p *parser) attributesEnd() class {
	i := p.pos
	for p.at(i) == cAttribute && p.at(i+1) == cLParen {
		i = int(p.u.match[i+1]) + 1
	}
	return p.at(i)
}

// emptyWithAttributes passes an empty statement such as
// __attribute__((fallthrough));
func (p *parser) emptyWithAttributes() bool {
	if p.c() != cAttribute || p.attributesEnd() != cSemi {
		return false
	}
	p.attributes()
	return p.expect(cSemi, "';'")
}

// controlled passes if, while, switch, do and for.
func (p *parser) controlled(c class) {
	p.pos++
	switch c {
	case cDo:
		p.statement()
		p.expect(cWhile, "while")
		p.condition()
		p.expect(cSemi, "';' behind do … while")
	case cFor:
		p.forHead()
		p.statement()
	case cIf:
		p.condition()
		p.statement()
		if p.c() == cElse {
			p.pos++
			p.statement()
		}
	default:
		p.condition()
		p.statement()
	}
}

func (p *parser) condition() {
	p.expect(cLParen, "'('")
	p.expr(true)
	p.expect(cRParen, "')'")
}

func (p *parser) forHead() {
	p.expect(cLParen, "'(' of for")
	for p.c() == cExtension {
		p.pos++
	}
	switch {
	case p.startsType(p.pos):
		p.declaration()
	default:
		if p.c() != cSemi {
			p.expr(true)
		}
		p.expect(cSemi, "';' of for")
	}
	if p.c() != cSemi {
		p.expr(true)
	}
	p.expect(cSemi, "';' of for")
	if p.c() != cRParen {
		p.expr(true)
	}
	p.expect(cRParen, "')' of for")
}

func (p *parser) jump(c class) {
	p.pos++
	switch {
	case c == cGoto && p.c() == cStar, c == cReturn && p.c() != cSemi:
		p.expr(true)
	case c == cGoto:
		p.label()
	}
	p.expect(cSemi, "';' behind a jump")
}

// staticAssert passes _Static_assert, with or without its message.
func (p *parser) staticAssert() {
	p.pos++
	p.expect(cLParen, "'('")
	p.exprOrSkip(true)
	p.expect(cRParen, "')'")
	p.expect(cSemi, "';' behind _Static_assert")
}

// asm passes an asm statement or a top-level asm:
// asm qualifiers ( template : outputs : inputs : clobbers : labels );
func (p *parser) asm() {
	p.pos++
	for c := p.c(); c == cQualifier || c == cInline || c == cGoto; c = p.c() {
		p.pos++
	}
	p.expect(cLParen, "'(' of asm")
	p.stringParts()
	for section := 1; p.err == nil && p.c() == cColon; section++ {
		p.pos++
		for p.err == nil && p.c() != cColon && p.c() != cRParen {
			switch section {
			case 1, 2:
				p.asmOperand()
			case 3:
				p.stringParts()
			default:
				p.label()
			}
			if p.c() != cComma {
				break
			}
			p.pos++
		}
	}
	p.expect(cRParen, "')' of asm")
	p.expect(cSemi, "';' behind asm")
}

// asmOperand passes [name] "constraint" (expression).
func (p *parser) asmOperand() {
	if p.c() == cLBracket {
		p.pos++
		if p.kind(p.pos) != ctext.Ident { // a keyword will do
			p.fail(p.pos, "name of an asm operand expected")
			return
		}
		p.pos++
		p.expect(cRBracket, "']'")
	}
	p.stringParts()
	p.expect(cLParen, "'(' of an asm operand")
	p.expr(true)
	p.expect(cRParen, "')'")
}

func (p *parser) stringParts() {
	if p.kind(p.pos) != ctext.String {
		p.fail(p.pos, "string expected")
	}
	for p.kind(p.pos) == ctext.String {
		p.pos++
	}
}
