// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"testing"

	"kmend/internal/delta"
)

const readMostly = "#define rm __attribute__((section(\".data..read_mostly\")))\n"

// The end of one variable of a shared section is the start of the next: with
// only a section and an offset, which is meant cannot be seen.
func TestBorderOfSharedSection(t *testing.T) {
	loop := `int f(int x) { int *p; for (p = a; p != a + 4; p++) { x += *p; asm volatile("" ::: "memory"); } return ext(x); } int g(int x) { a[x] = b[x]; b[x & 3] += x; return a[x] + b[x]; }`
	changed := `int f(int x) { int *p; for (p = a; p != a + 4; p++) { x += *p + 1; asm volatile("" ::: "memory"); } return ext(x); } int g(int x) { a[x] = b[x]; b[x & 3] += x; return a[x] + b[x]; }`
	more := ` int h(int x) { return c[x]++; }`
	for _, tc := range []struct {
		name, before, after string
		refused             bool
	}{
		{"as it was", `static int a[4] rm = {1}, b[4] rm = {1}; ` + loop, `static int a[4] rm = {1}, b[4] rm = {1}; ` + changed, false},
		{"as it was, the other way round", `static int b[4] rm = {1}, a[4] rm = {1}; ` + loop, `static int b[4] rm = {1}, a[4] rm = {1}; ` + changed, false},
		{"a new one between", `static int a[4] rm = {1}, b[4] rm = {1}; ` + loop, `static int a[4] rm = {1}, c[4] rm = {1}, b[4] rm = {1}; ` + changed + more, true},
		{"a new one between, the other way round", `static int b[4] rm = {1}, a[4] rm = {1}; ` + loop, `static int b[4] rm = {1}, c[4] rm = {1}, a[4] rm = {1}; ` + changed + more, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Select(delta.Compare(compile(t, readMostly+tc.before), compile(t, readMostly+tc.after)))
			refused := ""
			for _, r := range c.Refusals {
				if r.Code == "ambiguous-static" {
					refused += r.Symbol
				}
			}
			if (refused != "") != tc.refused {
				t.Errorf("refused %q", refused)
			}
		})
	}
}
