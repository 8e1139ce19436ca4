// SPDX-License-Identifier: Apache-2.0

package csyntax

import "fmt"

// Refs returns the uses of file-scope names in an item, each occurrence, in
// order: in types, initialisers, arguments of attributes and the body. The names
// that the item declares are no uses where they are declared, but a declaration in
// a block of what is at file scope too (extern int x;) is one. The strings of asm
// are not looked into. The error is an *Error.
func (u *Unit) Refs(item int) ([]Ref, error) {
	p, err := u.walk(item)
	if err != nil {
		return nil, err
	}
	return p.refs, nil
}

// Locals returns the block-scope declarations of a function, in order, whose
// objects outlive the call: static and extern ones, and those of functions.
func (u *Unit) Locals(item int) ([]Local, error) {
	p, err := u.walk(item)
	if err != nil {
		return nil, err
	}
	return p.locals, nil
}

// walk goes over all of an item.
func (u *Unit) walk(item int) (*parser, error) {
	if item < 0 || item >= len(u.Items) {
		return nil, fmt.Errorf("walk C: the unit has no item %d", item)
	}
	it := &u.Items[item]
	p := &parser{u: u, pos: it.First, end: it.Last, item: item, walk: true}
	p.one()
	if p.err == nil && p.pos != it.Last {
		p.fail(p.pos, "the item should have ended")
	}
	if p.err != nil {
		return nil, p.err
	}
	return p, nil
}
