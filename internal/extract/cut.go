// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"maps"
	"path"
	"slices"
	"sort"
	"strings"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
)

// mode is what is written of an item.
type mode uint8

const (
	asCopy    mode = iota + 1 // its text
	asReplace                 // its text, with the new name
	asDeclare                 // the declarations of some of its names, bound to the kernel's own
	asTypes                   // the types that it defines, without its variables
	asStub                    // the prototypes of what is copied
)

// emission is one piece of the file.
type emission struct {
	mode  mode
	items []int           // of the chunk
	names map[string]bool // that are replaced, declared, or have a prototype, by mode
	// declared are names of a replaced function's macro that are the kernel's own.
	declared map[string]bool
	// protos are functions of which a prototype must stand before it: replaced
	// ones, under their new name or their old one, and copied ones that GCC must
	// not inline.
	protos map[string]proto
}

type proto uint8

const (
	protoRenamed proto = iota + 1
	protoNoinline
	protoOriginal // the kernel's own of a replaced function
)

// cutter finds what a file must have.
type cutter struct {
	q        *Request
	doc      *ctext.Document
	x        *ctext.Expanded
	u        *csyntax.Unit
	stays    *stays
	chunks   map[int][]int // items by chunk
	out      map[int]*emission
	includes map[int]bool
	macros   map[int]bool // own #defines that are expanded
	done     map[Name]bool
	copied   map[string]bool
	decided  map[Name]*Decision
	work     []task
	err      error
}

// task is one stretch of tokens whose names must be there.
type task struct {
	item int
	head bool // without body and initialisers
}

// Cut makes the file of one round: what compiling finds missing is not known
// yet, see File.
func cut(q *Request) (*cutter, error) {
	c := &cutter{
		q: q, doc: q.Text.Doc, x: q.Text, u: q.Unit, stays: newStays(q), chunks: map[int][]int{}, out: map[int]*emission{},
		includes: map[int]bool{}, macros: map[int]bool{}, done: map[Name]bool{}, copied: map[string]bool{}, decided: map[Name]*Decision{},
	}
	for i := range c.u.Items {
		c.chunks[c.u.Items[i].Chunk] = append(c.chunks[c.u.Items[i].Chunk], i)
	}
	for _, name := range slices.Sorted(maps.Keys(q.Replace)) {
		if err := c.target(name); err != nil {
			return nil, err
		}
	}
	for _, first := range slices.Sorted(maps.Keys(c.out)) {
		c.pushChunk(c.out[first])
	}
	for _, name := range q.Also {
		n := Name{Text: name}
		c.use(n, int32(len(c.doc.Text)), false, "")
		c.drain()
	}
	c.always()
	for _, n := range slices.SortedFunc(maps.Keys(q.needed), compareNames) {
		c.use(n, int32(len(c.doc.Text)), false, "")
	}
	c.drain()
	if c.err != nil {
		return nil, c.err
	}
	c.definesBefore()
	return c, nil
}

func compareNames(a, b Name) int { return strings.Compare(a.Text, b.Text) }

func (c *cutter) drain() {
	for len(c.work) > 0 && c.err == nil {
		t := c.work[0]
		c.work = c.work[1:]
		c.walk(t)
	}
}

// where is a place for people.
func (c *cutter) where(off int32) string {
	f, line := c.doc.Position(off)
	return path.Clean(c.doc.Files[f]) + ":" + itoa(line)
}

// origin is the place of an item: file, first and last line.
func (c *cutter) origin(from, to int32) string {
	f, first := c.doc.Position(from)
	_, last := c.doc.Position(max(from, to-1))
	name := path.Clean(c.doc.Files[f])
	if last <= first {
		return name + ":" + itoa(first)
	}
	return name + ":" + itoa(first) + "-" + itoa(last)
}

// target starts with a function to be replaced.
func (c *cutter) target(name string) error {
	def := c.definition(Name{Text: name})
	if def == nil || c.u.Items[def.Item].Kind != csyntax.Function {
		return refused(name, "", "it may be made by the assembler or an alias", "the unit's text does not define a function of that name")
	}
	it := &c.u.Items[def.Item]
	e := c.emit(def.Item, asReplace)
	e.names[name] = true
	c.record(&Decision{Name: name, Kind: KindFunction, What: Replace, Origin: c.origin(it.From, it.To), Why: c.q.Replace[name]}, false)
	return nil
}

// pushChunk follows a piece of text; of one that a macro made along with a
// replaced function, what comes along.
func (c *cutter) pushChunk(e *emission) {
	for _, i := range e.items {
		if len(e.items) == 1 || e.mode != asReplace || c.partOfMacro(i, e) {
			c.push(task{item: i})
		}
	}
}

// definition is the item that defines a name, or nil.
func (c *cutter) definition(n Name) *csyntax.DeclRef {
	var tentative *csyntax.DeclRef
	refs := c.lookup(n)
	for i := range refs {
		d := c.decl(refs[i])
		if !d.Def {
			continue
		}
		if d.Kind != csyntax.Var || d.Init >= 0 {
			return &refs[i]
		}
		if tentative == nil {
			tentative = &refs[i]
		}
	}
	return tentative
}

