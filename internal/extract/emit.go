// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"kmend/internal/csyntax"
)

// part is one piece of text of the file and its place in the document.
type part struct {
	at     int32
	text   string
	marked string // with #line; "" for the same as text
	lines  []Origin
	origin string // for the mark above it; "" for none
	kind   partKind
}

type partKind uint8

const (
	partInclude partKind = iota
	partDefine
	partDeclare
	partCode
)

// nowhere is a line marker for text that no line of the source has as it is.
const nowhere = "\n# 0 \"\"\n"

// parts are all pieces of the file, in the order of the unit.
func (c *cutter) parts() ([]part, error) {
	var out []part
	var covered [][2]int32 // text that was copied, with the #defines in it
	for _, first := range slices.Sorted(maps.Keys(c.out)) {
		e := c.out[first]
		p, err := c.part(first, e)
		if err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(e.protos)) {
			out = append(out, part{at: p.at, text: c.prototype(name, e.protos[name]), kind: partDeclare})
		}
		out = append(out, p)
		if e.mode == asCopy || e.mode == asReplace {
			covered = append(covered, [2]int32{p.at, c.chunkEnd(e)})
		}
	}
	for i := range c.includes {
		in := c.doc.Includes[i]
		where := Origin{c.doc.Files[c.doc.Includes[in.Parent].File], in.Line}
		out = append(out, part{at: in.From, text: c.stays.includeLine(c.q.Read, i), lines: []Origin{where}, kind: partInclude})
	}
	for i := range c.macros {
		m := c.doc.Defines[i]
		if inside(covered, m.From) {
			continue
		}
		f, _ := c.doc.Position(m.From)
		out = append(out, part{at: m.From, text: strings.TrimRight(c.doc.DefineText(m, c.q.Read(c.doc.Files[f])), "\n"), origin: c.where(m.From), kind: partDefine})
		if m.Undef >= 0 && c.stays.isOwn(m.Undef) && !inside(covered, m.Undef) {
			out = append(out, part{at: m.Undef, text: "#undef " + c.doc.Names.Text(m.Name), kind: partDefine})
		}
	}
	for _, r := range c.doc.Pragmas {
		if c.stays.isOwn(r.From) && !inside(covered, r.From) {
			out = append(out, part{at: r.From, text: strings.TrimSpace(string(c.doc.Text[r.From:r.To])), kind: partDefine})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].at < out[j].at })
	return out, nil
}

func inside(ranges [][2]int32, at int32) bool {
	return slices.ContainsFunc(ranges, func(r [2]int32) bool { return at >= r[0] && at < r[1] })
}

func (c *cutter) chunkEnd(e *emission) int32 {
	end := int32(0)
	for _, i := range e.items {
		end = max(end, c.u.Items[i].To)
	}
	return end
}

// part writes one emission.
func (c *cutter) part(first int, e *emission) (part, error) {
	it := &c.u.Items[first]
	from, to := it.From, c.chunkEnd(e)
	p := part{at: from, kind: partDeclare, origin: c.origin(from, to)}
	switch e.mode {
	case asDeclare, asStub:
		var lines []string
		for _, i := range e.items {
			ds := c.declsOf(i, e.names)
			switch {
			case len(ds) == 0:
			case e.mode == asDeclare:
				lines = append(lines, c.declaration(i, ds))
			default:
				lines = append(lines, linked(ds[0])+c.declarators(i, ds, linkage)+";")
			}
		}
		p.text = strings.Join(lines, "\n")
	case asTypes:
		p.text = c.tokens(it.Specifiers[0], it.Specifiers[1], nil, func(s string) bool { return s == "static" || s == "extern" }) + ";"
		if text, ok := c.typesText(first); ok {
			p.text = text
		}
	case asCopy:
		p.kind = partCode
		p.at = c.comment(from)
		p.origin = c.origin(p.at, to)
		raw := c.source(p.at, to, c.renames(e.items))
		p.text, p.lines = tidy(raw, c.originOf(p.at))
		p.marked = c.lineMarked(p.at, raw)
		c.checkState(e)
	case asReplace:
		p.kind = partCode
		p.at = c.comment(from)
		p.origin = c.origin(p.at, to)
		raw, err := c.replacement(e, p.at, to)
		if err != nil {
			return p, err
		}
		p.text, p.lines = tidy(raw, c.originOf(p.at))
		p.marked = c.lineMarked(p.at, raw)
	}
	p.text, p.marked = strings.TrimRight(p.text, "\n"), strings.TrimRight(p.marked, "\n")
	return p, c.err
}

