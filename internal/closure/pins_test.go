// SPDX-License-Identifier: Apache-2.0

package closure

import (
	"strings"
	"testing"

	"kmend/internal/delta"
)

// The kernel must not be left with the address of a constant of a module that
// is gone.
func TestPinConstants(t *testing.T) {
	const decl = `
struct dev { const char *name; const int *table; int n; void (*cb)(const char *); }; extern void name(struct dev *, const char *); extern int _printk(const char *, ...);
extern int strcmp(const char *, const char *); extern int use(struct dev *); extern void keepall(const char **); struct ops { int (*f)(int); const char *name; };
extern const struct ops *ops; `
	for _, tc := range []struct{ name, code, pins string }{
		{"name kept in memory", `d->name = "eth";`, `f holds or passes on the address of "eth"`},
		{"name given away", `name(d, "eth");`, `f holds or passes on the address of "eth"`},
		{"message", `_printk("a %d %d %s\n", d->n, x, "eth");`, ``},
		{"message with arguments on the stack", `_printk("a %d %d %d %d %s %s\n", d->n, x, x * 3, x * 5, "eth", "wlan");`, ``},
		{"message and kept", `d->name = "eth"; _printk("a %s\n", "eth");`, `f holds or passes on the address of "eth"`},
		{"kept over the message", `_printk("eth"); use(d); d->name = "eth";`, `f holds or passes on the address of "eth"`},
		{"comparison", `if (!strcmp(d->name, "eth")) return 1;`, ``},
		{"one of two messages", `_printk(x ? "eth" : "wlan", d->n);`, ``},
		{"one of two names", `d->name = x ? "eth" : "wlan";`, `f holds or passes on the addresses of 2 constants, such as "wlan"`},
		{"one of two names after a message", `const char *n = x ? "eth" : "wlan"; _printk("a %s\n", n); name(d, n);`, `f holds or passes on the addresses of 2 constants, such as "wlan"`},
		{"one of two messages after a call", `const char *n = x ? "eth" : "wlan"; use(d); _printk("a %s\n", n);`, ``},
		{"returned", `return (long)"eth";`, `f holds or passes on the address of "eth"`},
		{"on the stack", `const char *n[2] = {"eth", "wlan"}; keepall(n);`, `f holds or passes on the addresses of 2 constants, such as "eth"`},
		{"indirect call", `d->cb("eth");`, `f holds or passes on the address of "eth"`},
		{"table that is read", `static const int t[] = {1, 5, 4, 8, 9}; x = t[x];`, ``},
		{"table that is kept", `static const int t[] = {1, 5, 4, 8, 9}; d->table = t;`, `f holds or passes on the address of t.0`},
		{"table of names", `static const char *const t[] = {"a", "b"}; d->name = t[x];`, `t.0 holds or passes on the addresses of 2 constants, such as "a"`},
		{"operations", `static const struct ops o = { ext }; ops = &o;`, `f holds or passes on the address of o.0`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := decl + `long f(struct dev *d, int x) { return use(d) + x; }`
			after := decl + `long f(struct dev *d, int x) { ` + tc.code + ` return use(d) + x; }`
			c := Select(delta.Compare(compile(t, before), compile(t, after)))
			if got := strings.Join(c.Pins, ", "); got != tc.pins {
				t.Errorf("pins %s, want %s", got, tc.pins)
			}
			if len(c.Refusals) > 0 {
				t.Errorf("refused: %v", c.Refusals)
			}
		})
	}
}
