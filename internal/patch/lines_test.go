// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const lineSource = `
/* a comment with a quote ' and a ( in it
 * which goes on
 */
#define CAT(a) a
#define TWO(a, b) \
	a \
	b
struct s {
	int a;
	int b[3];
};
static int f(int a,
	     int b)
{
	int x = a;
	M0
	if (x &&
	    b)
		M1
	x = CAT(b +
		a);
	M2
#ifdef X
	x = f(1,
#else
	x = f(2,
#endif
	      b);
	M3
#ifdef X
	M4
#else
	M5
#endif
	M6
#ifndef X
	x++;
	M7
#endif
	M8
	x = ';' + "(\
";[0];
	M9
#if 0
	don't ( look
#endif
	M10
	for (x = 0;
	     x < 3;
	     x++) {
		M11
	}
	return x;
}
static const char *const names[] = {
	"a",
	"b",
};
TWO(int y;,
    int z;)
int tail;
M12
`

func marked() []string {
	lines := splitLines(lineSource)
	for i, l := range lines {
		if t := strings.TrimSpace(l); len(t) > 1 && t[0] == 'M' && t[1] >= '0' && t[1] <= '9' {
			lines[i] = fmt.Sprintf("\tMARK(m%d);\n", i+1)
		}
	}
	return append([]string{"#define MARK(m) m LINEMARK __LINE__\n"}, lines...)
}

// Every unchanged mark after an edit anywhere keeps its line unless it is
// counted as shifted.
func TestLinePreserveWithGCC(t *testing.T) {
	orig := marked()
	want := gccMarks(t, strings.Join(orig, ""))
	if len(want) != 11 {
		t.Fatalf("%d marks: %v", len(want), want)
	}
	r := rand.New(rand.NewSource(2))
	for round := range 120 {
		now := append([]string{}, orig...)
		from := make([]int, len(now))
		for i := range from {
			from[i] = i + 1
		}
		for range 1 + r.Intn(3) {
			i := 5 + r.Intn(len(now)-5)
			if strings.HasSuffix(now[i-1], "\\\n") || strings.Contains(now[i-1], "(\\") {
				continue
			}
			now = append(now[:i:i], append([]string{"/* added */\n", "\n"}[:1+r.Intn(2)], now[i:]...)...)
			from = append(from[:i:i], append(make([]int, len(now)-len(from)), from[i:]...)...)
		}
		text := []byte(strings.Join(now, ""))
		out, shifted := LinePreserve(text, from)
		got := gccMarks(t, string(out))
		wrong := 0
		for k, v := range want {
			if got[k] != v {
				wrong++
			}
		}
		if wrong > shifted || len(got) != len(want) {
			t.Fatalf("round %d: %d marks moved, %d lines reported\n%s", round, wrong, shifted, out)
		}
	}
}

// gccMarks preprocesses a text with the real compiler and returns, for each
// MARK(name), the __LINE__ it saw.
func gccMarks(t *testing.T, text string) map[string]string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "x.c")
	// -pedantic-errors finds directives among macro arguments, but also the
	// apostrophe in the #if 0 block, which is there for the lexer.
	write(t, p, strings.ReplaceAll(text, "don't", "dont"))
	out, err := exec.Command("gcc-12", "-E", "-P", "-std=gnu11", "-pedantic-errors", "-Werror", "-DX", p).Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, err.(*exec.ExitError).Stderr, text)
	}
	res := map[string]string{}
	w := strings.Fields(strings.ReplaceAll(string(out), ";", " "))
	for i := 1; i+1 < len(w); i++ {
		if w[i] == "LINEMARK" {
			res[w[i-1]] = w[i+1]
		}
	}
	return res
}

func TestLinePreserveObject(t *testing.T) {
	orig := "void warn(int);\nint a;\nint f(int x)\n{\n\tif (x)\n\t\twarn(__LINE__);\n\treturn a;\n}\nint g(void)\n{\n\twarn(__LINE__);\n\treturn 3;\n}\n"
	now := strings.Replace(orig, "\tif (x)\n", "\t/* one\n\t * two\n\t */\n\tif (x)\n", 1)
	got, err := apply(t, orig, diff(t, orig, now, 3))
	if err != nil {
		t.Fatal(err)
	}
	out, shifted := got.Files[0].LinePreserved()
	if shifted != 0 || !bytes.Contains(out, []byte("#line 5\n\tif (x)")) {
		t.Fatalf("%d\n%s", shifted, out)
	}
	obj := func(text string) string {
		d := t.TempDir()
		write(t, d+"/x.c", text)
		cmd := exec.Command("gcc-12", "-O2", "-c", "x.c", "-o", "x.o")
		cmd.Dir = d
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, b)
		}
		b, _ := os.ReadFile(d + "/x.o")
		return string(b)
	}
	if obj(orig) == obj(now) {
		t.Fatal("the test has no teeth: __LINE__ did not move")
	}
	if obj(orig) != obj(string(out)) {
		t.Fatal("object differs")
	}
}

func TestLinePreserveNoShift(t *testing.T) {
	orig := "int a;\nint b;\nint c;\n"
	now := "int a;\nint d;\nint c;\n"
	got, err := apply(t, orig, diff(t, orig, now, 3))
	if err != nil {
		t.Fatal(err)
	}
	if out, n := got.Files[0].LinePreserved(); n != 0 || string(out) != now {
		t.Fatalf("%q", out)
	}
	if out, n := LinePreserve([]byte("x\n#line 7\ny\n"), []int{0, 1, 2}); n != 2 || string(out) != "x\n#line 7\ny\n" {
		t.Fatalf("%d %q", n, out)
	}
}
