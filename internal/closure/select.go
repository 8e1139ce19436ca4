// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"fmt"
	"slices"
	"sort"

	"kmend/internal/delta"
	"kmend/internal/special"
)

// Need is something outside the selection that selected code refers to: an
// item of the unit that the running kernel has, or an undefined symbol.
type Need struct {
	Item   *delta.Item // as compiled after the fix; nil for Extern
	Before *delta.Item // the same item before the fix; nil for Extern
	Extern string
	Uses   []Use
}

// Name is the symbol name as compiled.
func (n *Need) Name() string {
	if n.Item != nil {
		return n.Item.Name
	}
	return n.Extern
}

// Use is one reference to a Need.
type Use struct {
	From    *delta.Item
	Offset  uint64 // in From, of the field or of the instruction a special entry describes
	Section string // special section whose entry holds the reference, "" for From's own bytes
	Branch  bool
}

// Refusal is a reason why the selection cannot become a live patch.
type Refusal struct {
	Code   string
	Symbol string
	Why    string
	Advice string
}

// Closure is what goes into the patch of one unit.
type Closure struct {
	Result   *delta.Result
	Replaced []delta.Change // functions that get a livepatch entry
	Included []*delta.Item  // all code and data to copy, by place in the object
	Needs    []*Need        // by name
	Refusals []Refusal
	// Pins says, for each new function, variable or constant whose address
	// becomes a value, where: the kernel may keep it, so the module must stay
	// loaded.
	Pins []string

	included  map[*delta.Item]bool
	replaced  map[*delta.Item]bool     // items after the fix
	holders   []*delta.Item            // of addresses of constants, in order
	constants map[*delta.Item][]string // which, by holder
	itemNeed  map[*delta.Item]*Need
	extNeed   map[string]*Need
}

// Has reports whether the item is copied into the patch.
func (c *Closure) Has(it *delta.Item) bool { return c.included[it] }

// Select computes the closure of the functions that differ. Those of them in
// carried (items after the fix) cannot be redirected in the running kernel:
// they go along as copies and get no livepatch entry. The caller sees to it
// that every function that calls one is among r.Changed, too.
func Select(r *delta.Result, carried ...*delta.Item) *Closure {
	c := &Closure{
		Result:   r,
		included: map[*delta.Item]bool{}, replaced: map[*delta.Item]bool{},
		itemNeed: map[*delta.Item]*Need{}, extNeed: map[string]*Need{}, constants: map[*delta.Item][]string{},
	}
	var work []*delta.Item
	add := func(it *delta.Item) {
		for it != nil && !c.included[it] {
			c.included[it] = true
			work = append(work, it)
			it = it.Cold
		}
	}
	for _, ch := range r.Changed {
		c.replaced[ch.After] = true
		if !slices.Contains(carried, ch.After) {
			c.Replaced = append(c.Replaced, ch)
		}
		add(ch.After)
	}
	for _, it := range r.New {
		add(it)
	}
	for len(work) > 0 {
		it := work[0]
		work = work[1:]
		c.follow(it, add)
	}
	c.pinHolders()
	for _, it := range r.After.Items {
		if c.included[it] {
			c.Included = append(c.Included, it)
		}
	}
	sort.Slice(c.Needs, func(i, j int) bool { return c.Needs[i].Name() < c.Needs[j].Name() })
	return c
}

func (c *Closure) follow(it *delta.Item, add func(*delta.Item)) {
	for i := range it.Refs {
		r := &it.Refs[i]
		c.followRef(it, r, Use{From: it, Offset: r.Offset, Branch: r.Branch}, add)
	}
	for i := range it.Entries {
		e := &it.Entries[i]
		for j := range it.EntryRefs[i] {
			r := &it.EntryRefs[i][j]
			c.followRef(it, r, Use{From: it, Offset: e.At - it.Start, Section: e.Format.Name, Branch: r.Branch}, add)
		}
	}
}

