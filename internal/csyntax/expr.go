// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"strings"

	"kmend/internal/ctext"
)

// predeclared reports whether GCC knows a name that no declaration makes.
func predeclared(text string) bool {
	switch text {
	case "__func__", "__FUNCTION__", "__PRETTY_FUNCTION__":
		return true
	}
	return strings.HasPrefix(text, "__builtin_") || strings.HasPrefix(text, "__sync_") || strings.HasPrefix(text, "__atomic_")
}

// value passes an expression without a comma operator. Parse passes over it as
// long as it defines no tag.
func (p *parser) value() { p.exprOrSkip(false) }

func (p *parser) exprOrSkip(comma bool) {
	if !p.walk && p.scopes.atFile() && p.skipExpr(comma) {
		return
	}
	p.expr(comma)
}

// skipExpr passes over an expression up to the token that ends it, unless it
// defines a tag or an enumerator, which are at file scope then.
func (p *parser) skipExpr(comma bool) bool {
	questions := 0
	for i := p.pos; ; i++ {
		switch p.at(i) {
		case cLParen, cLBracket, cLBrace:
			stop := int(p.u.match[i])
			for ; i < stop; i++ {
				if p.definesTag(i) {
					return false
				}
			}
		case cQuestion:
			questions++
		case cColon:
			if questions > 0 {
				questions--
				continue
			}
			p.pos = i
			return true
		case cComma:
			if comma {
				continue
			}
			p.pos = i
			return true
		case cSemi, cRParen, cRBracket, cRBrace, cEllipsis, cEnd:
			p.pos = i
			return true
		}
	}
}

func (p *parser) definesTag(i int) bool {
	if c := p.at(i); c != cStruct && c != cUnion && c != cEnum {
		return false
	}
	c := p.at(i + 1)
	return c == cLBrace || c == cAttribute || c == cOther && p.at(i+2) == cLBrace
}

// initialiser passes what follows the '=' of a declaration.
func (p *parser) initialiser() {
	if !p.walk && p.scopes.atFile() && p.skipExpr(false) {
		return
	}
	p.element()
}

func (p *parser) element() {
	if p.c() == cLBrace {
		p.initList()
	} else {
		p.expr(false)
	}
}

// initList passes an initialiser in braces, with designators as C11 6.7.9 and
// GCC have them: .a.b[1] =, [1 ... 2] =, [1] value, a: value.
func (p *parser) initList() {
	if !p.enter() {
		return
	}
	defer p.leave()
	p.expect(cLBrace, "'{'")
	for p.err == nil && p.c() != cRBrace {
		p.designators()
		p.element()
		if p.c() != cComma {
			break
		}
		p.pos++
	}
	p.expect(cRBrace, "'}' or ',' in an initialiser")
}

func (p *parser) designators() {
	if p.ident(p.pos) && p.at(p.pos+1) == cColon {
		p.pos += 2
		return
	}
	index := false
	for n := 0; ; n++ {
		switch p.c() {
		case cDot:
			p.pos++
			p.member()
			index = false
		case cLBracket:
			p.pos++
			p.expr(false)
			if p.c() == cEllipsis {
				p.pos++
				p.expr(false)
			}
			p.expect(cRBracket, "']'")
			index = n == 0
		default:
			if n > 0 && !(index && p.c() != cAssign) {
				p.expect(cAssign, "'=' behind a designator")
			}
			return
		}
	}
}

// member passes the name of a member.
func (p *parser) member() {
	if !p.ident(p.pos) {
		p.fail(p.pos, "name of a member expected")
		return
	}
	p.pos++
}

// expr passes an expression up to a token that cannot go on with it. It does
// not care for precedence: it has to tell operands from operators, and types,
// members and labels from the names in scope.
func (p *parser) expr(comma bool) {
	if !p.enter() {
		return
	}
	defer p.leave()
	questions := 0
	operand := false // the last token ended an operand
	for p.err == nil {
		c := p.c()
		switch {
		case c == cColon && questions > 0:
			questions--
			operand = false
			p.pos++
		case c == cColon, c == cSemi, c == cRParen, c == cRBracket, c == cRBrace, c == cEllipsis, c == cEnd, c == cComma && !comma:
			switch {
			case !operand:
				p.fail(p.pos, "operand expected")
			case questions > 0:
				p.fail(p.pos, "':' of a conditional expression expected")
			}
			return
		case operand && c == cQuestion:
			questions++
			p.pos++
			operand = p.c() == cColon // a ?: b
		case operand:
			operand = p.operator(c)
		default:
			operand = p.operand(c)
		}
	}
}

