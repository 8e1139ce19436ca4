// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"kmend/internal/object"
	"kmend/internal/special"
)

// Change is a function whose code differs.
type Change struct {
	Before, After *Item
	Where         *Item  // Before, or its cold part, where the first difference lies
	Offset        uint64 // of the first difference in Where
	What          string // the first difference in words
}

// Problem is a difference that a live patch cannot carry.
type Problem struct {
	Code string // stable: data-changed, init-code, exit-code, percpu-changed, export-changed, ambiguous-static
	Name string // symbol
	Why  string
}

// Result is what differs between two objects of a unit.
type Result struct {
	Before, After *Unit
	Changed       []Change // by order in After
	New           []*Item  // functions that exist only after; cold parts go with their parents
	Removed       []*Item  // functions that exist only before
	NewData       []*Item  // state and read-only data that exist only after
	Problems      []Problem
	Ambiguous     map[*Item]string // items after the fix that cannot be told from older ones, with the reason
	toBefore      map[*Item]*Item
}

// BeforeOf returns the item before the fix that an item after it is, or nil.
func (r *Result) BeforeOf(after *Item) *Item { return r.toBefore[after] }

// AfterOf returns the item after the fix that an item before it became, or nil.
func (r *Result) AfterOf(before *Item) *Item {
	for a, b := range r.toBefore {
		if b == before {
			return a
		}
	}
	return nil
}

// Empty reports whether nothing differs that could matter to a running kernel.
func (r *Result) Empty() bool {
	return len(r.Changed) == 0 && len(r.New) == 0 && len(r.NewData) == 0 && len(r.Problems) == 0
}

// Compare tells what differs between two objects of one translation unit.
func Compare(before, after *Unit) *Result {
	c := correlate(before, after)
	for c.dropChangedConstants() {
	}
	r := &Result{Before: before, After: after, Ambiguous: c.ambiguous, toBefore: c.toBefore}
	for _, a := range after.Items {
		r.compareItem(c, a)
	}
	for _, b := range before.Items {
		if c.toAfter[b] == nil {
			r.removed(b)
		}
	}
	r.compareExports()
	r.renamedState(c)
	r.looseState(c)
	return r
}

// dropChangedConstants dissolves pairs of compiler-numbered read-only data,
// and of dynamic debug sites, that differ: the new one is a new constant for
// the functions that use it.
func (c *correlation) dropChangedConstants() bool {
	again := false
	for _, a := range c.after.Items {
		b := c.toBefore[a]
		if b == nil || a.Kind != Rodata && a.Kind != DebugSite || !numberedLocal(a) {
			continue
		}
		if _, what := c.difference(b, a); what != "" {
			c.unpair(b, a)
			again = true
		}
	}
	return again
}

// DropBuiltinExit forgets differences in exit code, which the linker discards
// from the kernel image (asm-generic/vmlinux.lds.h, EXIT_TEXT).
func (r *Result) DropBuiltinExit() {
	kept := r.Problems[:0]
	for _, p := range r.Problems {
		if p.Code != "exit-code" {
			kept = append(kept, p)
		}
	}
	r.Problems = kept
}

func (r *Result) compareItem(c *correlation, a *Item) {
	b := c.toBefore[a]
	if b == nil {
		r.added(a)
		return
	}
	if a.Section.Name == exportStrings {
		return // compareExports knows what they say
	}
	if a.Parent != nil && c.toBefore[a.Parent] != nil {
		return // compared with its parent
	}
	where, off, what := b, uint64(0), ""
	if b.Kind != a.Kind {
		what = fmt.Sprintf("it was %s and is %s", b.Kind, a.Kind)
	} else if off, what = c.difference(b, a); what == "" && (b.Cold != nil || a.Cold != nil) {
		if b.Cold == nil || a.Cold == nil {
			what = "its cold part appeared or went"
		} else {
			where = b.Cold
			off, what = c.difference(b.Cold, a.Cold)
		}
	}
	if what == "" {
		return
	}
	if a.Kind == Func && b.Kind == Func {
		r.Changed = append(r.Changed, Change{Before: b, After: a, Where: where, Offset: off, What: what})
		return
	}
	if b.Kind == InitCode || b.Kind == InitData {
		a = b
	}
	r.problem(a, fmt.Sprintf("%s changed at +%#x: %s", a.Kind, off, what))
}

func (r *Result) added(a *Item) {
	switch a.Kind {
	case Func:
		if a.Parent == nil {
			r.New = append(r.New, a)
		}
	case State, Rodata:
		if r.Ambiguous[a] == "" {
			r.NewData = append(r.NewData, a)
		}
	case Const, AltAux, OnceFlag, DebugSite, Export:
	default:
		r.problem(a, fmt.Sprintf("%s is new", a.Kind))
	}
}

