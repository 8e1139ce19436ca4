// SPDX-License-Identifier: Apache-2.0

package types

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compile returns the .BTF that the real compiler makes of a text.
func compile(t testing.TB, src string) []byte {
	t.Helper()
	d := t.TempDir()
	if err := os.WriteFile(d+"/x.c", []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	o := filepath.Join(d, "x.o")
	if out, err := exec.Command("gcc-12", "-O2", "-gbtf", "-w", "-c", d+"/x.c", "-o", o).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := f.Section(".BTF").Data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const base = `
typedef unsigned int u32;
enum color { RED, GREEN = 5, TOP = 0x80000000 };
struct inner { short a; short b; };
struct other;
struct s {
	int a;
	int b : 3;
	unsigned c : 5;
	struct inner in;
	union { long l; char d[3]; };
	enum color e;
	struct other *o;
	int (*cb)(int, struct inner *);
};
typedef struct { u32 z; } anon_t;
union un { int i; long l; };
static struct s *cast_only(void *p) { return p; }
int glob(struct s *p, anon_t *z, void *v)
{
	union un u;
	struct inner *q = v;
	u.l = p->a + z->z + q->b + p->in.a + p->b;
	return u.i + ((struct s *)v)->c;
}
static __attribute__((noinline)) int stat(int x) { return x + 1; }
int counter;
int use(int x) { counter++; return stat(x); }
`

func TestCompare(t *testing.T) {
	cases := []struct {
		name, old, new string
		want           string // "kind name" of changes, joined by ","; "+": added only
	}{
		{"same", "", "", ""},
		{"member added", "int a;\n", "int a; int a2;\n", "struct s"},
		{"member type", "struct inner { short a;", "struct inner { int a;", "struct inner,struct s"},
		{"member name", "short b;", "short bb;", "!"},
		{"same layout, other typedef", "{ u32 z; }", "{ unsigned z; }", ""},
		{"sign", "{ u32 z; }", "{ int z; }", "struct anon_t (typedef)"},
		{"bitfield", "int b : 3;", "int b : 4;", "struct s"},
		{"array", "char d[3];", "char d[4];", "struct s"},
		{"enum value", "GREEN = 5", "GREEN = 6", "enum color"},
		{"enum more", "TOP = 0x80000000", "TOP = 0x80000000, LAST = 9", "+enum color: LAST = 9"},
		{"pointer target", "struct other *o;", "struct third *o;", "struct s"},
		{"callback", "(*cb)(int, struct", "(*cb)(long, struct", "struct s"},
		{"union", "union un { int i;", "union un { int i; char big[64];", "union un"},
		{"function", "int use(int x)", "int use(long x)", "function use"},
		{"static function", "int stat(int x)", "int stat(long x)", "function stat"},
		{"return", "int use(int x)", "long use(int x)", "function use"},
		{"variable", "int counter;", "long counter;", "variable counter"},
		{"order", "int a;\n\tint b : 3;", "int b : 3;\n\tint a;", "struct s"},
		{"new struct", "int counter;", "struct fresh { int q; } fr; int counter;", "+struct fresh"},
		{"code only", "return x + 1", "return x + 2", ""},
	}
	before := compile(t, base)
	for _, c := range cases {
		src := strings.Replace(base, c.old, c.new, 1)
		if c.want == "!" {
			src = strings.ReplaceAll(strings.Replace(base, c.old, c.new, 1), "q->b", "q->bb")
			c.want = "struct inner,struct s"
		}
		if c.old != "" && src == base {
			t.Fatalf("%s: the text has no %q", c.name, c.old)
		}
		ch, err := Compare(before, compile(t, src))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range [][]Change{ch.Types, ch.Functions, ch.Variables} {
			for _, x := range l {
				got = append(got, x.Kind+" "+x.Name)
				if x.Detail == "" || x.Before == x.After {
					t.Errorf("%s: no detail: %+v", c.name, x)
				}
			}
		}
		if strings.HasPrefix(c.want, "+") {
			if len(got) != 0 || len(ch.Added) != 1 || ch.Added[0] != c.want[1:] {
				t.Errorf("%s: %q, added %q", c.name, got, ch.Added)
			}
			continue
		}
		if g := strings.Join(got, ","); g != c.want {
			t.Errorf("%s: %q, want %q", c.name, g, c.want)
		}
		if ch.Empty() != (c.want == "") {
			t.Errorf("%s: Empty", c.name)
		}
	}
}

// Two scopes may give one name to two types.
func TestSameNameInTwoScopes(t *testing.T) {
	two := `int f(void *p) { struct x { int a; } *q = p; return q->a; }
int g(void *p) { struct x { char c[9]; int a; } *q = p; return q->a; }`
	ch, err := Compare(compile(t, two), compile(t, two))
	if err != nil || !ch.Empty() {
		t.Fatal(ch, err)
	}
	ch, err = Compare(compile(t, two), compile(t, strings.Replace(two, "char c[9]", "char c[19]", 1)))
	if err != nil || len(ch.Types) != 1 || ch.Types[0].Name != "x" || !strings.Contains(ch.Types[0].Detail, "12") && !strings.Contains(ch.Types[0].Detail, "16") {
		t.Fatalf("%+v %v", ch, err)
	}
	one, _, _ := strings.Cut(two, "\n")
	ch, err = Compare(compile(t, two), compile(t, one))
	if err != nil || !ch.Empty() || len(ch.Removed) != 1 {
		t.Fatalf("%+v %v", ch, err)
	}
}

func TestDamaged(t *testing.T) {
	good := compile(t, base)
	if _, err := Compare(nil, good); err == nil {
		t.Error("no types before, no error")
	}
	for i := 0; i < len(good); i += 7 {
		if _, err := Compare(good, good[:i]); err == nil {
			t.Fatalf("cut at %d: no error", i)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(compile(f, base))
	f.Add(compile(f, "int x;"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := read(data); err == nil && s == nil {
			t.Fatal("neither result nor error")
		}
	})
}
