// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
	"kmend/internal/special"
)

// Extraction is the comparison of a whole unit with a part of it: the object of
// a C file that holds some of its functions and declares the rest.
type Extraction struct {
	Whole, Part *Unit
	Funcs       []ExtractedFunc // every function of Part that Whole has too, in the order of Part
	Only        []*Item         // functions of Part that Whole has under no such name
	c           *correlation
}

// ExtractedFunc is one function of both objects.
type ExtractedFunc struct {
	Whole, Part *Item
	Where       *Item  // Whole, or its cold part, where the first difference lies
	Offset      uint64 // of the first difference in Where
	What        string // the first difference in words; empty: code, references and entries are equal
	Lines       int    // bug table entries that differ in nothing but the line
}

// Hosts gives the functions into which a compile copied the body of the function
// named; compiler.Clones.Reached is one.
type Hosts func(name string) map[string]bool

// CompareExtraction compares the functions of part with the same functions of
// whole. An undefined symbol of part is the item of whole that has the name. What
// the compiler numbered is paired, in this order, by
//
//   - the places at which equal code refers to it. This is proof: with any other
//     pairing the code would not be equal;
//   - all that is known of it but its number, the functions that use it included,
//     of which only those count that both objects have: the part lacks the others;
//   - a common user, if that leaves one candidate on either side;
//   - its name, if there is one candidate on either side and the two accounts of
//     copied bodies (hosts, may be nil) say that its users hold a common body.
//
// State that this leaves open is ambiguous, never guessed.
func CompareExtraction(whole, part *Unit, hosts [2]Hosts) *Extraction {
	c := &correlation{before: whole, after: part, toAfter: map[*Item]*Item{}, toBefore: map[*Item]*Item{}, ambiguous: map[*Item]string{}, byName: true}
	groups := c.byProgrammer()
	c.byWitness()
	for _, g := range groups {
		c.pairPart(g, hosts)
	}
	for c.dropChangedConstants() {
	}
	e := &Extraction{Whole: whole, Part: part, c: c}
	for _, a := range part.Items {
		if a.Kind != Func || a.Parent != nil {
			continue
		}
		if b := c.toBefore[a]; b != nil && b.Kind == Func {
			e.Funcs = append(e.Funcs, c.extracted(b, a))
		} else {
			e.Only = append(e.Only, a)
		}
	}
	return e
}

// WholeOf returns the item of the whole that an item of the part is, or nil.
func (e *Extraction) WholeOf(part *Item) *Item { return e.c.toBefore[part] }

// Ambiguous says why it cannot be told which item of the whole an item of the
// part is; empty if it can, or if there is none.
func (e *Extraction) Ambiguous(part *Item) string { return e.c.ambiguous[part] }

// Unlike is the first difference between a data item of the part and the one of
// the whole that it is, in words; empty if they are equal.
func (e *Extraction) Unlike(part *Item) string {
	b := e.c.toBefore[part]
	if b == nil {
		return "the unit has none of that name"
	}
	_, what := e.c.difference(b, part)
	return what
}

// Func returns the comparison of the function of that name, or nil.
func (e *Extraction) Func(name string) *ExtractedFunc {
	for i := range e.Funcs {
		if e.Funcs[i].Part.has(name) {
			return &e.Funcs[i]
		}
	}
	return nil
}

// byProgrammer pairs what has a name of the source, and groups the rest.
func (c *correlation) byProgrammer() []*group {
	groups := map[string]*group{}
	var order []*group
	add := func(it *Item) *group {
		stem, _ := Stem(it.Name)
		key := fmt.Sprintf("%d %s", it.Kind, stem)
		if groups[key] == nil {
			groups[key] = &group{}
			order = append(order, groups[key])
		}
		return groups[key]
	}
	for _, b := range c.before.Items {
		switch {
		case b.Kind.byContent():
		case numberedLocal(b) && !b.Kind.IsCode():
			g := add(b)
			g.before = append(g.before, b)
		default:
			if a := c.after.sameName(b); a != nil && c.toBefore[a] == nil {
				c.pair(b, a)
			}
		}
	}
	for _, a := range c.after.Items {
		if !a.Kind.byContent() && numberedLocal(a) && !a.Kind.IsCode() {
			g := add(a)
			g.after = append(g.after, a)
		}
	}
	return order
}