// typesText is the text up to the first declarator, if it is plain.
func (c *cutter) typesText(item int) (string, bool) {
	it := &c.u.Items[item]
	last := &c.u.Tokens[it.Specifiers[1]-1]
	if len(c.chunks[it.Chunk]) != 1 || last.Expanded() || c.u.Tokens[it.Specifiers[0]].Expanded() {
		return "", false
	}
	text, ok := c.words(it.From, last.To, []string{"static", "extern"})
	return text + ";", ok
}

// checkState refuses a copied chunk that would define state which the kernel
// has.
func (c *cutter) checkState(e *emission) {
	for _, i := range e.items {
		for k := range c.u.Items[i].Decls {
			d := &c.u.Items[i].Decls[k]
			name := c.u.Names.Text(d.Name)
			if d.Kind != csyntax.Var || !d.Def || c.q.Object.New[name] {
				continue
			}
			if dec := c.decided[Name{Text: name}]; dec != nil && dec.What == Declare && c.err == nil {
				c.err = refused(name, dec.Origin, "patch a function that does not use both", "it is defined by the same macro as something that must be copied")
			}
		}
	}
}

// renames are the edits that give calls of replaced functions their new names.
func (c *cutter) renames(items []int) []edit {
	var out []edit
	for _, i := range items {
		refs, err := c.u.Refs(i)
		if err != nil {
			continue // the walk has met it
		}
		for _, r := range refs {
			name := c.u.Names.Text(r.Name)
			if _, ok := c.q.Replace[name]; ok && r.Space == csyntax.Ordinary && r.Call && c.inText(i, r.Tok) {
				t := &c.u.Tokens[r.Tok]
				e := edit{t.Off, t.Off + int32(len(name)), Prefix + name}
				if !slices.Contains(out, e) {
					out = append(out, e)
				}
			}
		}
	}
	return out
}

