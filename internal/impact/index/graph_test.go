// SPDX-License-Identifier: Apache-2.0

package index

import (
	"fmt"
	"slices"
	"testing"

	"kmend/internal/impact"
)

// TestGraphHasWhatQuestionsFollow: functions, counts, edges and symbols are those
// of the index. That following them gives the same answers is a test of the page
// that does.
func TestGraphHasWhatQuestionsFollow(t *testing.T) {
	q := open(t, build(t, sources))
	g, err := q.Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	err = q.Each(func(f *Function) bool {
		if g.Functions[i].Name != f.Name || g.Functions[i].Line != f.Line || g.Counts[i] != q.Count(f) {
			t.Errorf("function %d is %s, and %s in the index", i, g.Functions[i].Name, f.Name)
		}
		i++
		return true
	})
	if err != nil || i != len(g.Functions) {
		t.Errorf("%d functions, %d in the index (%v)", len(g.Functions), i, err)
	}
	nodes, edges, symbols := 0, 0, 0
	var found []string
	for _, u := range g.Units {
		nodes, symbols = nodes+len(u.Nodes), symbols+len(u.Symbols)
		for _, n := range u.Nodes {
			for k, e := range n.Edges {
				edges++
				found = append(found, fmt.Sprint(g.Functions[n.Function].Name, " ", e.Kind, " ", g.Functions[u.Nodes[e.To].Function].Name))
				if k > 0 && n.Edges[k-1].Kind == impact.Calls && e.Kind != impact.Calls {
					t.Errorf("calls are not the last edges of %s", g.Functions[n.Function].Name)
				}
			}
		}
		for k, s := range u.Symbols {
			if u.Nodes[s.Node].Symbol != k && u.Symbols[u.Nodes[s.Node].Symbol].Twin == k {
				t.Errorf("%s: symbol %d and its function do not know each other", u.Path, k)
			}
		}
	}
	if nodes != q.x.Nodes() || edges != q.x.Edges() || symbols != q.x.Symbols() {
		t.Errorf("%d nodes, %d edges, %d symbols; the index has %d, %d, %d", nodes, edges, symbols, q.x.Nodes(), q.x.Edges(), q.x.Symbols())
	}
	for _, want := range []string{"leaf inlined middle", "middle inlined top", "fields isra fields.isra.0", "fields.isra.0 calls caller", "shared inlined uses3"} {
		if !slices.Contains(found, want) {
			t.Errorf("no edge %q among %q", want, found)
		}
	}
}
