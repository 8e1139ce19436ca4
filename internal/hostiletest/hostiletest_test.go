// SPDX-License-Identifier: Apache-2.0

package hostiletest

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

const document = `{"a": [1, -2.5, "x\"y", {"b": null}], "c": {"d": true, "e": []}, "f": "g"}`

// TestMutantsAreStillDocuments: most of them are JSON, nearly none is what it
// was, and the same number gives the same one.
func TestMutantsAreStillDocuments(t *testing.T) {
	j, err := NewJSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	const count = 2000
	valid, same, kinds := 0, 0, map[byte]int{}
	for i := range count {
		make := func() []byte { return j.Mutate(rand.New(rand.NewPCG(1, uint64(i)))) }
		m := make()
		if !bytes.Equal(m, make()) {
			t.Fatalf("number %d is not the same twice", i)
		}
		if json.Valid(m) {
			valid++
		}
		if bytes.Equal(m, j.text) {
			same++
		}
	}
	for _, s := range j.spans {
		kinds[s.kind]++
		if text := j.text[s.from:s.to]; s.kind != 'm' && !json.Valid(text) {
			t.Errorf("%q was taken for a value", text)
		}
	}
	if valid < count/2 || same > count/10 {
		t.Errorf("of %d mutants, %d are JSON and %d are unchanged", count, valid, same)
	}
	if kinds['m'] != 6 || kinds['e'] != 4 || kinds['"'] != 2 || kinds['{'] != 3 || kinds['['] != 2 {
		t.Errorf("spans by kind: %v", kinds)
	}
}

func TestAPanicBecomesAnError(t *testing.T) {
	outcome, err := safely(func() (string, error) { panic("boo") })
	if outcome != "panic" || err == nil || !bytes.Contains([]byte(err.Error()), []byte("boo")) {
		t.Errorf("%s, %v", outcome, err)
	}
}

// TestAllocationsAreMeasured: an input that takes more than it may is seen.
func TestAllocationsAreMeasured(t *testing.T) {
	r := &run{t: t}
	var sink []byte
	got := r.measured(Case{Try: func() (string, error) { sink = make([]byte, 3<<20); return "", nil }})
	if got < 3<<20 || got > 8<<20 {
		t.Errorf("%d bytes for %d", got, len(sink))
	}
}
