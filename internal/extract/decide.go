// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"strconv"
	"strings"

	"kmend/internal/csyntax"
)

func itoa(n int) string { return strconv.Itoa(n) }

// stateful decides about a function or variable; false if the name is neither,
// or has no definition in the unit's own text: then a header or a declaration
// of the unit is enough.
func (c *cutter) stateful(n Name, refs []csyntax.DeclRef, address bool) bool {
	kind := c.decl(refs[0]).Kind
	if kind != csyntax.Func && kind != csyntax.Var {
		return false
	}
	def := c.definition(n)
	if def == nil || !c.stays.isOwn(c.u.Items[def.Item].From) {
		c.headerSymbol(n, refs, def)
		return false
	}
	if kind == csyntax.Func {
		c.function(n, refs, def, address)
	} else {
		c.variable(n, refs, def)
	}
	return true
}

// headerSymbol notes a function or variable of other units.
func (c *cutter) headerSymbol(n Name, refs []csyntax.DeclRef, def *csyntax.DeclRef) {
	d := &Decision{Name: n.Text, Kind: kindOf(c.decl(refs[0])), What: Include, Why: "declared by a header, defined elsewhere"}
	it := &c.u.Items[refs[0].Item]
	d.Origin = c.origin(it.From, it.To)
	if c.ownAny(refs) && !c.anyHeader(refs) {
		d.What, d.Why = Declare, "declared by the unit, defined elsewhere"
	}
	switch policy := c.q.Policy[n.Text]; {
	case policy == Refuse:
		c.err = refusedByPolicy(n.Text, d.Origin)
		return
	case policy == Declare && def == nil:
		d.Policy = true // it is, by a header or by the unit
	case policy != "":
		c.err = &Error{Code: CodePolicy, Name: n.Text, Where: d.Origin, Why: "the policy wants it to be " + past[policy] + ", and it comes from a header", Advice: "take it out of the policy"}
		return
	}
	if def == nil { // else an inline function of a header, or what it defines once
		c.record(d, false)
	}
}

func (c *cutter) anyHeader(refs []csyntax.DeclRef) bool {
	for _, r := range refs {
		if !c.stays.isOwn(c.u.Items[r.Item].From) {
			return true
		}
	}
	return false
}

func kindOf(d *csyntax.Decl) string {
	if d.Kind == csyntax.Func {
		return KindFunction
	}
	return KindVariable
}

// function decides about a function that the unit defines.
func (c *cutter) function(n Name, refs []csyntax.DeclRef, def *csyntax.DeclRef, address bool) {
	it := &c.u.Items[def.Item]
	d := &Decision{Name: n.Text, Kind: KindFunction, Origin: c.origin(it.From, it.To)}
	has := c.q.Object.Functions[n.Text]
	_, replaced := c.q.Replace[n.Text]
	switch policy := c.q.Policy[n.Text]; {
	case policy == Refuse:
		c.err = refusedByPolicy(n.Text, d.Origin)
		return
	case replaced:
		if !has {
			c.err = refused(n.Text, d.Origin, "patch its callers instead", "its address is used, and the running kernel has no symbol of that name")
			return
		}
		d.What, d.Why = Declare, "its address, or a call in a #define: the kernel's own, which the patch redirects"
	case policy == Declare && !has:
		c.err = &Error{Code: CodePolicy, Name: n.Text, Where: d.Origin, Why: "the policy wants it declared, and the running kernel has no symbol for it that new code can call", Advice: "take it out of the policy"}
		return
	case policy == Declare || policy == Copied && !address:
		d.What, d.Why, d.Policy = policy, "policy", true
	case policy == Copied:
		c.err = &Error{Code: CodePolicy, Name: n.Text, Where: d.Origin, Why: "the policy wants it copied, and its address is used: a copy would have another", Advice: "take it out of the policy"}
		return
	case address && has:
		d.What, d.Why = Declare, "its address is used: it must stay the kernel's"
	case has && !c.q.Copy[n.Text] && c.called(n.Text):
		d.What, d.Why = Declare, "the code as built calls it"
	case has && c.q.Copy[n.Text]:
		d.What, d.Why = Copied, "the code as built has its body at one place and calls it at another"
	case has:
		d.What, d.Why = Copied, "GCC put its body in place of the call"
	default:
		d.What, d.Why = Copied, "the running kernel has no symbol of that name"
	}
	if old := c.decided[n]; old != nil && old.What == Copied && d.What == Declare && !replaced {
		c.err = refused(n.Text, d.Origin, "declare it in the policy", "its text is copied, and its address is used too")
		return
	}
	c.record(d, false)
	if d.What == Declare {
		c.declare(n, refs)
		return
	}
	c.copyFunction(n, refs, def)
}

