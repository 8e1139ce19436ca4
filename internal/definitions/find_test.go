// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const text = `
/* plain() { */
int plain(int x)
{
	return call(x);
}

static inline __attribute__((unused)) struct s *
second_line(struct s *p, int (*f)(int, int))
	__releases(lock)
{
}

extern int declared(int x);
#define macro(x) { x }
int table = wrong(1) { };
static int pointer(int) = 7;
static __printf(1, 2) int format(const char *f, ...) {
}
SYSCALL_DEFINE2(opening, const char *, name, int, flags)
{
	return inner(name) {
}
COMPAT_SYSCALL_DEFINE1( closing, int, fd)
`

func TestDefines(t *testing.T) {
	for name, want := range map[string]bool{
		"plain": true, "second_line": true, "format": true, "__do_sys_opening": true, "sys_opening": true, "__x64_sys_opening": true,
		"__do_compat_sys_closing": true,
		"call":                    false, "declared": false, "macro": false, "wrong": false, "pointer": false, "inner": false, "lain": false, "plai": false,
		"second": false, "sys_open": false, "opening": false, "f": false, "": false,
	} {
		if got := defines([]byte(text), name); got != want {
			t.Errorf("%s is defined: %v, want %v", name, got, want)
		}
	}
}

func TestFind(t *testing.T) {
	root := t.TempDir()
	for name, data := range map[string]string{
		"mm/a.c": text, "include/b.h": "int plain(void)\n{\n}\n", "arch/arm/c.c": text, "arch/x86/d.c": "int other(void) {}\n", "Documentation/e.c": text, "mm/f.S": text,
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Find(context.Background(), root, []string{"plain", "other", "nothing"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got["plain"], []string{"include/b.h", "mm/a.c"}) || !slices.Equal(got["other"], []string{"arch/x86/d.c"}) || got["nothing"] != nil {
		t.Errorf("%v", got)
	}
}

func FuzzDefines(f *testing.F) {
	f.Add([]byte(text), "plain")
	f.Add([]byte(text), "sys_opening")
	f.Add([]byte("x(\nx("), "x")
	f.Fuzz(func(t *testing.T, data []byte, name string) { defines(data, name) })
}

func TestIn(t *testing.T) {
	const text = `/* f(x) { */
static int __init first(void)
{
	call(1);
}
struct file *second (struct inode *i,
		     int flags) __must_hold(x)
{
}
static void
third(void) { }
extern int declared(int);
EXPORT_SYMBOL(first);
SYSCALL_DEFINE2(creat, const char *, path, int, mode)
{
}
SYSCALL_DEFINE0(fork)
{
}
DEFINE_PER_CPU(int, x) = { 1 };
	indented(1) {
`
	want := []string{"first", "second", "sys_creat", "sys_fork", "third"}
	if got := In([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, n := range want { // what In lists, Find finds
		if !defines([]byte(text), n) {
			t.Errorf("%s is listed, but not found", n)
		}
	}
}
