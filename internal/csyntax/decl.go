// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"strings"

	"kmend/internal/ctext"
)

// specs is what a list of declaration specifiers (C11 6.7) says.
type specs struct {
	tokens  [2]int
	storage Storage
	typed   bool // there is a type specifier
	konst   bool
	auto    bool    // __auto_type: the name is not in scope in its own initialiser
	kind    meaning // mFunc: the type is a function type; mUnsure: it may be one
}

// specifiers passes declaration specifiers, or the specifiers and qualifiers of
// a type name. alone: `struct tag;` declares the tag, as in a declaration.
func (p *parser) specifiers(alone bool) specs {
	s := specs{tokens: [2]int{p.pos, p.pos}}
	for {
		c := p.c()
		switch c {
		case cTypedef:
			s.storage |= TypedefBit
		case cExtern:
			s.storage |= Extern
		case cStatic:
			s.storage |= Static
		case cInline:
			s.storage |= Inline
		case cRegister:
			s.storage |= Register
		case cThread:
			s.storage |= ThreadLocal
		case cConst:
			s.konst = true
		case cSpecifier, cQualifier, cExtension:
		case cType:
			s.typed = true
		case cAutoType:
			s.typed, s.auto = true, true
		default:
			if !p.longSpecifier(&s, c, alone) {
				s.tokens[1] = max(p.pos, s.tokens[0])
				return s
			}
			continue
		}
		p.pos++
	}
}

// longSpecifier passes a specifier of more than a keyword.
func (p *parser) longSpecifier(s *specs, c class, alone bool) bool {
	switch c {
	case cAtomic:
		p.pos++
		if p.c() == cLParen {
			s.typed = true
			p.typeOrExpr(nil)
		}
	case cAlignas:
		p.pos++
		p.typeOrExpr(nil)
	case cAttribute:
		p.attributes()
	case cTypeof:
		s.typed = true
		p.pos++
		p.typeOrExpr(s)
	case cStruct, cUnion, cEnum:
		s.typed = true
		p.tag(c, alone)
	case cOther:
		if s.typed || !p.isTypedef(p.pos) {
			return false // a name after a type is a declarator, also that of a typedef
		}
		s.typed, s.kind = true, p.meaning(p.name(p.pos))&(mFunc|mUnsure)
		p.use(p.pos, false)
		p.pos++
	default:
		return false
	}
	return true
}

// typeOrExpr passes a type name or an expression in parentheses. s, if any,
// learns whether the type is a function type.
func (p *parser) typeOrExpr(s *specs) {
	if !p.expect(cLParen, "'('") {
		return
	}
	kind := mUnsure
	if p.startsType(p.pos) {
		kind = p.typeName()
	} else {
		if p.ident(p.pos) && p.at(p.pos+1) == cRParen {
			kind = p.meaning(p.name(p.pos)) & (mFunc | mUnsure)
		}
		p.expr(true)
	}
	if s != nil {
		s.kind = kind
	}
	p.expect(cRParen, "')'")
}

// typeName passes a type name (C11 6.7.7) and says whether it is that of a
// function type: mFunc, mUnsure or 0.
func (p *parser) typeName() meaning {
	s := p.specifiers(false)
	if !s.typed {
		p.fail(p.pos, "type name without a type")
		return 0
	}
	d := p.declarator(abstract)
	return d.kind(&s)
}

// tag passes a struct, union or enum specifier.
func (p *parser) tag(c class, alone bool) {
	if !p.enter() {
		return
	}
	defer p.leave()
	first := p.pos
	p.pos++
	p.attributes()
	name := -1
	if p.ident(p.pos) {
		name = p.pos
		p.pos++
	}
	body := p.c() == cLBrace
	decl := -1
	switch {
	case name < 0 && !body:
		p.fail(p.pos, "tag or '{' expected")
		return
	case name < 0:
	case body || alone && p.c() == cSemi:
		decl = p.declareTag(c, name, body)
	default:
		decl = p.mentionTag(c, name)
	}
	if body {
		if c == cEnum {
			p.enumerators()
		} else {
			p.members()
		}
		p.attributes()
	}
	if decl >= 0 && p.err == nil {
		p.decls[decl].Declarator = [2]int{first, p.pos}
	}
}

// declareTag declares a tag in the scope that is open and returns the index of
// its Decl, -1 if it has none.
func (p *parser) declareTag(c class, name int, def bool) int {
	if !p.scopes.atFile() {
		p.scopes.bind(localKey{p.name(name), Tag}, mObject)
		return -1
	}
	if p.walk {
		return -1
	}
	p.decls = append(p.decls, Decl{Name: p.name(name), Tok: name, Kind: Struct + DeclKind(c-cStruct), Space: Tag, Def: def, Init: -1})
	p.bindFile(Tag, name, mObject)
	return len(p.decls) - 1
}