// byWitness pairs numbered items to which equal code refers at equal places.
func (c *correlation) byWitness() {
	type vote struct{ b, a *Item }
	var votes []vote
	refs := func(rb, ra []Ref) {
		if len(rb) != len(ra) {
			return
		}
		for i := range rb {
			b, a := rb[i].Target.Item, ra[i].Target.Item
			if b != nil && a != nil && rb[i].Offset == ra[i].Offset && rb[i].Add == ra[i].Add && alike(b, a) {
				votes = append(votes, vote{b, a})
			}
		}
	}
	for _, a := range c.after.Items {
		b := c.toBefore[a]
		if b == nil || a.Kind != Func || !bytes.Equal(maskedData(b), maskedData(a)) {
			continue
		}
		refs(b.Refs, a.Refs)
		for i := 0; len(b.Entries) == len(a.Entries) && i < len(b.Entries); i++ {
			if b.Entries[i].Format == a.Entries[i].Format {
				refs(b.EntryRefs[i], a.EntryRefs[i])
			}
		}
	}
	contested := map[*Item]bool{}
	for _, v := range votes {
		wasA, wasB := c.toAfter[v.b], c.toBefore[v.a]
		switch {
		case wasA == nil && wasB == nil:
			c.pair(v.b, v.a)
		case wasA != v.a:
			contested[v.a] = true
			if wasA != nil {
				contested[wasA] = true
			}
		}
	}
	for a := range contested {
		if b := c.toBefore[a]; b != nil {
			c.unpair(b, a)
		}
		c.ambiguous[a] = "the same code refers to several of that name"
	}
}

// alike reports whether a pair of numbered items may be one variable.
func alike(b, a *Item) bool {
	if b.Kind != a.Kind || b.Size != a.Size || b.Kind.byContent() || b.Kind.IsCode() || !numberedLocal(b) || !numberedLocal(a) {
		return false
	}
	sb, _ := Stem(b.Name)
	sa, _ := Stem(a.Name)
	return sb == sa
}

// pairPart pairs what byWitness left of a group.
func (c *correlation) pairPart(g *group, hosts [2]Hosts) {
	open := func(a *Item) bool { return c.toBefore[a] == nil && c.ambiguous[a] == "" }
	c.bySharedSignature(g, open)
	restB, restA := c.unpaired(g.before, g.after)
	restA = keep(restA, open)
	if len(restB) > 0 && len(restA) > 0 {
		restB, restA = c.pairByUser(restB, restA)
	}
	if len(restB) == 1 && len(restA) == 1 && alike(restB[0], restA[0]) && commonBody(restB[0], restA[0], hosts) {
		c.pair(restB[0], restA[0])
		return
	}
	for _, a := range keep(restA, open) {
		if len(restB) > 0 && mustKnow(a) {
			c.ambiguous[a] = fmt.Sprintf("the unit has %d variables of that name that it could be", len(restB))
		}
	}
}

func keep(items []*Item, fits func(*Item) bool) (out []*Item) {
	for _, it := range items {
		if fits(it) {
			out = append(out, it)
		}
	}
	return out
}

// bySharedSignature pairs by signature, with only the users that both objects
// have. Two variables with one signature are told apart by nothing.
func (c *correlation) bySharedSignature(g *group, open func(*Item) bool) {
	buckets := map[string]*group{}
	var order []*group
	add := func(it *Item, paired map[*Item]*Item) *group {
		users := sharedUsers(it, paired)
		if users == "" {
			return &group{}
		}
		key := content(it) + users
		if buckets[key] == nil {
			buckets[key] = &group{}
			order = append(order, buckets[key])
		}
		return buckets[key]
	}
	for _, b := range g.before {
		if c.toAfter[b] == nil {
			k := add(b, c.toAfter)
			k.before = append(k.before, b)
		}
	}
	for _, a := range g.after {
		if open(a) {
			k := add(a, c.toBefore)
			k.after = append(k.after, a)
		}
	}
	for _, k := range order {
		n := min(len(k.before), len(k.after))
		if n > 0 && mustKnow(k.before[0]) && (len(k.before) > 1 || len(k.after) > 1) {
			for _, a := range k.after {
				c.ambiguous[a] = fmt.Sprintf("%d variables of that name in the unit and %d in the part are alike", len(k.before), len(k.after))
			}
			continue
		}
		for i := range n {
			c.pair(k.before[i], k.after[i])
		}
	}
}

// sharedUsers names the functions that use an item and that both objects have.
func sharedUsers(it *Item, paired map[*Item]*Item) string {
	var users []string
	for _, u := range it.Users {
		if u.Parent != nil {
			u = u.Parent
		}
		if u.Kind == Func && paired[u] != nil {
			users = append(users, u.Name)
		}
	}
	sort.Strings(users)
	return strings.Join(users, ",")
}

