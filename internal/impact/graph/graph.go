// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"bytes"
	"fmt"
	"strings"
)

// Graph is a directed graph. Nodes are numbered in the order they were added.
type Graph struct {
	// Title and Desc say what the picture shows, for those who cannot see it;
	// empty: the SVG has none.
	Title, Desc string

	nodes []Node
	edges []Edge
	ids   map[string]int
}

// Node is a box.
type Node struct {
	Label string // one line
	Note  string // a second, smaller line; may be empty
	Mark  bool   // drawn with a thick border
}

// Edge is an arrow between two nodes.
type Edge struct {
	From, To int
	Label    string
}

// Node adds a node under a key, or returns the one that is there.
func (g *Graph) Node(key string, n Node) int {
	if i, ok := g.ids[key]; ok {
		return i
	}
	if g.ids == nil {
		g.ids = map[string]int{}
	}
	g.ids[key] = len(g.nodes)
	g.nodes = append(g.nodes, n)
	return len(g.nodes) - 1
}

// Edge adds an arrow unless it is there.
func (g *Graph) Edge(from, to int, label string) {
	for _, e := range g.edges {
		if e.From == from && e.To == to && e.Label == label {
			return
		}
	}
	g.edges = append(g.edges, Edge{from, to, label})
}

// Len is the number of nodes.
func (g *Graph) Len() int { return len(g.nodes) }

// DOT is the graph in the language of Graphviz.
func (g *Graph) DOT() []byte {
	var b bytes.Buffer
	b.WriteString("digraph impact {\n\trankdir=LR;\n\tnode [shape=box, fontname=\"monospace\"];\n")
	for i, n := range g.nodes {
		label := n.Label
		if n.Note != "" {
			label += "\n" + n.Note
		}
		style := ""
		if n.Mark {
			style = ", penwidth=2"
		}
		fmt.Fprintf(&b, "\tn%d [label=%s%s];\n", i, quote(label), style)
	}
	for _, e := range g.edges {
		fmt.Fprintf(&b, "\tn%d -> n%d [label=%s];\n", e.From, e.To, quote(e.Label))
	}
	b.WriteString("}\n")
	return b.Bytes()
}

// quote is a DOT string: only quotes, backslashes and line ends are special.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