func (c *Closure) followRef(it *delta.Item, r *delta.Ref, use Use, add func(*delta.Item)) {
	t := r.Target.Item
	switch {
	case r.Target.Content != nil:
		if use.Section == "" && r.Target.Content.Strings {
			c.pinConstant(it, r)
		}
		return
	case t == nil:
		n := c.extNeed[r.Target.Extern]
		if n == nil {
			n = &Need{Extern: r.Target.Extern}
			c.extNeed[n.Extern] = n
			c.Needs = append(c.Needs, n)
		}
		n.Uses = append(n.Uses, use)
		return
	case c.own(it, t, r):
		return
	}
	if r.Short {
		c.refuse("unsupported-code", it.Name, fmt.Sprintf("a two-byte jump at +%#x leads to %s and cannot be retargeted", r.Offset, t.Name),
			"this is assembler code; patch another function")
		return
	}
	if c.replaced[family(t)] && !r.Branch && r.Add != 0 {
		c.refuse("unsupported-code", it.Name, fmt.Sprintf("it uses an address inside %s, which is replaced", t.Name),
			"write the fix without the address of a label, or patch another function")
		return
	}
	if r.Reloc.Sym != nil && r.Reloc.Sym.IsSection() && c.Result.MovedInSection(t) {
		c.refuse("ambiguous-static", t.Name, fmt.Sprintf("%s refers to a place in %s that may be %s or the end of its neighbour, and the fix changes what lies in that section", it.Name, t.Section.Name, t.Name),
			"leave the section attribute (__read_mostly and the like) out of new variables")
		return
	}
	if c.internal(t, r) {
		switch {
		case use.Section != "":
		case c.addressTaken(it, r, t):
			c.pin("%s takes the address of new %s %s", it.Name, t.Kind, t.Name)
		case t.Kind == delta.Const || t.Kind == delta.Rodata:
			c.pinConstant(it, r)
		}
		add(t)
		return
	}
	c.need(it, t, use)
}

// family is the function an item is part of.
func family(it *delta.Item) *delta.Item {
	if it.Parent != nil {
		return it.Parent
	}
	return it
}

// own reports whether a reference stays within one function or data object.
// A replaced function that uses its own address as a value does not: the
// address is that of the function it replaces.
func (c *Closure) own(it, t *delta.Item, r *delta.Ref) bool {
	if family(t) != family(it) {
		return false
	}
	return r.Branch || r.Add != 0 || !c.replaced[t]
}

// internal reports whether a reference to t stays inside the patch.
func (c *Closure) internal(t *delta.Item, r *delta.Ref) bool {
	switch t.Kind {
	case delta.Const, delta.AltAux, delta.DebugSite:
		return true
	case delta.Func:
		if c.replaced[family(t)] {
			return r.Branch
		}
		return c.Result.BeforeOf(t) == nil
	case delta.State, delta.Rodata, delta.OnceFlag:
		return c.Result.BeforeOf(t) == nil && c.Result.Ambiguous[t] == ""
	}
	return false
}

// addressTaken reports whether r makes the address of a new function or
// variable a value, other than to call or access it on the spot.
func (c *Closure) addressTaken(it *delta.Item, r *delta.Ref, t *delta.Item) bool {
	if c.Result.BeforeOf(t) != nil || r.Branch {
		return false
	}
	switch t.Kind {
	case delta.Func:
		return r.Add == 0
	case delta.State:
		if !it.Kind.IsCode() {
			return true
		}
		// A RIP-relative field right behind opcode 8d and its ModRM byte is lea;
		// an absolute field (-mcmodel=kernel) is mov $address.
		code := it.Data()
		return r.Tail == 0 || r.Offset >= 2 && code[r.Offset-2] == 0x8d
	}
	return false
}

func (c *Closure) need(it, t *delta.Item, use Use) {
	b := c.Result.BeforeOf(t)
	switch {
	case c.Result.Ambiguous[t] != "":
		c.refuse("ambiguous-static", t.Name, fmt.Sprintf("%s uses it, and whether it is a variable of the running kernel cannot be told: %s", it.Name, c.Result.Ambiguous[t]),
			"give the variables distinct names in the fix")
		return
	case t.Kind == delta.InitCode || t.Kind == delta.InitData || t.Kind == delta.ExitCode:
		c.refuse("init-reference", t.Name, fmt.Sprintf("%s refers to %s, which is freed after start", it.Name, t.Kind),
			"patch a function that does not use init code or data")
		return
	case b == nil:
		c.refuse("data-changed", t.Name, fmt.Sprintf("%s uses this %s, which the running kernel does not have", it.Name, t.Kind),
			"leave it out of the fix, or reboot into a fixed kernel")
		return
	}
	n := c.itemNeed[t]
	if n == nil {
		n = &Need{Item: t, Before: b}
		c.itemNeed[t] = n
		c.Needs = append(c.Needs, n)
	}
	n.Uses = append(n.Uses, use)
}

func (c *Closure) refuse(code, symbol, why, advice string) {
	for _, r := range c.Refusals {
		if r.Code == code && r.Symbol == symbol {
			return
		}
	}
	c.Refusals = append(c.Refusals, Refusal{Code: code, Symbol: symbol, Why: why, Advice: advice})
}

// keySection reports whether a special section refers to a key: state that
// tells the kernel how to rewrite the code.
func keySection(name string) bool {
	return name == special.JumpTable || name == special.StaticCallSites
}

// KeyUse reports whether the use is by a jump label or static call site, and
// which section it is in.
func (u *Use) KeyUse() bool { return keySection(u.Section) }
