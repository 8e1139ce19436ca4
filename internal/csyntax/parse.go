// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"errors"

	"kmend/internal/ctext"
)

// Parse cuts the expanded tokens of a translation unit into items. It looks at
// the bodies of functions, parameters and initialisers only as far as it takes
// to find their ends. The error is an *Error.
func Parse(names *ctext.Names, tokens []ctext.Token) (*Unit, error) {
	if names == nil {
		return nil, errors.New("parse C: no table of names")
	}
	u := &Unit{Names: names, Tokens: tokens, class: classes(names)}
	for i := range tokens {
		if int(tokens[i].Name) >= len(u.class) {
			return nil, &Error{Off: tokens[i].From, Why: "the token's name is not in the table of names"}
		}
	}
	if err := u.pair(); err != nil {
		return nil, err
	}
	u.file = [2]scopeTable{newScopeTable(names.Len()), newScopeTable(names.Len())}
	p := &parser{u: u, end: len(tokens)}
	var counts []int
	for p.pos < p.end {
		p.item = len(u.Items)
		before := len(p.decls)
		p.external()
		if p.err != nil {
			return nil, p.err
		}
		counts = append(counts, len(p.decls)-before)
	}
	rest := p.decls
	for i, n := range counts {
		u.Items[i].Decls, rest = rest[:n:n], rest[n:]
	}
	u.chunks()
	u.file[Ordinary].index(u.Items, Ordinary)
	u.file[Tag].index(u.Items, Tag)
	return u, nil
}

// pair finds the partner of every bracket.
func (u *Unit) pair() error {
	u.match = make([]int32, len(u.Tokens))
	var open []int32
	for i := range u.Tokens {
		switch c := u.class[u.Tokens[i].Name]; c {
		case cLParen, cLBracket, cLBrace:
			open = append(open, int32(i))
		case cRParen, cRBracket, cRBrace:
			if len(open) == 0 {
				return u.errorAt(i, "nothing is open that this closes")
			}
			last := open[len(open)-1]
			if u.class[u.Tokens[last].Name] != c-1 { // the closing class follows the opening one
				return u.errorAt(i, "this does not close the bracket that is open")
			}
			open = open[:len(open)-1]
			u.match[i], u.match[last] = last, int32(i)
		}
	}
	if len(open) > 0 {
		return u.errorAt(int(open[len(open)-1]), "nothing closes this")
	}
	return nil
}

// chunks fills in the ranges of the items in the document, and which of them
// overlap.
func (u *Unit) chunks() {
	chunk, reach := -1, int32(-1)
	for i := range u.Items {
		it := &u.Items[i]
		it.From, it.To = u.Tokens[it.First].From, u.Tokens[it.First].To
		for j := it.First + 1; j < it.Last; j++ {
			t := &u.Tokens[j]
			it.From, it.To = min(it.From, t.From), max(it.To, t.To)
		}
		if it.From >= reach {
			chunk++
		}
		it.Chunk = chunk
		reach = max(reach, it.To)
	}
}

// external passes one item and appends it to the unit.
func (p *parser) external() {
	it := Item{First: p.pos, Kind: Declaration, Specifiers: [2]int{p.pos, p.pos}, Body: -1}
	p.u.Items = append(p.u.Items, it)
	kind := p.one()
	last := &p.u.Items[p.item]
	if kind != Declaration {
		last.Kind = kind
	}
	last.Last = p.pos
}

// one passes an item and says what its first token tells of its kind.
func (p *parser) one() ItemKind {
	for p.c() == cExtension {
		p.pos++
	}
	switch p.c() {
	case cSemi:
		p.pos++
		return Empty
	case cAsm:
		p.asm()
		return Asm
	case cAssert:
		p.staticAssert()
		return Assert
	}
	p.declaration()
	return Declaration
}

// fileDecl records a declarator at file scope.
func (p *parser) fileDecl(s *specs, d *declarator, first, last int) {
	if p.walk {
		return
	}
	decl := Decl{Name: p.name(d.tok), Tok: d.tok, Storage: s.storage, Declarator: [2]int{first, last}, Init: -1,
		Incomplete: d.incomplete}
	kind := d.kind(s)
	means := mObject
	switch {
	case s.storage&TypedefBit != 0:
		decl.Kind, decl.Def, means = Typedef, true, mTypedef
	case kind&mFunc != 0:
		decl.Kind = Func
	default:
		decl.Kind, decl.Unsure, decl.Const = Var, kind&mUnsure != 0, d.isConst(s)
		decl.Def = s.storage&Extern == 0
	}
	switch p.at(last) {
	case cAssign:
		decl.Init, decl.Def = last, true
	case cLBrace:
		decl.Def = true
	}
	p.decls = append(p.decls, decl)
	p.bindFile(Ordinary, d.tok, means|kind)
}

func (p *parser) bindFile(space Namespace, tok int, means meaning) {
	t, name := &p.u.file[space], p.name(tok)
	t.means[name] |= means
	t.first[name] = min(t.first[name], int32(p.item))
}
