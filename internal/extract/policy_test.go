// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestParsePolicy(t *testing.T) {
	p, err := ParsePolicy("p", []byte("# all of it\ncopy a\n\n declare\tb # why\nrefuse c\ncopy a\n"))
	if want := (Policy{"a": Copied, "b": Declare, "c": Refuse}); err != nil || !maps.Equal(p, want) {
		t.Errorf("%v %v, want %v", p, err, want)
	}
	for text, want := range map[string]string{
		"copy":                           `p:1: "copy" is not "copy NAME"`,
		"\ninclude a":                    `p:2: "include a" is not`,
		"copy a b":                       `p:1: "copy a b" is not`,
		"copy a\ndeclare a":              "p:2: a is both copy and declare; say it once",
		strings.Repeat("x", maxPolicy+1): "more than 1048576 bytes",
	} {
		if _, err := ParsePolicy("p", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s", text, err, want)
		}
	}
}

// What is read can be written and read again.
func FuzzPolicy(f *testing.F) {
	for _, s := range []string{"copy a\ndeclare b\n", "# only\n", "refuse \xff\x00", "copy a\ncopy a", "declare declare"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("p", data)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(p)) {
			fmt.Fprintf(&b, "%s %s\n", p[name], name)
		}
		again, err := ParsePolicy("p", []byte(b.String()))
		if err != nil || !maps.Equal(p, again) {
			t.Errorf("%v became %v: %v", p, again, err)
		}
	})
}