func (r *Result) removed(b *Item) {
	switch b.Kind {
	case Func:
		if b.Parent == nil {
			r.Removed = append(r.Removed, b)
		}
	case Const, AltAux, OnceFlag, DebugSite, Export, State, Rodata:
	default:
		r.problem(b, fmt.Sprintf("%s is gone", b.Kind))
	}
}

func (r *Result) problem(it *Item, why string) {
	code := "data-changed"
	switch it.Kind {
	case InitCode, InitData:
		code = "init-code"
	case ExitCode:
		code = "exit-code"
	case PerCPU:
		code = "percpu-changed"
	case Export:
		code = "export-changed"
	}
	r.Problems = append(r.Problems, Problem{Code: code, Name: it.sourceName(), Why: why})
}

// exportStrings holds the names and namespaces of exports, strung together.
const exportStrings = "__ksymtab_strings"

func (r *Result) compareExports() {
	problem := func(name, why string) {
		r.Problems = append(r.Problems, Problem{Code: "export-changed", Name: name, Why: why})
	}
	for _, n := range slices.Sorted(maps.Keys(r.After.Exports)) {
		was, is := r.Before.Exports[n], r.After.Exports[n]
		switch {
		case was == "":
			problem(n, "the symbol is newly exported")
		case was != is:
			problem(n, fmt.Sprintf("the symbol was exported %s and is %s", was, is))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(r.Before.Exports)) {
		if r.After.Exports[n] == "" {
			problem(n, "the symbol is no longer exported")
		}
	}
}

// looseState marks the state as ambiguous that was paired by likeness where
// another pairing is possible too: the fix may have moved a variable and put a
// new one of its name into its place. What proves a pair is a function that
// uses the variable and did not change.
func (r *Result) looseState(c *correlation) {
	changed := map[*Item]bool{}
	for _, ch := range r.Changed {
		changed[ch.Before] = true
	}
	for _, g := range c.groups {
		before, after := c.unwitnessed(g, changed)
		if len(before) == 0 || len(after) == 0 || len(before) == 1 && len(after) == 1 || !mustKnow(before[0]) {
			continue
		}
		for _, a := range after {
			b := c.toBefore[a]
			if c.ambiguous[a] != "" || len(before) == len(after) && b != nil && apart(b, a, before, after) {
				continue
			}
			c.ambiguous[a] = fmt.Sprintf("of the variables of that name, %d before the fix and %d after it are used by no function that is as it was", len(before), len(after))
		}
	}
	r.NewData = slices.DeleteFunc(r.NewData, func(it *Item) bool { return c.ambiguous[it] != "" })
}

// unwitnessed returns the items of a group whose pair no unchanged function
// proves. Such a function refers to both at the same places.
func (c *correlation) unwitnessed(g *group, changed map[*Item]bool) (before, after []*Item) {
	proved := map[*Item]bool{}
	for _, b := range g.before {
		for _, u := range b.Users {
			if u.Kind == Func && c.toAfter[u] != nil && !changed[u] && (u.Parent == nil || c.toAfter[u.Parent] != nil && !changed[u.Parent]) {
				proved[b] = c.toAfter[b] != nil
			}
		}
		if !proved[b] {
			before = append(before, b)
		}
	}
	for _, a := range g.after {
		if b := c.toBefore[a]; b == nil || !proved[b] {
			after = append(after, a)
		}
	}
	return before, after
}

// apart reports whether a pair shares no source function with any other item.
func apart(b, a *Item, before, after []*Item) bool {
	for _, x := range before {
		if x != b && (shareUser(x, a) || shareUser(x, b)) {
			return false
		}
	}
	for _, x := range after {
		if x != a && (shareUser(x, a) || shareUser(b, x)) {
			return false
		}
	}
	return len(a.Users) > 0 && len(b.Users) > 0
}

// difference compares two paired items; what is empty when they are the same.
func (c *correlation) difference(b, a *Item) (off uint64, what string) {
	if (b.Section.Data == nil) != (a.Section.Data == nil) {
		return 0, "it changed between initialised and zero"
	}
	db, da := maskedData(b), maskedData(a)
	n := min(len(db), len(da))
	at := uint64(n)
	for i := range n {
		if db[i] != da[i] {
			at = uint64(i)
			break
		}
	}
	refOff, refWhat := c.refsDifference(b.Refs, a.Refs)
	switch {
	case refWhat != "" && refOff <= at:
		return refOff, refWhat
	case at < uint64(n):
		return at, fmt.Sprintf("bytes % x became % x", clip(db[at:]), clip(da[at:]))
	case b.Size != a.Size:
		return at, fmt.Sprintf("size %d became %d", b.Size, a.Size)
	case refWhat != "":
		return refOff, refWhat
	}
	return c.entriesDifference(b, a)
}

func clip(b []byte) []byte { return b[:min(8, len(b))] }

func (c *correlation) refsDifference(rb, ra []Ref) (off uint64, what string) {
	for i := range min(len(rb), len(ra)) {
		if w := c.refDifference(&rb[i], &ra[i]); w != "" {
			return min(rb[i].Offset, ra[i].Offset), w
		}
	}
	switch {
	case len(rb) > len(ra):
		return rb[len(ra)].Offset, fmt.Sprintf("reference to %s is gone", &rb[len(ra)])
	case len(ra) > len(rb):
		return ra[len(rb)].Offset, fmt.Sprintf("reference to %s is new", &ra[len(rb)])
	}
	return 0, ""
}

func (c *correlation) refDifference(b, a *Ref) string {
	same := b.Offset == a.Offset && b.Branch == a.Branch && b.Short == a.Short && b.Flags == a.Flags && b.Add == a.Add &&
		(b.Type == a.Type || b.Branch && object.PCRelative(b.Type) && object.PCRelative(a.Type)) && c.sameTarget(&b.Target, &a.Target)
	if same {
		return ""
	}
	return fmt.Sprintf("reference to %s became one to %s", b, a)
}

func (c *correlation) sameTarget(b, a *Target) bool {
	switch {
	case b.Item != nil && a.Item != nil:
		if b.Item.Kind == Const && a.Item.Kind == Const {
			return b.Item.Size == a.Item.Size && bytes.Equal(b.Item.Data(), a.Item.Data()) && (b.Item.Data() == nil) == (a.Item.Data() == nil)
		}
		if b.Item.Kind == AltAux && a.Item.Kind == AltAux {
			_, what := c.difference(b.Item, a.Item) // its own references lead back to functions only
			return what == ""
		}
		return c.toAfter[b.Item] == a.Item
	case c.byName && b.Item != nil && a.Extern != "":
		return c.before.Defined(a.Extern) == b.Item
	case b.Content != nil && a.Content != nil:
		return b.Content.Bytes == a.Content.Bytes
	}
	return b.Item == nil && a.Item == nil && b.Content == nil && a.Content == nil && b.Extern == a.Extern
}

// String is the reference's target in words.
func (r *Ref) String() string {
	name := r.Target.Extern
	switch {
	case r.Target.Item != nil:
		name = r.Target.Item.Name
	case r.Target.Content != nil && r.Target.Content.Strings:
		return fmt.Sprintf("%q", r.Target.Content.Bytes[:len(r.Target.Content.Bytes)-1])
	case r.Target.Content != nil:
		return fmt.Sprintf("literal % x", r.Target.Content.Bytes)
	}
	if r.Add != 0 {
		return fmt.Sprintf("%s%+#x", name, r.Add)
	}
	return name
}

// entriesDifference compares what special sections say of two functions.
func (c *correlation) entriesDifference(b, a *Item) (off uint64, what string) {
	for i := range min(len(b.Entries), len(a.Entries)) {
		eb, ea := &b.Entries[i], &a.Entries[i]
		off = eb.At - b.Start
		if eb.Format != ea.Format || off != ea.At-a.Start || !bytes.Equal(eb.Masked(), ea.Masked()) {
			return off, fmt.Sprintf("its entry in %s differs", eb.Format.Name)
		}
		if _, w := c.refsDifference(b.EntryRefs[i], a.EntryRefs[i]); w != "" {
			return off, fmt.Sprintf("its entry in %s differs: %s", eb.Format.Name, w)
		}
		if eb.Format.Name == special.AltInstructions && !bytes.Equal(replacement(eb, b.EntryRefs[i]), replacement(ea, a.EntryRefs[i])) {
			return off, "its alternative code differs"
		}
	}
	if len(b.Entries) != len(a.Entries) {
		return 0, "the number of its special section entries differs"
	}
	return 0, ""
}

// replacement is an alternative's code with relocated fields set to zero. The
// entry was read before, so it is in bounds.
func replacement(e *special.Entry, refs []Ref) []byte {
	s, off, size, err := e.Replacement()
	if err != nil {
		return nil
	}
	code := append([]byte(nil), s.Data[off:off+size]...)
	for _, r := range refs {
		width, _ := object.RelocWidth(r.Type)
		clear(code[min(r.Offset, size):min(size, r.Offset+uint64(width))])
	}
	return code
}