// commonBody reports whether a user of one and a user of the other are, or hold
// a copy of, one function.
func commonBody(b, a *Item, hosts [2]Hosts) bool {
	if hosts[0] == nil || hosts[1] == nil {
		return false
	}
	for _, ub := range b.Users {
		for _, ua := range a.Users {
			if Source(ub.Name) == Source(ua.Name) || hosts[0](Source(ua.Name))[ub.Name] || hosts[1](Source(ub.Name))[ua.Name] {
				return true
			}
		}
	}
	return false
}

// extracted compares a pair of functions and their cold parts.
func (c *correlation) extracted(b, a *Item) ExtractedFunc {
	f := ExtractedFunc{Whole: b, Part: a, Where: b, Lines: lines(b, a)}
	if f.Offset, f.What = c.difference(b, a); f.What != "" || b.Cold == nil && a.Cold == nil {
		return f
	}
	if b.Cold == nil || a.Cold == nil {
		f.What = "only one of them has a cold part"
		return f
	}
	f.Where, f.Lines = b.Cold, f.Lines+lines(b.Cold, a.Cold)
	f.Offset, f.What = c.difference(b.Cold, a.Cold)
	return f
}

// lines counts the bug table entries that differ in the line (struct bug_entry,
// asm-generic/bug.h), which difference levels.
func lines(b, a *Item) (n int) {
	for i := range min(len(b.Entries), len(a.Entries)) {
		eb, ea := &b.Entries[i], &a.Entries[i]
		if eb.Format.Name == special.BugTable && ea.Format.Name == special.BugTable && eb.Line() != ea.Line() {
			n++
		}
	}
	return n
}

// has reports whether one of the item's symbols has the name.
func (i *Item) has(name string) bool {
	for _, s := range i.Symbols {
		if s.Name == name {
			return true
		}
	}
	return false
}

// Defined returns the item that a reference by name leads to, if this unit has
// it. By a weak second name it may lead elsewhere, as references know.
func (u *Unit) Defined(name string) *Item {
	it := u.byName[name]
	if it == nil {
		return nil
	}
	for _, s := range it.Symbols {
		if s.Name == name && !weakAlias(it, s) {
			return it
		}
	}
	return nil
}

// functionNames are the static locals by which C names the function around
// (C11 6.4.2.2; the others are GCC's).
var functionNames = map[string]bool{"__func__": true, "__FUNCTION__": true, "__PRETTY_FUNCTION__": true}

// RestoreNames gives functions that an extracted file defines under names of
// its own the unit's names again, their clones, cold parts and sections too. It
// changes the file. With level, what __func__ says is restored as well, and the
// symbols of which that is true are returned: such a file is for comparing only,
// since code may know the length of the longer name.
func RestoreNames(f *object.File, renamed map[string]string, level bool) (levelled map[*object.Symbol]bool, err error) {
	defined := map[string]bool{}
	for _, s := range f.Symbols {
		defined[s.Name] = defined[s.Name] || s.Section != nil
	}
	for _, s := range f.Symbols {
		name := restored(s.Name, renamed)
		if name == s.Name || s.Section == nil || s.IsSection() {
			continue
		}
		if defined[name] {
			return nil, fmt.Errorf("restore the names of extracted functions: the object defines both %s and %s; only one of them can be the unit's", s.Name, name)
		}
		s.Name = name
	}
	for _, s := range f.Sections {
		for _, prefix := range []string{".text.unlikely.", ".text."} {
			if rest, ok := strings.CutPrefix(s.Name, prefix); ok {
				s.Name = prefix + restored(rest, renamed)
				break
			}
		}
	}
	for _, s := range f.Symbols {
		if s.IsSection() && s.Section != nil {
			s.Name = s.Section.Name
		}
	}
	levelled = map[*object.Symbol]bool{}
	for _, s := range f.Symbols {
		stem, _ := Stem(s.Name)
		if !level || !functionNames[stem] || s.Section == nil || s.Section.Data == nil || s.Size != s.Section.Size || len(s.Section.Relocs) > 0 {
			continue
		}
		said := string(bytes.TrimSuffix(s.Section.Data, []byte{0}))
		if name, ok := renamed[said]; ok && name != said {
			s.Section.Data = append([]byte(name), 0)
			s.Section.Size = uint64(len(s.Section.Data))
			s.Size = s.Section.Size
			levelled[s] = true
		}
	}
	return levelled, nil
}

// restored is the unit's name for the code symbol of an extracted file.
func restored(name string, renamed map[string]string) string {
	stem, rest := name, ""
	if i := strings.IndexByte(name, '.'); i > 0 {
		stem, rest = name[:i], name[i:]
	}
	if to, ok := renamed[stem]; ok {
		return to + rest
	}
	return name
}