// replacement is a definition under its new name, without static: the
// function that registers it may stand in another file.
func (c *cutter) replacement(e *emission, from, to int32) (string, error) {
	if c.renamedInPlace(e) {
		d := c.functionDecl(e.items[0])
		static, _ := c.staticWord(&c.u.Items[e.items[0]], d)
		off, name := c.u.Tokens[d.Tok].Off, c.u.Names.Text(d.Name)
		edits := append(c.renames(e.items), edit{off, off + int32(len(name)), Prefix + name})
		return c.source(from, to, append(edits, static...)), nil
	}
	var b strings.Builder
	if from < c.u.Items[e.items[0]].From {
		b.WriteString(c.source(from, c.u.Items[e.items[0]].From, nil))
	}
	if text := b.String(); text == "" || strings.HasSuffix(text, "\n") {
		b.WriteString(nowhere[1:])
	} else {
		b.WriteString(nowhere)
	}
	undeclared := maps.Clone(e.declared)
	for _, i := range e.items {
		if ds := c.declsOf(i, undeclared); len(ds) > 0 {
			b.WriteString(c.declaration(i, ds) + "\n")
			for _, d := range ds {
				delete(undeclared, c.u.Names.Text(d.Name))
			}
			continue
		}
		if !c.partOfMacro(i, e) {
			continue
		}
		text, err := c.spelledOut(i, e)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// renamedInPlace reports whether the text of a replaced function spells its name
// and its linkage, and no macro makes it along with something else.
func (c *cutter) renamedInPlace(e *emission) bool {
	if len(e.items) != 1 {
		return false
	}
	d := c.functionDecl(e.items[0])
	_, ok := c.staticWord(&c.u.Items[e.items[0]], d)
	return ok && !c.u.Tokens[d.Tok].Expanded()
}

// bodyInText reports whether the braces of a function's body are text.
func (c *cutter) bodyInText(item int) bool {
	it := &c.u.Items[item]
	return !c.u.Tokens[it.Body].Expanded() && !c.u.Tokens[it.Last-1].Expanded()
}

func (c *cutter) functionDecl(item int) *csyntax.Decl {
	it := &c.u.Items[item]
	for i := range it.Decls {
		if it.Decls[i].Kind == csyntax.Func {
			return &it.Decls[i]
		}
	}
	return nil
}

// staticWord is the edit that removes static; ok is false if a macro spells it.
func (c *cutter) staticWord(it *csyntax.Item, d *csyntax.Decl) ([]edit, bool) {
	if d.Storage&csyntax.Static == 0 {
		return nil, true
	}
	for i := it.Specifiers[0]; i < it.Specifiers[1]; i++ {
		t := &c.u.Tokens[i]
		if c.u.Names.Text(t.Name) != "static" {
			continue
		}
		if t.Expanded() {
			return nil, false
		}
		end := t.To
		for c.doc.Text[end] == ' ' || c.doc.Text[end] == '\t' {
			end++
		}
		return []edit{{from: t.From, to: end}}, true
	}
	return nil, false
}

// spelledOut is an item of a macro such as SYSCALL_DEFINE with the macro
// expanded, but for a body that is text. Declarations that only the macro's
// other uses need (metadata, aliases) are left out.
func (c *cutter) spelledOut(item int, e *emission) (string, error) {
	it := &c.u.Items[item]
	if it.Kind != csyntax.Function {
		return c.tokens(it.First, it.Last, nil, nil) + "\n", nil
	}
	d := c.functionDecl(item)
	name := c.u.Names.Text(d.Name)
	rename := map[int]string{}
	var drop func(string) bool
	if e.names[name] {
		rename[d.Tok] = Prefix + name
		drop = func(s string) bool { return s == "static" }
	}
	refs, err := c.u.Refs(item)
	if err != nil {
		return "", fmt.Errorf("extract %s: %w", name, err)
	}
	for _, r := range refs {
		n := c.u.Names.Text(r.Name)
		if _, ok := c.q.Replace[n]; ok && r.Call && r.Space == csyntax.Ordinary {
			rename[r.Tok] = Prefix + n
		}
	}
	open, last := &c.u.Tokens[it.Body], &c.u.Tokens[it.Last-1]
	if c.bodyInText(item) {
		f, line := c.doc.Position(open.From)
		marker := fmt.Sprintf("\n# %d \"%s\"\n", line, c.doc.Files[f]) // tidy takes it out again
		return c.tokens(it.First, it.Body, rename, drop) + marker + c.source(open.From, last.To, c.renames([]int{item})) + "\n", nil
	}
	return c.tokens(it.First, it.Body, rename, drop) + "\n" + c.tokens(it.Body, it.Last, rename, nil) + "\n", nil
}

// partOfMacro reports whether an item that a macro made along with a replaced
// function comes along: the function, what is copied, and prototypes of that.
func (c *cutter) partOfMacro(item int, e *emission) bool {
	it := &c.u.Items[item]
	d := c.functionDecl(item)
	if d == nil {
		return false
	}
	name := c.u.Names.Text(d.Name)
	if it.Kind == csyntax.Function {
		return e.names[name] || c.copied[name]
	}
	return it.Kind == csyntax.Declaration && len(it.Decls) == 1 && !d.Def && !e.names[name] && c.copied[name]
}
