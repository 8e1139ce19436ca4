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

func TestHidden(t *testing.T) {
	for text, tabs := range map[string]bool{"plain größer 漢字 …\n": false, "a\tb": true, "\ufffd": false} {
		if got := Hidden(text, tabs); got != "" {
			t.Errorf("%q: %s", text, got)
		}
	}
	for _, text := range []string{"a\tb", "\x1b", "\u202e", "\u009b", "\x7f", "\xff", "\u2028", "\r", "\u200b"} {
		if Hidden("before "+text, false) == "" {
			t.Errorf("%q passes", text)
		}
	}
}

func TestMarkup(t *testing.T) {
	page := func(body string) string {
		return "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><style>a < b</style></head><body>" + body + "<script>if (a<b) {}</script></body>\n</html>\n"
	}
	for _, good := range []string{"", `<p class="x">a &lt; b<br></p><svg viewBox="0 0 1 1"><path d="M0 0"/></svg><a href="#x" title=" onclick=1 src=x href=y">x</a>`} {
		if err := Markup(page(good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"<img>", "<p>", "</p>", "<p><b></p></b>", `<a href="http://x">x</a>`, `<a href='x'>x</a>`, `<a href=x>x</a>`, `<p onclick="x">a</p>`, "<script src=x></script>", "<!-- x -->", "<"} {
		if err := Markup(page(bad)); err == nil {
			t.Errorf("%s passes", bad)
		}
	}
	if Markup("<html></html>") == nil || Markup(page("")+"x") == nil {
		t.Error("what is no page passes")
	}
}