// operator passes what may follow an operand and reports whether an operand
// ends there.
func (p *parser) operator(c class) bool {
	switch c {
	case cStar, cAmp, cAndAnd, cSign, cBinary, cAssign, cComma:
		p.pos++
		return false
	case cIncDec:
		p.pos++
	case cDot, cArrow:
		p.pos++
		p.member()
	case cLBracket:
		p.pos++
		p.expr(true)
		p.expect(cRBracket, "']'")
	case cLParen:
		p.pos++
		if p.c() != cRParen {
			p.expr(true)
		}
		p.expect(cRParen, "')'")
	case cOther:
		if p.kind(p.pos) == ctext.String && p.kind(p.pos-1) == ctext.String {
			p.pos++
			return true
		}
		p.fail(p.pos, "operator expected")
	default:
		p.fail(p.pos, "operator expected")
	}
	return true
}

// operand passes an operand, or a prefix operator, and reports whether it was
// an operand.
func (p *parser) operand(c class) bool {
	switch c {
	case cStar, cAmp, cSign, cNot, cIncDec, cUnaryWord, cExtension:
		p.pos++
		return false
	case cAndAnd:
		p.pos++
		p.label()
	case cSizeof:
		p.pos++
		if p.c() == cLParen && p.startsType(p.pos+1) {
			p.parenType()
			return true
		}
		return false
	case cLParen:
		return p.paren()
	case cOther:
		switch p.kind(p.pos) {
		case ctext.Ident:
			p.use(p.pos, p.at(p.pos+1) == cLParen)
		case ctext.Number, ctext.String, ctext.Char:
		default:
			p.fail(p.pos, "no token of C")
		}
		p.pos++
	case cGeneric:
		p.generic()
	case cOffsetof, cTypes, cVaArg, cHasAttr:
		p.builtin(c)
	default:
		p.fail(p.pos, "operand expected")
	}
	return true
}

// label passes a label, of which nothing is known here.
func (p *parser) label() {
	if !p.ident(p.pos) {
		p.fail(p.pos, "label expected")
		return
	}
	p.pos++
}

// paren passes what a '(' begins where an operand is expected: a statement
// expression, an expression, a cast (which is no operand yet) or a compound
// literal.
func (p *parser) paren() bool {
	switch {
	case p.at(p.pos+1) == cLBrace:
		p.pos++
		p.block()
		p.expect(cRParen, "')' of a statement expression")
		return true
	case p.startsType(p.pos + 1):
		return p.parenType()
	}
	p.pos++
	p.expr(true)
	p.expect(cRParen, "')'")
	return true
}

// parenType passes a type name in parentheses, and the initialiser of a
// compound literal if one follows, which it reports.
func (p *parser) parenType() bool {
	p.expect(cLParen, "'('")
	p.typeName()
	p.expect(cRParen, "')'")
	if p.c() != cLBrace {
		return false
	}
	p.initList()
	return true
}

// generic passes _Generic (C11 6.5.1.1).
func (p *parser) generic() {
	p.pos++
	p.expect(cLParen, "'('")
	p.expr(false)
	for p.err == nil && p.c() == cComma {
		p.pos++
		if p.c() == cDefault {
			p.pos++
		} else {
			p.typeName()
		}
		p.expect(cColon, "':' of a generic association")
		p.expr(false)
	}
	p.expect(cRParen, "')' of _Generic")
}

// builtin passes the builtins of GCC that take more than expressions.
func (p *parser) builtin(c class) {
	p.pos++
	p.expect(cLParen, "'('")
	switch c {
	case cOffsetof:
		p.typeName()
		p.expect(cComma, "','")
		p.member()
		for p.err == nil && p.c() != cRParen {
			p.operator(p.c()) // .member, ->member, [index]
		}
	case cTypes:
		p.typeName()
		p.expect(cComma, "','")
		p.typeName()
	case cVaArg:
		p.expr(false)
		p.expect(cComma, "','")
		p.typeName()
	case cHasAttr:
		if p.startsType(p.pos) {
			p.typeName()
		} else {
			p.expr(false)
		}
		p.expect(cComma, "','")
		if p.err == nil {
			p.attribute()
		}
	}
	p.expect(cRParen, "')'")
}
