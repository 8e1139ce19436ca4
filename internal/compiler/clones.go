// SPDX-License-Identifier: Apache-2.0

package compiler

import "fmt"

// Node is a function in a dump. Order is GCC's symbol table order, which tells
// nodes of one name in one translation unit apart.
type Node struct {
	Name  string // assembler name
	Order int
}

// Clone says that GCC copied a body: From's into To, or to make To.
type Clone struct {
	From, To Node
	Kind     string // "inlining to", "constprop", "isra", "part", or "" for the master of a recursive inlining
}

// Clones is a parsed .ipa-clones dump.
type Clones struct {
	Clones  []Clone
	Removed []Node // bodies that went; an inlined copy counts as well
	byFrom  map[Node][]int
}

// kinds are the operations as GCC spells them; the master copy has no name.
var kinds = [...]string{CloneInlined: "inlining to", CloneConstprop: "constprop", CloneIsra: "isra", ClonePart: "part", CloneRecursive: ""}

// ParseClones reads a dump whole; see DumpScanner.
func ParseClones(dump []byte) (*Clones, error) {
	c := &Clones{byFrom: map[Node][]int{}}
	names := map[string]string{} // one string for each name
	node := func(n *DumpNode) Node {
		name, ok := names[string(n.Name)]
		if !ok {
			name = string(n.Name)
			names[name] = name
		}
		return Node{Name: name, Order: int(n.Order)}
	}
	s := ScanDump(dump)
	for s.Next() {
		from := node(&s.From)
		if s.Op == CloneRemoved {
			c.Removed = append(c.Removed, from)
			continue
		}
		c.byFrom[from] = append(c.byFrom[from], len(c.Clones))
		c.Clones = append(c.Clones, Clone{From: from, To: node(&s.To), Kind: kinds[s.Op]})
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read .ipa-clones dump: %w", err)
	}
	return c, nil
}

// Reached returns the names of all functions that the body of the function
// named from was copied into, directly or by way of others.
func (c *Clones) Reached(from string) map[string]bool {
	reached, seen := map[string]bool{}, map[Node]bool{}
	var work []Node
	visit := func(n Node) {
		if !seen[n] {
			seen[n] = true
			work = append(work, n)
		}
	}
	for _, cl := range c.Clones {
		if cl.From.Name == from {
			visit(cl.From)
		}
	}
	for len(work) > 0 {
		n := work[0]
		work = work[1:]
		for _, e := range c.byFrom[n] {
			reached[c.Clones[e].To.Name] = true
			visit(c.Clones[e].To)
		}
	}
	return reached
}

// Path returns the shortest chain of copies by which the body of the function
// named from reached the function named to, or nil.
func (c *Clones) Path(from, to string) []Clone {
	type step struct {
		node Node
		via  int // index into steps of the predecessor, -1 for a start
		edge int
	}
	var steps []step
	seen := map[Node]bool{}
	for _, cl := range c.Clones {
		if cl.From.Name == from && !seen[cl.From] {
			seen[cl.From] = true
			steps = append(steps, step{node: cl.From, via: -1})
		}
	}
	for i := 0; i < len(steps); i++ {
		for _, e := range c.byFrom[steps[i].node] {
			next := c.Clones[e].To
			if seen[next] {
				continue
			}
			seen[next] = true
			steps = append(steps, step{node: next, via: i, edge: e})
			if next.Name != to {
				continue
			}
			var path []Clone
			for at := len(steps) - 1; steps[at].via >= 0; at = steps[at].via {
				path = append([]Clone{c.Clones[steps[at].edge]}, path...)
			}
			return path
		}
	}
	return nil
}

// Names reports whether the dump has a function of that name, whatever happened
// to it.
func (c *Clones) Names(name string) bool {
	for i := range c.Clones {
		if c.Clones[i].From.Name == name || c.Clones[i].To.Name == name {
			return true
		}
	}
	for i := range c.Removed {
		if c.Removed[i].Name == name {
			return true
		}
	}
	return false
}

// Renamed is the dump with other names.
func (c *Clones) Renamed(name func(string) string) *Clones {
	out := &Clones{byFrom: map[Node][]int{}}
	for i, cl := range c.Clones {
		cl.From.Name, cl.To.Name = name(cl.From.Name), name(cl.To.Name)
		out.byFrom[cl.From] = append(out.byFrom[cl.From], i)
		out.Clones = append(out.Clones, cl)
	}
	for _, n := range c.Removed {
		n.Name = name(n.Name)
		out.Removed = append(out.Removed, n)
	}
	return out
}