// called reports whether the code of the functions that come along, as built,
// refers to a symbol.
func (c *cutter) called(symbol string) bool {
	for name := range c.q.Replace {
		if c.q.Object.Refs[name][symbol] {
			return true
		}
	}
	for name := range c.copied {
		if c.q.Object.Refs[name][symbol] {
			return true
		}
	}
	return false
}

// cloned reports whether that code refers to a clone of the function.
func (c *cutter) cloned(name string) bool {
	is := func(refs map[string]bool) bool {
		for s := range refs {
			if strings.HasPrefix(s, name+".isra.") || strings.HasPrefix(s, name+".constprop.") {
				return true
			}
		}
		return false
	}
	for t := range c.q.Replace {
		if is(c.q.Object.Refs[t]) {
			return true
		}
	}
	for t := range c.copied {
		if is(c.q.Object.Refs[t]) {
			return true
		}
	}
	return false
}

func (c *cutter) copyFunction(n Name, refs []csyntax.DeclRef, def *csyntax.DeclRef) {
	c.copied[n.Text] = true
	e := c.emit(def.Item, asCopy)
	if c.cloned(n.Text) && c.decl(*def).Storage&csyntax.Inline == 0 { // gnu_inline and noinline exclude each other
		e.protos[n.Text] = protoNoinline
	}
	c.pushChunk(e)
	c.forward(n, refs, def)
}

// forward keeps the own declarations in front of a definition.
func (c *cutter) forward(n Name, refs []csyntax.DeclRef, def *csyntax.DeclRef) {
	for _, r := range refs {
		it := &c.u.Items[r.Item]
		if r.Item >= def.Item || !c.stays.isOwn(it.From) || it.Chunk == c.u.Items[def.Item].Chunk {
			continue
		}
		c.emit(r.Item, asStub).names[n.Text] = true
		c.push(task{item: r.Item, head: true})
	}
}

// stub makes sure that a replaced function is declared, under its new name,
// before an item that calls it.
func (c *cutter) stub(name string, item int) {
	def := c.definition(Name{Text: name})
	if item > def.Item || item == def.Item {
		return
	}
	if e := c.out[c.chunks[c.u.Items[item].Chunk][0]]; e != nil {
		e.protos[name] = protoRenamed
		c.push(task{item: def.Item, head: true})
	}
}

