// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
)

// textOf reads a small C file beside a header h.h.
func textOf(t *testing.T, header, source string) *text {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"h.h": header, "a.c": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("gcc-12", "-E", "-fdirectives-only", "a.c")
	c.Dir = dir
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ctext.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	x, err := doc.Expand()
	if err != nil {
		t.Fatal(err)
	}
	u, err := csyntax.Parse(doc.Names, x.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	return &text{x, u}
}

// TestUnequal: texts are equal only if functions, those of headers and the values
// of variables are.
func TestUnequal(t *testing.T) {
	const header = "#ifdef MODE\nstatic inline int inl(void) { return 1; }\n#else\nstatic inline int inl(void) { return 2; }\n#endif\n"
	unit := textOf(t, header, "#define MODE\n#include \"h.h\"\nstatic const int c[] = { 3, 4 };\nstatic const int a = 1, b = 2;\nstatic int f(int x) { return inl() + c[x]; }\n")
	const main = "#define MODE\n#include \"h.h\"\nextern const int c[2];\n"
	for _, c := range []struct{ what, source, want string }{
		{"the same", "#define MODE\n#include \"h.h\"\nstatic const int c[] = { 3, 4 };\nint f(int x) { return inl() + c[x]; }\n", ""},
		{"declared", "#define MODE\n#include \"h.h\"\nextern const int c[2];\nint f(int x) { return inl() + c[x]; }\n", ""},
		{"another body", "#define MODE\n#include \"h.h\"\nextern const int c[2];\nint f(int x) { return inl() - c[x]; }\n", "f"},
		{"another value", "#define MODE\n#include \"h.h\"\nstatic const int c[] = { 3, 5 };\nint f(int x) { return inl() + c[x]; }\n", "c"},
		{"a header read differently", "#include \"h.h\"\nextern const int c[2];\nint f(int x) { return inl() + c[x]; }\n", "inl"},
		{"a function that the unit has not", "#define MODE\n#include \"h.h\"\nextern const int c[2];\nint g(int x) { return inl() + c[x]; }\n", "g"},
		{"two variables", main + "static const int a = 1, b = 2;\nint f(int x) { return inl() + c[x]; }\n", ""},
		{"another second variable", main + "static const int a = 1, b = 3;\nint f(int x) { return inl() + c[x]; }\n", "a"},
	} {
		if got := unequal(textOf(t, header, c.source), unit, map[string]string{"f": "f"}); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
