// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"os"
	"testing"
)

// The benchmarks run on the index that KMEND_TEST_INDEX names (scripts/bench
// makes a large one), else on that of a few small C files.
func benchQuery(b *testing.B) *Query {
	b.Helper()
	if name := os.Getenv("KMEND_TEST_INDEX"); name != "" {
		x, err := Open(name)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { x.Close() })
		return x.NewQuery()
	}
	return open(b, build(b, sources))
}

// BenchmarkClosure is the closure of every function, one after the other.
func BenchmarkClosure(b *testing.B) {
	q := benchQuery(b)
	var list []*Function
	if err := q.Each(func(f *Function) bool {
		list = append(list, f)
		return len(list) < 100000
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		q.work = 0
		q.Count(list[i%len(list)])
	}
}

// BenchmarkWorst is the closure of the function that most depend on.
func BenchmarkWorst(b *testing.B) {
	q := benchQuery(b)
	s, err := q.Summary(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	f, err := q.Find(s.Worst[0].File + ":" + s.Worst[0].Name)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ReportMetric(float64(s.Worst[0].Impacted), "symbols")
	for b.Loop() {
		q.work = 0
		q.Count(f)
	}
}

func BenchmarkUnknownName(b *testing.B) {
	q := benchQuery(b)
	for b.Loop() {
		if _, err := q.Find("no_functien_has_this_name"); err == nil {
			b.Fatal("it is there")
		}
	}
}

func TestClosuresAllocateNothing(t *testing.T) {
	q := open(t, build(t, sources))
	var list []*Function
	if err := q.Each(func(f *Function) bool {
		list = append(list, f)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	if a := testing.AllocsPerRun(20, func() {
		for _, f := range list {
			n += q.Count(f)
		}
	}); a != 0 || n == 0 {
		t.Errorf("%v allocations, %d symbols", a, n)
	}
}