// variable decides about a variable that the unit defines.
func (c *cutter) variable(n Name, refs []csyntax.DeclRef, def *csyntax.DeclRef) {
	it := &c.u.Items[def.Item]
	d := &Decision{Name: n.Text, Kind: KindVariable, Origin: c.origin(it.From, it.To)}
	has, constant := c.q.Object.Variables[n.Text], c.decl(*def).Const
	policy := c.q.Policy[n.Text]
	switch {
	case policy == Refuse:
		c.err = refusedByPolicy(n.Text, d.Origin)
		return
	case policy == Copied && !constant && !c.q.Object.New[n.Text]:
		c.err = &Error{Code: CodePolicy, Name: n.Text, Where: d.Origin, Why: "the policy wants it copied, and it is no constant: its state would be there twice", Advice: "take it out of the policy"}
		return
	case policy == Declare && !has:
		c.err = &Error{Code: CodePolicy, Name: n.Text, Where: d.Origin, Why: "the policy wants it declared, and the running kernel has no symbol for it", Advice: "take it out of the policy"}
		return
	case policy != "":
		d.What, d.Why, d.Policy = policy, "policy", true
	case c.q.Object.New[n.Text]:
		d.What, d.Why = Copied, "the fix adds it"
	case constant && c.q.Copy[n.Text]:
		d.What, d.Why = Copied, "a constant whose value is needed to compile"
	case constant && !c.called(n.Text):
		d.What, d.Why = Copied, "a constant whose value GCC used in its place"
	case has:
		d.What, d.Why = Declare, "the kernel's own state"
		if constant {
			d.Why = "a constant that the code as built refers to"
		}
	default:
		c.err = refused(n.Text, d.Origin, "patch a function that does not use it", "it is state of the unit, and the running kernel has no symbol of that name")
		return
	}
	c.record(d, false)
	if d.What == Declare {
		c.declare(n, refs)
		return
	}
	e := c.emit(def.Item, asCopy)
	for _, i := range e.items {
		c.push(task{item: i})
	}
	c.forward(n, refs, def)
}

// locals notes the static locals that the text of a function declares; those
// that macros make are many, and their objects are told apart by the object's
// proof alone.
func (c *cutter) locals(item int) error {
	it := &c.u.Items[item]
	if it.Kind != csyntax.Function || !c.stays.isOwn(it.From) {
		return nil
	}
	locals, err := c.u.Locals(item)
	if err != nil {
		return refused(c.nameOf(item), c.where(it.From), "", "%v", err)
	}
	for _, l := range locals {
		tok := &c.u.Tokens[l.Tok]
		if l.Storage&csyntax.Static == 0 || tok.Expanded() {
			continue
		}
		d := &Decision{Name: c.nameOf(item) + ":" + c.u.Names.Text(l.Name), Kind: KindLocal, What: Bind, Origin: c.where(tok.From),
			Why: "a static local: its object is bound to the kernel's own"}
		if l.Const {
			d.What, d.Why = Copied, "a constant static local"
		}
		c.record(d, false)
	}
	return nil
}

// declare writes a declaration where the unit first declares the name.
func (c *cutter) declare(n Name, refs []csyntax.DeclRef) {
	if c.anyHeaderFirst(refs) {
		r := refs[0]
		if inc := c.stays.includeOf(c.u.Items[r.Item].From); inc >= 0 {
			c.includes[inc] = true
		}
		return
	}
	if _, replaced := c.q.Replace[n.Text]; replaced {
		c.original(n, refs)
		return
	}
	for _, r := range refs {
		it := &c.u.Items[r.Item]
		if !c.stays.isOwn(it.From) {
			continue
		}
		c.declareIn(r.Item, n.Text)
		return
	}
}

// declareIn has a name declared where an item stands.
func (c *cutter) declareIn(item int, name string) {
	e := c.emit(item, asDeclare)
	if e.mode == asReplace {
		e.declared[name] = true
	} else {
		e.names[name] = true
	}
	c.push(task{item: item, head: true})
}

// original declares the kernel's own of a replaced function, where the unit
// first declares it.
func (c *cutter) original(n Name, refs []csyntax.DeclRef) {
	def := c.definition(n)
	for _, r := range refs {
		if r.Item == def.Item {
			c.out[c.chunks[c.u.Items[r.Item].Chunk][0]].protos[n.Text] = protoOriginal
			return
		}
		if it := &c.u.Items[r.Item]; c.stays.isOwn(it.From) {
			c.declareIn(r.Item, n.Text)
			return
		}
	}
}

// anyHeaderFirst reports whether a header declares the name before the unit
// does.
func (c *cutter) anyHeaderFirst(refs []csyntax.DeclRef) bool {
	return len(refs) > 0 && !c.stays.isOwn(c.u.Items[refs[0].Item].From)
}
