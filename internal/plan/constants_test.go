// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"kmend/internal/patch"
)

func TestCompareConstants(t *testing.T) {
	const text = "#define LIMIT 5 /* old */\n#define F(x) ((x) + 1)\nenum {\n\tIDLE, /* first */\n\tBUSY = 1 << 1,\n\tNEXT,\n#ifdef X\n\tODD = MIN(1, 2),\n#endif\n\tLAST,\n};\nenum e t[] = { ONE, TWO };\n"
	for _, tc := range []struct{ name, from, to, want string }{
		{"as it was", "old", "new", ""},
		{"value", "1 << 1", "1 << 9", "refused enumerator BUSY: its value changes from 1 << 1 to 1 << 9; refused enumerator NEXT: its value changes from 1 << 1 + 1 to 1 << 9 + 1"},
		{"one before", "IDLE,", "OFF, IDLE,", "refused enumerator IDLE: its value changes from 0 to 1"},
		{"one more", "LAST,", "LAST, MORE,", ""},
		{"list of values", "ONE, TWO", "TWO, ONE", ""},
		{"macro", "LIMIT 5", "LIMIT \\\n 6", "warned f.c: LIMIT changes from 5 to 6"},
		{"spaces", "1 << 1", "1  <<\t1", ""},
	} {
		p := &Plan{}
		compareConstants(p, &patch.AppliedFile{Path: "f.c", Orig: []byte(text), Patched: []byte(strings.Replace(text, tc.from, tc.to, 1))})
		var got []string
		for _, r := range p.Refusals {
			why, _, _ := strings.Cut(r.Why, ",")
			got = append(got, "refused "+r.Symbol+": "+why)
		}
		for _, w := range p.Warnings {
			text, _, _ := strings.Cut(w.Text, ": check")
			got = append(got, "warned "+text)
		}
		if s := strings.Join(got, "; "); s != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, s, tc.want)
		}
	}
}