func (c *cutter) lookup(n Name) []csyntax.DeclRef {
	id, ok := c.u.Names.Lookup(n.Text)
	if !ok {
		return nil
	}
	space := csyntax.Ordinary
	if n.Tag {
		space = csyntax.Tag
	}
	return c.u.Lookup(space, id)
}

func (c *cutter) decl(r csyntax.DeclRef) *csyntax.Decl { return &c.u.Items[r.Item].Decls[r.Decl] }

// emit returns the emission of an item, made on first use. A stronger mode
// takes the place of a weaker one.
func (c *cutter) emit(item int, m mode) *emission {
	first := c.chunks[c.u.Items[item].Chunk][0]
	e := c.out[first]
	if e == nil {
		e = &emission{mode: m, items: c.chunks[c.u.Items[item].Chunk], names: map[string]bool{}, declared: map[string]bool{}, protos: map[string]proto{}}
		c.out[first] = e
	}
	if m == asReplace || m == asCopy && e.mode != asReplace || m == asDeclare && e.mode == asTypes {
		e.mode = m
	}
	return e
}

func (c *cutter) push(t task) { c.work = append(c.work, t) }

func (c *cutter) record(d *Decision, tag bool) {
	n := Name{d.Name, tag}
	if c.decided[n] == nil {
		c.decided[n] = d
	}
}

// always adds what shapes code without being named: global register variables
// (GCC then keeps the register out of its allocation, and orders code around
// it) and #pragmas.
func (c *cutter) always() {
	for i := range c.u.Items {
		it := &c.u.Items[i]
		if it.Kind != csyntax.Declaration || len(it.Decls) == 0 || it.Decls[0].Storage&csyntax.Register == 0 {
			continue
		}
		if inc := c.stays.includeOf(it.From); inc >= 0 {
			c.includes[inc] = true
		} else if c.stays.isOwn(it.From) {
			c.emit(i, asCopy)
			c.push(task{item: i})
		}
	}
}

// walk makes sure of all names that an item's text uses.
func (c *cutter) walk(t task) {
	it := &c.u.Items[t.item]
	refs, err := c.u.Refs(t.item)
	if err != nil {
		c.err = refused(c.nameOf(t.item), c.where(it.From), "", "%v", err)
		return
	}
	to := it.To
	if t.head {
		to = c.headEnd(t.item)
	} else if err := c.locals(t.item); err != nil {
		c.err = err
		return
	}
	for _, m := range c.x.MacrosIn(it.From, to) {
		c.macro(m)
	}
	for _, r := range refs {
		tok := &c.u.Tokens[r.Tok]
		if t.head && (r.InBody || tok.From >= to) {
			continue
		}
		n := Name{c.u.Names.Text(r.Name), r.Space == csyntax.Tag}
		c.reference(t.item, n, r)
	}
}

// headEnd is where the declaration of an item ends and its body or its first
// initialiser begins.
func (c *cutter) headEnd(item int) int32 {
	it := &c.u.Items[item]
	if it.Body >= 0 {
		return c.u.Tokens[it.Body].From
	}
	var only *csyntax.Decl
	for i := range it.Decls {
		switch d := &it.Decls[i]; {
		case d.Space == csyntax.Tag || d.Kind == csyntax.Enumerator:
		case only != nil:
			return it.To
		default:
			only = d
		}
	}
	if only != nil && only.Init >= 0 {
		if at := c.u.Tokens[only.Init].From; at > it.From {
			return at
		}
	}
	return it.To
}

func (c *cutter) nameOf(item int) string {
	for _, d := range c.u.Items[item].Decls {
		if d.Space == csyntax.Ordinary {
			return c.u.Names.Text(d.Name)
		}
	}
	return ""
}

// macro makes sure of a #define.
func (c *cutter) macro(i int) {
	m := c.doc.Defines[i]
	if m.Predefined {
		return
	}
	if inc := c.stays.includeOf(m.From); inc >= 0 {
		c.includes[inc] = true
		return
	}
	if c.stays.isOwn(m.From) {
		c.macros[i] = true
	}
}

// macroNamed makes sure of the #define of a name, if there is one.
func (c *cutter) macroNamed(name string, at int32) {
	id, ok := c.doc.Names.Lookup(name)
	if !ok {
		return
	}
	m := c.doc.MacroAt(id, at)
	for i, d := range c.doc.Defines {
		if d == m && m != nil {
			c.macro(i)
		}
	}
}

// reference handles one use of a name in text that comes along.
func (c *cutter) reference(item int, n Name, r csyntax.Ref) {
	if _, ok := c.q.Replace[n.Text]; ok && !n.Tag && c.renamable(item, r) {
		c.stub(n.Text, item)
		return
	}
	c.use(n, c.u.Items[item].From, !r.Call && !n.Tag, c.nameOf(item))
}

