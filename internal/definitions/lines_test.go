// SPDX-License-Identifier: Apache-2.0

package definitions

import "testing"

const source = `#include <x.h>
static int first(int a);

static int first(int a)
{
	if (a) {
		return second(a);
	}
	return 0;
}

static inline int one_line(void) { return 1; }
static __always_inline
struct thing *type_before(struct thing *t,
			  int b)
{
	return t;
}

SYSCALL_DEFINE2(open, const char __user *, filename, int, flags)
{
	return first(flags);
}
#define made(x) int x(void) { return 0; }
int caller(void)
{
	return first(2);
`

func TestLines(t *testing.T) {
	for name, want := range map[string][2]int{
		"first": {4, 10}, "one_line": {12, 12}, "type_before": {13, 18}, "__x64_sys_open": {20, 23}, "__do_sys_open": {20, 23},
		"second": {}, "made": {}, "nothing": {}, "": {}, "caller": {}, // its end is missing
	} {
		first, last, ok := Lines([]byte(source), name)
		if got := [2]int{first, last}; got != want || ok != (want != [2]int{}) {
			t.Errorf("%q: lines %v, %v, want %v", name, got, ok, want)
		}
	}
}

// FuzzLines: the lines of a function are lines of the file, whatever it holds.
func FuzzLines(f *testing.F) {
	f.Add([]byte(source), "first")
	f.Add([]byte("int x(void)\n{"), "x")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		first, last, ok := Lines(data, name)
		n := 1
		for _, b := range data {
			if b == '\n' {
				n++
			}
		}
		if ok && (first < 1 || last < first || last > n) || !ok && first+last != 0 {
			t.Errorf("lines %d to %d of %d, %v", first, last, n, ok)
		}
	})
}
