// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"unicode/utf8"
)

// MaxSVG is how many nodes SVG draws. A picture of more cannot be read.
const MaxSVG = 300

// SizeError says that a graph is too large for SVG.
type SizeError struct{ Nodes int }

func (e *SizeError) Error() string {
	return fmt.Sprintf("draw the graph: %d functions are more than the %d that a picture can show; write it as .dot, for Graphviz, or ask for fewer functions", e.Nodes, MaxSVG)
}

// Sizes in pixels.
const (
	charWidth  = 7.3
	boxHeight  = 34
	rowGap     = 14
	layerGap   = 90
	margin     = 16
	sweeps     = 8
	dummyWidth = 1
)

// layout places nodes in layers, and edges that cross layers over places of
// their own there.
type layout struct {
	g      *Graph
	rank   []int // of nodes, then of dummies
	paths  [][]int
	layers [][]int
	next   [][]int
	prev   [][]int
	x, y   []float64
	width  []float64
}

// SVG is the graph as a picture. The error is a *SizeError.
func (g *Graph) SVG() ([]byte, error) {
	if len(g.nodes) > MaxSVG {
		return nil, &SizeError{len(g.nodes)}
	}
	l := &layout{g: g}
	l.rankAll()
	l.split()
	l.order()
	l.place()
	return l.draw(), nil
}

// rankAll gives each node the length of the longest path to it. Edges back into
// a path that is being walked, of a cycle, do not count.
func (l *layout) rankAll() {
	out := make([][]int, len(l.g.nodes))
	for _, e := range l.g.edges {
		out[e.From] = append(out[e.From], e.To)
	}
	// Reverse finishing order of a depth-first walk is a topological order once
	// the edges back are left out.
	state := make([]byte, len(l.g.nodes))
	back := map[[2]int]bool{}
	var done []int
	var walk func(n int)
	walk = func(n int) {
		state[n] = 1
		for _, m := range out[n] {
			switch state[m] {
			case 0:
				walk(m)
			case 1:
				back[[2]int{n, m}] = true
			}
		}
		state[n] = 2
		done = append(done, n)
	}
	for n := range l.g.nodes {
		if state[n] == 0 {
			walk(n)
		}
	}
	l.rank = make([]int, len(l.g.nodes))
	slices.Reverse(done)
	for _, n := range done {
		for _, m := range out[n] {
			if !back[[2]int{n, m}] {
				l.rank[m] = max(l.rank[m], l.rank[n]+1)
			}
		}
	}
}

// split puts a dummy into each layer that an edge crosses.
func (l *layout) split() {
	for _, e := range l.g.edges {
		path := []int{e.From}
		step := 1
		if l.rank[e.To] < l.rank[e.From] {
			step = -1
		}
		for r := l.rank[e.From] + step; (l.rank[e.To]-r)*step > 0; r += step {
			path = append(path, len(l.rank))
			l.rank = append(l.rank, r)
		}
		l.paths = append(l.paths, append(path, e.To))
	}
	l.next, l.prev = make([][]int, len(l.rank)), make([][]int, len(l.rank))
	for _, p := range l.paths {
		for i := 1; i < len(p); i++ {
			a, b := p[i-1], p[i]
			if l.rank[a] > l.rank[b] {
				a, b = b, a
			}
			l.next[a] = append(l.next[a], b)
			l.prev[b] = append(l.prev[b], a)
		}
	}
	for n, r := range l.rank {
		for len(l.layers) <= r {
			l.layers = append(l.layers, nil)
		}
		l.layers[r] = append(l.layers[r], n)
	}
}

// order sweeps over the layers, each time putting every node at the mean place
// of its neighbours in the layer before (Sugiyama's barycentre heuristic).
func (l *layout) order() {
	at := make([]float64, len(l.rank))
	number := func(layer []int) {
		for i, n := range layer {
			at[n] = float64(i)
		}
	}
	for _, layer := range l.layers {
		number(layer)
	}
	key := make([]float64, len(l.rank))
	for s := range sweeps {
		near := l.prev
		if s%2 == 1 {
			near = l.next
		}
		for i := range l.layers {
			layer := l.layers[i]
			if s%2 == 1 {
				layer = l.layers[len(l.layers)-1-i]
			}
			for _, n := range layer {
				key[n] = at[n]
				if len(near[n]) > 0 {
					sum := 0.0
					for _, m := range near[n] {
						sum += at[m]
					}
					key[n] = sum / float64(len(near[n]))
				}
			}
			slices.SortStableFunc(layer, func(a, b int) int {
				switch {
				case key[a] < key[b]:
					return -1
				case key[a] > key[b]:
					return 1
				}
				return 0
			})
			number(layer)
		}
	}
}