// renamable reports whether a use of a replaced function can get the new name:
// a call that is spelled in the text of the item. An address stays the
// kernel's own, since it may be compared; and what a #define spells is left
// alone: the call of the old function comes to the new one.
func (c *cutter) renamable(item int, r csyntax.Ref) bool {
	return r.Call && (c.inText(item, r.Tok) || c.printed(item, r.Tok))
}

// inText reports whether the text of an item spells a token.
func (c *cutter) inText(item, tok int) bool {
	t, it := &c.u.Tokens[tok], &c.u.Items[item]
	return t.Off >= it.From && t.Off < it.To
}

// printed reports whether a token is written from what its macro expands to:
// see spelledOut.
func (c *cutter) printed(item, tok int) bool {
	e, it := c.out[c.chunks[c.u.Items[item].Chunk][0]], &c.u.Items[item]
	return e != nil && e.mode == asReplace && it.Kind == csyntax.Function && !c.renamedInPlace(e) && (tok < it.Body || !c.bodyInText(item))
}

// use makes sure of one file-scope name at a place.
func (c *cutter) use(n Name, at int32, address bool, by string) {
	key := n
	if address {
		key.Text = "&" + key.Text
	}
	if c.done[key] {
		return
	}
	c.done[key] = true
	refs := c.lookup(n)
	if len(refs) == 0 {
		c.macroNamed(n.Text, at) // else the compiler's own, or an error that the compiler will name
		return
	}
	if !n.Tag && c.stateful(n, refs, address) {
		return
	}
	c.provide(n, refs, at)
}

// provide copies or includes the declarations of a type, an enumerator, or of
// something that no text of the unit defines.
func (c *cutter) provide(n Name, refs []csyntax.DeclRef, at int32) {
	def := c.definition(n)
	if def != nil && !c.stays.isOwn(c.u.Items[def.Item].From) || def == nil && !c.ownAny(refs) {
		r := refs[0]
		if def != nil {
			r = *def
		}
		if inc := c.stays.includeOf(c.u.Items[r.Item].From); inc >= 0 {
			c.includes[inc] = true
		}
		return
	}
	for _, r := range refs {
		it := &c.u.Items[r.Item]
		if !c.stays.isOwn(it.From) || c.decl(r).Mention {
			continue
		}
		m := asCopy
		if c.definesVariable(it) && c.decl(r).Kind != csyntax.Var {
			m = asTypes
		}
		c.emit(r.Item, m)
		for _, i := range c.chunks[it.Chunk] {
			c.push(task{item: i, head: m == asTypes})
		}
	}
}

func (c *cutter) ownAny(refs []csyntax.DeclRef) bool {
	return slices.ContainsFunc(refs, func(r csyntax.DeclRef) bool { return c.stays.isOwn(c.u.Items[r.Item].From) })
}

// definesVariable reports whether copying the item would define a variable.
func (c *cutter) definesVariable(it *csyntax.Item) bool {
	return slices.ContainsFunc(it.Decls, func(d csyntax.Decl) bool { return d.Kind == csyntax.Var && d.Def })
}

// definesBefore keeps the own #defines in front of an #include that one of the
// files it brings can see: what a header makes of them is not known.
func (c *cutter) definesBefore() {
	var kept []int
	for i := range c.includes {
		kept = append(kept, i)
	}
	if c.q.AllIncludes {
		kept = kept[:0]
		for i, in := range c.doc.Includes {
			if in.Parent >= 0 && c.stays.own[in.Parent] && !c.stays.own[i] {
				kept = append(kept, i)
				c.includes[i] = true
			}
		}
	}
	sort.Ints(kept)
	for i, m := range c.doc.Defines {
		name := c.doc.Names.Text(m.Name)
		if m.Predefined || c.macros[i] || !c.stays.isOwn(m.From) || name == "CREATE_TRACE_POINTS" {
			continue
		}
		for _, inc := range kept {
			from := c.doc.Includes[inc].From
			if from > m.From && (m.Undef < 0 || from < m.Undef) && c.stays.mentioned(c.q.Read, inc, name) {
				c.macros[i] = true
				break
			}
		}
	}
	c.macrosOfMacros()
}

// macrosOfMacros keeps the own #defines that kept ones name: a header may
// expand those, as linux/printk.h does with pr_fmt.
func (c *cutter) macrosOfMacros() {
	byName := map[ctext.Name][]int{}
	for i, m := range c.doc.Defines {
		if !m.Predefined && c.stays.isOwn(m.From) {
			byName[m.Name] = append(byName[m.Name], i)
		}
	}
	work := slices.Sorted(maps.Keys(c.macros))
	for len(work) > 0 {
		m := c.doc.Defines[work[0]]
		work = work[1:]
		for _, t := range m.Body {
			for _, i := range byName[t.Name] {
				if t.Kind == ctext.Ident && !c.macros[i] {
					c.macros[i] = true
					work = append(work, i)
				}
			}
		}
	}
}
