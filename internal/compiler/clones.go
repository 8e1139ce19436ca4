// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// maxDumpLine bounds a line of a dump; assembler names are far shorter.
const maxDumpLine = 1 << 20

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

// ParseClones reads a dump as GCC 7.1 and later write it (gcc/symtab-clones.h,
// gcc/cgraph.cc: dump_callgraph_transformation).
func ParseClones(dump []byte) (*Clones, error) {
	c := &Clones{byFrom: map[Node][]int{}}
	sc := bufio.NewScanner(bytes.NewReader(dump))
	sc.Buffer(nil, maxDumpLine)
	for n := 1; sc.Scan(); n++ {
		fields := strings.Split(sc.Text(), ";")
		var err error
		switch {
		case fields[0] == "Callgraph clone" && len(fields) == 12:
			err = c.addClone(fields)
		case fields[0] == "Callgraph removal" && len(fields) == 6:
			var node Node
			if node, err = parseNode(fields[1:]); err == nil {
				c.Removed = append(c.Removed, node)
			}
		default:
			err = fmt.Errorf("unknown record %.60q of %d fields", fields[0], len(fields))
		}
		if err != nil {
			return nil, fmt.Errorf("read .ipa-clones dump: line %d: %w", n, err)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("read .ipa-clones dump: %w", err)
	}
	return c, nil
}

func (c *Clones) addClone(fields []string) error {
	from, err := parseNode(fields[1:])
	if err != nil {
		return err
	}
	to, err := parseNode(fields[6:])
	if err != nil {
		return err
	}
	kind := fields[11]
	if kind == "(null)" {
		kind = ""
	}
	c.byFrom[from] = append(c.byFrom[from], len(c.Clones))
	c.Clones = append(c.Clones, Clone{From: from, To: to, Kind: kind})
	return nil
}

func parseNode(fields []string) (Node, error) {
	order, err := strconv.Atoi(fields[1])
	if err != nil {
		return Node{}, fmt.Errorf("order of %.60q: %w", fields[0], err)
	}
	// A name that the source gave by an asm label begins with a star, which the
	// symbol does not have (gcc/varasm.cc: assemble_name).
	return Node{Name: strings.TrimPrefix(fields[0], "*"), Order: order}, nil
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