// mentionTag uses a tag, which declares it if nothing did before.
func (p *parser) mentionTag(c class, name int) int {
	switch {
	case p.scopes.now[localKey{p.name(name), Tag}] != 0:
		return -1
	case p.u.file[Tag].at(p.name(name), p.item) != 0:
		if p.walk {
			p.ref(name, Tag, false)
		}
		return -1
	}
	decl := p.declareTag(c, name, false)
	if decl >= 0 {
		p.decls[decl].Mention = true
	}
	return decl
}

// members passes the members of a struct or union. Their names are nobody's
// business.
func (p *parser) members() {
	p.expect(cLBrace, "'{'")
	for p.err == nil && p.c() != cRBrace {
		switch p.c() {
		case cSemi:
			p.pos++
			continue
		case cAssert:
			p.staticAssert()
			continue
		}
		if s := p.specifiers(false); !s.typed {
			p.fail(p.pos, "member without a type")
			return
		}
		for p.err == nil && p.c() != cSemi && p.c() != cRBrace {
			p.attributes()
			if p.c() != cColon {
				p.declarator(named)
			}
			if p.c() == cColon {
				p.pos++
				p.value()
			}
			p.attributes()
			if p.c() != cComma {
				break
			}
			p.pos++
		}
		if p.c() != cRBrace { // GCC lets the last semicolon go
			p.expect(cSemi, "';' behind a member")
		}
	}
	p.expect(cRBrace, "'}'")
}

func (p *parser) enumerators() {
	p.expect(cLBrace, "'{'")
	for p.err == nil && p.c() != cRBrace {
		name := p.pos
		if !p.ident(name) {
			p.fail(name, "enumerator expected")
			return
		}
		p.pos++
		p.attributes()
		if p.c() == cAssign {
			p.pos++
			p.value()
		}
		if p.err != nil {
			return
		}
		switch {
		case !p.scopes.atFile():
			p.scopes.bind(localKey{p.name(name), Ordinary}, mObject)
		case !p.walk:
			p.decls = append(p.decls, Decl{Name: p.name(name), Tok: name, Kind: Enumerator, Def: true,
				Declarator: [2]int{name, p.pos}, Init: -1})
			p.bindFile(Ordinary, name, mObject)
		}
		if p.c() != cComma {
			break
		}
		p.pos++
	}
	p.expect(cRBrace, "'}' or ',' behind an enumerator")
}

// attributes passes any number of __attribute__((…)).
func (p *parser) attributes() {
	for p.c() == cAttribute {
		p.pos++
		if !p.walk {
			p.skip(cLParen, "'(' of an attribute")
			continue
		}
		if !p.expect(cLParen, "'(' of an attribute") || !p.expect(cLParen, "'((' of an attribute") {
			return
		}
		for p.err == nil && p.c() != cRParen {
			if p.c() == cComma {
				p.pos++
				continue
			}
			p.attribute()
		}
		p.expect(cRParen, "'))' of an attribute")
		p.expect(cRParen, "'))' of an attribute")
	}
}

// attribute passes one attribute. What an argument names is a use if there is
// such a name at file scope, as for cleanup and copy, except where GCC takes
// words of its own.
func (p *parser) attribute() {
	if p.kind(p.pos) != ctext.Ident {
		p.fail(p.pos, "name of an attribute expected")
		return
	}
	name := strings.Trim(p.text(p.pos), "_")
	p.pos++
	if p.c() != cLParen {
		return
	}
	switch name {
	case "mode", "format", "access", "scalar_storage_order", "counted_by":
		p.skip(cLParen, "'('")
		return
	case "alias", "weakref", "ifunc":
		p.quoted()
		return
	}
	p.pos++
	if p.c() != cRParen {
		old := p.lenient
		p.lenient = true
		p.expr(true)
		p.lenient = old
	}
	p.expect(cRParen, "')'")
}

// quoted passes the argument of alias, weakref or ifunc: a string that names a
// function or variable of the unit, declared before or not.
func (p *parser) quoted() {
	p.expect(cLParen, "'('")
	first, text := p.pos, ""
	p.stringParts()
	for i := first; i < p.pos; i++ {
		text += strings.Trim(p.text(i), `"`)
	}
	if p.expect(cRParen, "')'") {
		if name, ok := p.u.Names.Lookup(text); ok && p.u.file[Ordinary].at(name, len(p.u.Items)) != 0 {
			p.refs = append(p.refs, Ref{Name: name, Tok: first, Quoted: true})
		}
	}
}