// place turns layers into columns, each centred.
func (l *layout) place() {
	n := len(l.rank)
	l.x, l.y, l.width = make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range l.width {
		l.width[i] = dummyWidth
		if i < len(l.g.nodes) {
			node := &l.g.nodes[i]
			l.width[i] = charWidth*float64(max(utf8.RuneCountInString(node.Label), utf8.RuneCountInString(node.Note)*4/5)) + 16
		}
	}
	tallest := 0
	for _, layer := range l.layers {
		tallest = max(tallest, len(layer))
	}
	x := float64(margin)
	for _, layer := range l.layers {
		wide := 0.0
		for _, n := range layer {
			wide = max(wide, l.width[n])
		}
		top := margin + float64(tallest-len(layer))*(boxHeight+rowGap)/2
		for i, n := range layer {
			l.x[n] = x + (wide-l.width[n])/2
			l.y[n] = top + float64(i)*(boxHeight+rowGap)
		}
		x += wide + layerGap
	}
}

func (l *layout) draw() []byte {
	w, h := 0.0, 0.0
	for i := range l.x {
		w, h = max(w, l.x[i]+l.width[i]+margin), max(h, l.y[i]+boxHeight+margin)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="monospace" font-size="12" role="img">`+"\n", w, h, w, h)
	for _, e := range [][2]string{{"title", l.g.Title}, {"desc", l.g.Desc}} {
		if e[1] != "" {
			fmt.Fprintf(&b, "<%s>%s</%s>\n", e[0], html.EscapeString(e[1]), e[0])
		}
	}
	b.WriteString(`<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>` + "\n")
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i, p := range l.paths {
		l.edge(&b, p, l.g.edges[i].Label)
	}
	for i, n := range l.g.nodes {
		stroke := 1
		if n.Mark {
			stroke = 2
		}
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="4" fill="#f4f6fa" stroke="#234" stroke-width="%d"/>`+"\n", l.x[i], l.y[i], l.width[i], boxHeight, stroke)
		mid, line := l.x[i]+l.width[i]/2, l.y[i]+21
		if n.Note != "" {
			line = l.y[i] + 14
			fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="10" fill="#567">%s</text>`+"\n", mid, l.y[i]+28, html.EscapeString(n.Note))
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", mid, line, html.EscapeString(n.Label))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// edge draws a smooth line through the places of a path.
func (l *layout) edge(b *bytes.Buffer, p []int, label string) {
	mid := func(n int) float64 { return l.y[n] + boxHeight/2 }
	from, to := p[0], p[len(p)-1]
	x, y := l.x[from]+l.width[from], mid(from)
	if from == to { // a loop above the box
		fmt.Fprintf(b, `<path d="M%.1f %.1fc20 -26 -40 -26 -20 -17" fill="none" stroke="#678" marker-end="url(#arrow)"/>`+"\n", x-10, l.y[from])
		return
	}
	forward := l.rank[to] > l.rank[from]
	if !forward {
		x = l.x[from]
	}
	fmt.Fprintf(b, `<path d="M%.1f %.1f`, x, y)
	for _, n := range p[1:] {
		nx, ny := l.x[n], mid(n)
		if !forward {
			nx += l.width[n]
		}
		bend := (nx - x) / 2
		fmt.Fprintf(b, "C%.1f %.1f %.1f %.1f %.1f %.1f", x+bend, y, nx-bend, ny, nx, ny)
		x, y = nx, ny
		if n != to && forward {
			x += l.width[n]
		}
	}
	b.WriteString(`" fill="none" stroke="#678" marker-end="url(#arrow)"/>` + "\n")
	if label != "" {
		at := p[1]
		lx := (l.x[from] + l.width[from] + l.x[at]) / 2
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" font-size="10" fill="#a40">%s</text>`+"\n", lx, (mid(from)+mid(at))/2-3, html.EscapeString(label))
	}
}
