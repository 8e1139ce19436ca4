// SPDX-License-Identifier: Apache-2.0

package graph

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

func sample() *Graph {
	g := &Graph{}
	a := g.Node("a", Node{Label: "leaf<\"&\\>", Note: "a.c", Mark: true})
	b := g.Node("b", Node{Label: "middle"})
	c := g.Node("c", Node{Label: "top", Note: "vmlinux"})
	d := g.Node("d", Node{Label: "other"})
	g.Edge(a, b, "inlined")
	g.Edge(b, c, "inlined")
	g.Edge(b, c, "inlined")
	g.Edge(a, c, "calls")
	g.Edge(c, a, "inlined") // a cycle
	g.Edge(d, d, "recursive")
	return g
}

func TestSVGIsWellFormedAndPlain(t *testing.T) {
	g := sample()
	g.Title, g.Desc = "who <& whom", "arrows"
	data, err := g.SVG()
	if err != nil {
		t.Fatal(err)
	}
	texts, dec := map[string]bool{}, xml.NewDecoder(bytes.NewReader(data))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, data)
		}
		if c, ok := tok.(xml.CharData); ok {
			texts[string(c)] = true
		}
	}
	for _, s := range []string{`leaf<"&\>`, "middle", "top", "vmlinux", "inlined", "calls", "who <& whom", "arrows"} {
		if !texts[s] {
			t.Errorf("the picture does not say %q", s)
		}
	}
	if bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("Inf")) {
		t.Errorf("the picture has places that are no numbers")
	}
}

func TestLayersFollowTheLongestPath(t *testing.T) {
	l := &layout{g: sample()}
	l.rankAll()
	if got := fmt.Sprint(l.rank); got != "[0 1 2 0]" {
		t.Errorf("ranks %s", got)
	}
}

// TestCrossings: the sweeps untangle a graph that can be drawn without crossing.
func TestCrossings(t *testing.T) {
	g := &Graph{}
	for i := range 6 {
		g.Node(fmt.Sprint("a", i), Node{Label: fmt.Sprint("a", i)})
	}
	for i := range 6 {
		g.Edge(i, g.Node(fmt.Sprint("b", 5-i), Node{Label: fmt.Sprint("b", 5-i)}), "")
	}
	// b5 was added first: in the order of the names every edge crosses every other.
	l := &layout{g: g}
	l.rankAll()
	l.split()
	for i, j := 0, len(l.layers[1])-1; i < j; i, j = i+1, j-1 {
		l.layers[1][i], l.layers[1][j] = l.layers[1][j], l.layers[1][i]
	}
	l.order()
	at := map[int]int{}
	for _, layer := range l.layers {
		for i, n := range layer {
			at[n] = i
		}
	}
	for _, e := range g.edges {
		for _, f := range g.edges {
			if (at[e.From]-at[f.From])*(at[e.To]-at[f.To]) < 0 {
				t.Fatalf("edges %v and %v cross", e, f)
			}
		}
	}
}

func TestTooLargeForAPicture(t *testing.T) {
	g := &Graph{}
	for i := range MaxSVG + 1 {
		g.Node(fmt.Sprint(i), Node{Label: "x"})
	}
	_, err := g.SVG()
	var size *SizeError
	if !errors.As(err, &size) || !strings.Contains(err.Error(), ".dot") {
		t.Errorf("%v", err)
	}
	if n := bytes.Count(g.DOT(), []byte("[label=")); n != MaxSVG+1 {
		t.Errorf("DOT has %d nodes", n)
	}
}

func TestDOT(t *testing.T) {
	got := string(sample().DOT())
	for _, s := range []string{`n0 [label="leaf<\"&\\>\na.c", penwidth=2];`, `n0 -> n1 [label="inlined"];`, "digraph"} {
		if !strings.Contains(got, s) {
			t.Errorf("no %s in\n%s", s, got)
		}
	}
	dot, err := exec.LookPath("dot")
	if err != nil {
		return // Graphviz is not needed
	}
	cmd := exec.Command(dot, "-Tplain")
	cmd.Stdin = strings.NewReader(got)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("dot: %v\n%s", err, out)
	}
}
