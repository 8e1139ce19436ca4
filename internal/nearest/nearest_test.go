// SPDX-License-Identifier: Apache-2.0

package nearest

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestNames(t *testing.T) {
	names := []string{"loop", "loop2", "ext4", "6.1.0-50-amd64", "6.1.0-51-amd64"}
	for want, near := range map[string]string{"lop": "loop", "ext5": "ext4", "6.1.0-50-amd46": "6.1.0-50-amd64"} {
		if got := Names(want, names, 1); len(got) != 1 || got[0] != near {
			t.Errorf("nearest(%s) = %v", want, got)
		}
	}
	if got := Names("something", names, 3); len(got) != 0 {
		t.Errorf("nearest(something) = %v", got)
	}
	if d := editDistance("kitten", "sitting"); d != 3 {
		t.Errorf("distance %d", d)
	}
}

func TestDistanceInOneStepAByte(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = "abc_"[rng.IntN(4)]
		}
		return string(b)
	}
	for range 3000 {
		a, b := word(66), word(40)
		if got, want := NewSearch(a, 1).distance([]byte(b)), editDistance(a, b); got != want {
			t.Fatalf("distance of %q and %q is %d, want %d", a, b, got, want)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	names := make([][]byte, 1000)
	for i := range names {
		names[i] = fmt.Appendf(nil, "subsystem%d_driver_function_%d", i%7, i)
	}
	for b.Loop() {
		s := NewSearch("subsystem3_driver_funktion_77", 5)
		for _, n := range names {
			s.Offer(n)
		}
	}
}

func TestNamesClearlyFartherThanTheBestAreLeftOut(t *testing.T) {
	got := Names("show_vfsmn", []string{"show_fan", "show_vfsmnt", "show_vrm"}, 3)
	if len(got) != 1 || got[0] != "show_vfsmnt" {
		t.Errorf("got %q", got)
	}
}
