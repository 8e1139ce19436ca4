// SPDX-License-Identifier: Apache-2.0

package index

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

// made is an index of n functions of one name in one unit, with changes.
func made(t *testing.T, n int, change func(f *file)) *Index {
	t.Helper()
	f := &file{strings: []byte("\x00f\x00"), units: []unit{{nodes: uint32(n)}}, names: [][2]uint32{{1, 0}, {0, uint32(n)}}, slots: []uint32{0, 0}, outs: []uint32{0}}
	for i := range n {
		f.nodes = append(f.nodes, node{name: 1, line: int32(i)})
		f.byName = append(f.byName, uint32(i))
		f.outs = append(f.outs, 0)
	}
	if change != nil {
		change(f)
	}
	data, err := f.encode()
	if err != nil {
		t.Fatal(err)
	}
	x, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestSharedPartsAreRefused: an index whose names lie within each other, or whose
// units share their functions, symbols or edges, would be read into many times its
// size. It is refused before.
func TestSharedPartsAreRefused(t *testing.T) {
	const n = 3000
	for what, c := range map[string]struct {
		change func(f *file)
		says   string
	}{
		"sound": {nil, ""},
		"names within a name": {func(f *file) {
			f.strings = []byte("\x00" + strings.Repeat("x", maxString) + "\x00")
			for i := range f.nodes {
				f.nodes[i].name = 1 + uint32(i)
			}
		}, "string at 2 is not there"},
		"functions": {func(f *file) {
			for range n {
				f.units = append(f.units, f.units[0])
			}
		}, "function of its own for unit 1"},
		"symbols": {func(f *file) {
			f.units = nil
			for i := range n {
				f.units = append(f.units, unit{node0: uint32(i), nodes: 1, syms: n})
				f.nodes[i].unit = uint32(i)
				f.syms = append(f.syms, symbol{})
			}
		}, "symbol of its own for unit 1 is not there"},
		"edges": {func(f *file) { // every second function has all of them, and those between are of no unit
			f.units = nil
			f.edges = make([]edge, n)
			for i := range f.nodes {
				f.outs[i+1] = n * uint32((i+1)%2)
				if i%2 == 0 {
					f.edges[i] = makeEdge(0, uint32(i))
					f.units = append(f.units, unit{node0: uint32(i), nodes: 1})
				}
				f.nodes[i].unit = uint32(i / 2)
			}
		}, "damaged"},
	} {
		x := made(t, n, c.change)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g, err := x.NewQuery().Graph(t.Context())
		runtime.ReadMemStats(&after)
		grown := after.TotalAlloc - before.TotalAlloc
		var damage *FormatError
		switch {
		case c.says == "" && (err != nil || len(g.Units[0].Nodes) != n):
			t.Errorf("%s: %v", what, err)
		case c.says != "" && (!errors.As(err, &damage) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", what, err, c.says)
		case grown > 100*uint64(x.Size()):
			t.Errorf("%s: %d kB were allocated for %d", what, grown>>10, x.Size()>>10)
		}
	}
}

// TestLongNames: the writer refuses what the reader would.
func TestLongNames(t *testing.T) {
	f := &file{strings: []byte("\x00" + strings.Repeat("x", maxString+1) + "\x00")}
	if _, err := f.encode(); err == nil || !strings.Contains(err.Error(), "4097 bytes") {
		t.Errorf("%v", err)
	}
	x := made(t, 1, nil)
	x.sec[secStrings] = []byte("\x00" + strings.Repeat("x", maxString+1) + "\x00")
	q := x.NewQuery()
	if s := q.str(1); s != "" || q.Err() == nil {
		t.Errorf("%d bytes, %v", len(s), q.Err())
	}
}

// TestTooMuchWorkEnds: a question whose answer would take years is refused.
func TestTooMuchWorkEnds(t *testing.T) {
	const n = 100
	x := made(t, n, func(f *file) {
		for i := range n {
			for j := range n {
				f.edges = append(f.edges, makeEdge(0, uint32(j)))
			}
			f.outs[i+1] = uint32(len(f.edges))
		}
	})
	q := x.NewQuery()
	count := 0
	if err := q.Each(func(f *Function) bool { q.Count(f); count++; return true }); err != nil || count != n || q.work != n*(n+n*n) {
		t.Fatalf("%v, %d functions, %d edges followed", err, count, q.work)
	}
	f := &Function{nodes: []uint32{0}}
	q.work = maxWork - n
	q.Count(f)
	var damage *FormatError
	if err := q.Err(); !errors.As(err, &damage) || q.work > maxWork+2*n {
		t.Errorf("%v after %d edges", err, q.work)
	}
}
