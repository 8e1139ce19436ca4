// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
)

// correlation pairs the items of two units.
type correlation struct {
	before, after *Unit
	toAfter       map[*Item]*Item
	toBefore      map[*Item]*Item
	groups        []*group // of numbered items, in order of appearance
	// ambiguous items after the fix may be a variable from before or a new one.
	ambiguous map[*Item]string
	// byName: after is a part of before, and refers to the rest by name.
	byName bool
}

func (c *correlation) pair(b, a *Item) {
	c.toAfter[b], c.toBefore[a] = a, b
}

func (c *correlation) unpair(b, a *Item) {
	delete(c.toAfter, b)
	delete(c.toBefore, a)
}

// correlate pairs items by name where the name is the programmer's, and by
// everything else that is known of them where the compiler numbered it.
func correlate(before, after *Unit) *correlation {
	c := &correlation{
		before: before, after: after,
		toAfter: map[*Item]*Item{}, toBefore: map[*Item]*Item{},
		ambiguous: map[*Item]string{},
	}
	groups := map[string]*group{}
	var order []string
	add := func(it *Item, isAfter bool) {
		if it.Kind.byContent() || !numberedLocal(it) || it.Kind.IsCode() {
			return
		}
		stem, _ := Stem(it.Name)
		key := fmt.Sprintf("%d %s", it.Kind, stem)
		g := groups[key]
		if g == nil {
			g = &group{}
			groups[key] = g
			order = append(order, key)
		}
		if isAfter {
			g.after = append(g.after, it)
		} else {
			g.before = append(g.before, it)
		}
	}
	for _, b := range before.Items {
		if b.Kind.byContent() {
			continue
		}
		if numberedLocal(b) && !b.Kind.IsCode() {
			add(b, false)
			continue
		}
		if a := after.sameName(b); a != nil && c.toBefore[a] == nil {
			c.pair(b, a)
		}
	}
	for _, a := range after.Items {
		add(a, true)
	}
	for _, key := range order {
		c.groups = append(c.groups, groups[key])
		c.pairGroup(groups[key])
	}
	return c
}

// sameName finds the item with one of b's names, or at the place of nameless b.
func (u *Unit) sameName(b *Item) *Item {
	for _, s := range b.Symbols {
		if a := u.byName[s.Name]; a != nil && !a.Kind.byContent() && a.Kind.IsCode() == b.Kind.IsCode() {
			return a
		}
	}
	if len(b.Symbols) == 0 {
		if a := u.byName[b.Name]; a != nil && len(a.Symbols) == 0 && a.Kind == b.Kind {
			return a
		}
	}
	return nil
}

// group is the compiler-numbered items of one stem and kind.
type group struct{ before, after []*Item }

// pairGroup pairs a group: first items that agree in all that identifies them,
// then, for what is left, those with a common user if that decides.
func (c *correlation) pairGroup(g *group) {
	restB, restA := c.pairBySignature(g.before, g.after, signature)
	if len(restB) > 0 && len(restA) > 0 {
		restB, restA = c.pairByUser(restB, restA)
	}
	if len(restB) == 0 || len(restA) == 0 {
		return
	}
	if !mustKnow(restA[0]) {
		return
	}
	for _, a := range restA {
		c.ambiguous[a] = fmt.Sprintf("%d variables of that name before the fix and %d after it, in functions that changed", len(g.before), len(g.after))
	}
}

// mustKnow reports whether taking a numbered item for another of its name
// could do harm. A flag or a limit of how often a message is printed does none:
// once flags (but ___done of DO_ONCE, linux/once.h), debug sites, and _rs, the state of a *_ratelimited message
// (linux/printk.h, linux/dev_printk.h). Read-only data is told by content.
func mustKnow(it *Item) bool {
	stem, _ := Stem(it.Name)
	return it.Kind == State && stem != "_rs" || it.Kind == OnceFlag && stem == "___done"
}

func (c *correlation) pairBySignature(before, after []*Item, sig func(*Item) string) (restB, restA []*Item) {
	buckets := map[string]*group{}
	for _, b := range before {
		s := sig(b)
		if buckets[s] == nil {
			buckets[s] = &group{}
		}
		buckets[s].before = append(buckets[s].before, b)
	}
	for _, a := range after {
		if g := buckets[sig(a)]; g != nil {
			g.after = append(g.after, a)
		}
	}
	for _, g := range buckets {
		n := min(len(g.before), len(g.after))
		if len(g.before) != len(g.after) && mustKnow(g.before[0]) {
			n = 0
		}
		for i := range n {
			c.pair(g.before[i], g.after[i])
		}
	}
	return c.unpaired(before, after)
}

func (c *correlation) unpaired(before, after []*Item) (restB, restA []*Item) {
	for _, b := range before {
		if c.toAfter[b] == nil {
			restB = append(restB, b)
		}
	}
	for _, a := range after {
		if c.toBefore[a] == nil {
			restA = append(restA, a)
		}
	}
	return restB, restA
}

// pairByUser pairs items of equal size that share a user, where each has just
// one such partner.
func (c *correlation) pairByUser(before, after []*Item) (restB, restA []*Item) {
	partners := map[*Item][]*Item{}
	for _, b := range before {
		for _, a := range after {
			if b.Size == a.Size && shareUser(b, a) {
				partners[b] = append(partners[b], a)
				partners[a] = append(partners[a], b)
			}
		}
	}
	for _, b := range before {
		if p := partners[b]; len(p) == 1 && len(partners[p[0]]) == 1 {
			c.pair(b, p[0])
		}
	}
	return c.unpaired(before, after)
}

func shareUser(b, a *Item) bool {
	names := map[string]bool{}
	for _, u := range b.Users {
		names[Source(u.Name)] = true
	}
	for _, u := range a.Users {
		if names[Source(u.Name)] {
			return true
		}
	}
	return false
}

// signature is all that identifies a numbered item but its number.
func signature(it *Item) string {
	users := make([]string, 0, len(it.Users))
	for _, u := range it.Users {
		stem, _ := Stem(u.Name)
		users = append(users, stem)
	}
	sort.Strings(users)
	return content(it) + " used by " + strings.Join(users, ",")
}

// content is what identifies a numbered item by itself.
func content(it *Item) string {
	var b strings.Builder
	section, _ := Stem(it.Section.Name)
	fmt.Fprintf(&b, "%s %d %x", section, it.Size, maskedData(it))
	for _, r := range it.Refs {
		fmt.Fprintf(&b, " %d:%d:%s%+d", r.Offset, r.Type, targetStem(&r.Target), r.Add)
	}
	return b.String()
}

func targetStem(t *Target) string {
	switch {
	case t.Item != nil && t.Item.Kind == Const:
		return fmt.Sprintf("const %x", t.Item.Data())
	case t.Item != nil:
		stem, _ := Stem(t.Item.Name)
		return stem
	case t.Content != nil:
		return fmt.Sprintf("%q", t.Content.Bytes)
	}
	return t.Extern
}

// maskedData is an item's bytes with relocated fields, and what only says at
// which source line it stands, set to zero.
func maskedData(it *Item) []byte {
	data := append([]byte(nil), it.Data()...)
	for _, r := range it.Refs {
		width, _ := object.RelocWidth(r.Type)
		if r.Short {
			width = 1
		}
		clear(data[min(r.Offset, uint64(len(data))):min(uint64(len(data)), r.Offset+uint64(width))])
	}
	if it.Kind == DebugSite && len(data) >= 36 { // struct _ddebug.lineno:18, linux/dynamic_debug.h
		data[32], data[33], data[34] = 0, 0, data[34]&^3
	}
	return data
}
