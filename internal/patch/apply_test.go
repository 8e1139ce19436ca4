// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// diff makes a patch with the real diff(1).
func diff(t testing.TB, a, b string, unified int) []byte {
	t.Helper()
	d := t.TempDir()
	write(t, d+"/a/fs/x.c", a)
	write(t, d+"/b/fs/x.c", b)
	cmd := exec.Command("diff", fmt.Sprintf("-U%d", unified), "a/fs/x.c", "b/fs/x.c")
	cmd.Dir = d
	out, err := cmd.Output()
	var ee *exec.ExitError
	if err != nil && (!errors.As(err, &ee) || ee.ExitCode() != 1) {
		t.Fatal(err)
	}
	return out
}

func apply(t testing.TB, src string, diffs ...[]byte) (*Applied, error) {
	t.Helper()
	root := t.TempDir()
	write(t, root+"/fs/x.c", src)
	var ps []*Patch
	for i, d := range diffs {
		p, err := Parse(fmt.Sprintf("p%d", i), d)
		if err != nil {
			t.Fatalf("%v\n%s", err, d)
		}
		ps = append(ps, p)
	}
	return Apply(context.Background(), root, ps)
}

// edit changes a text at random: lines removed, added, replaced, swapped.
func edit(r *rand.Rand, lines []string) []string {
	out := append([]string{}, lines...)
	for range 1 + r.Intn(4) {
		i := r.Intn(len(out) + 1)
		switch {
		case r.Intn(3) == 0 || i == len(out):
			out = append(out[:i:i], append([]string{fmt.Sprintf("new %d\n", r.Intn(1000))}, out[i:]...)...)
		case r.Intn(2) == 0:
			out = append(out[:i:i], out[i+1:]...)
		default:
			out[i] = fmt.Sprintf("changed %d\n", r.Intn(1000))
		}
	}
	return out
}

func TestApplyEqualsDiff(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for n := range 150 {
		var lines []string
		for i := range 1 + r.Intn(60) {
			lines = append(lines, fmt.Sprintf("line %d\n", i/(1+r.Intn(3))))
		}
		mid, end := edit(r, lines), []string(nil)
		end = edit(r, mid)
		a, b, c := strings.Join(lines, ""), strings.Join(mid, ""), strings.Join(end, "")
		switch n % 5 {
		case 0:
			b, c = strings.TrimSuffix(b, "\n"), strings.TrimSuffix(c, "\n")
		case 1:
			a = strings.TrimSuffix(a, "\n")
		}
		if a == "" || b == "" || c == "" || a == b || b == c {
			continue
		}
		d1, d2 := diff(t, a, b, 1+n%3), diff(t, b, c, 3)
		got, err := apply(t, a, d1, d2)
		if err != nil {
			t.Fatalf("round %d: %v", n, err)
		}
		f := got.Files[0]
		if string(f.Patched) != c || string(f.Orig) != a || got.Levels[0] != 1 {
			t.Fatalf("round %d: got %q want %q", n, f.Patched, c)
		}
		checkFrom(t, f)
	}
}

// checkFrom checks that From is increasing and tells the truth, and that
// Changes covers exactly the rest.
func checkFrom(t *testing.T, f *AppliedFile) {
	t.Helper()
	orig, now := splitLines(string(f.Orig)), splitLines(string(f.Patched))
	if len(f.From) != len(now) {
		t.Fatalf("%d lines, %d origins", len(now), len(f.From))
	}
	last := 0
	for i, o := range f.From {
		if o == 0 {
			continue
		}
		if o <= last || orig[o-1] != now[i] {
			t.Fatalf("line %d claims to be line %d", i+1, o)
		}
		last = o
	}
	var rebuilt []string
	next := 1
	for _, c := range f.Changes() {
		rebuilt = append(rebuilt, orig[next-1:c.Old.First-1]...)
		rebuilt = append(rebuilt, now[c.New.First-1:c.New.Last]...)
		next = c.Old.Last + 1
	}
	rebuilt = append(rebuilt, orig[next-1:]...)
	if strings.Join(rebuilt, "") != string(f.Patched) {
		t.Fatalf("Changes do not lead to Patched: %+v", f.Changes())
	}
}

func numbered(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("line %d\n", i+1))
	}
	return out
}

func TestOffsetAndFuzz(t *testing.T) {
	lines := numbered(40)
	changed := append([]string{}, lines...)
	changed[19] = "fixed\n"
	changed[29] = "fixed too\n"
	d := diff(t, strings.Join(lines, ""), strings.Join(changed, ""), 3)

	got, err := apply(t, "top\ntop\n"+strings.Join(lines, ""), d)
	if err != nil {
		t.Fatal(err)
	}
	h := got.Files[0].Hunks
	if len(h) != 2 || h[0].Offset != 2 || h[1].Offset != 2 || h[0].Fuzz != 0 || h[0].Line != 19 {
		t.Fatalf("%+v", h)
	}
	if string(got.Files[0].Patched) != "top\ntop\n"+strings.Join(changed, "") {
		t.Fatal("wrong text")
	}
	// One outer context line differs: fuzz 1, and the file's own line stays.
	other := append([]string{}, lines...)
	other[16] = "else\n"
	got, err = apply(t, strings.Join(other, ""), d)
	if err != nil {
		t.Fatal(err)
	}
	if h := got.Files[0].Hunks[0]; h.Fuzz != 1 || h.Offset != 0 {
		t.Fatalf("%+v", h)
	}
	if !strings.Contains(string(got.Files[0].Patched), "else\nline 18\n") {
		t.Fatal("context line of the file was lost")
	}
	// An inner context line differs: no place.
	other = append([]string{}, lines...)
	other[18] = "else\n"
	_, err = apply(t, strings.Join(other, ""), d)
	var re *RejectError
	if !errors.As(err, &re) || re.Hunk != 1 || re.AlreadyApplied || !strings.Contains(err.Error(), "    19  else") || !strings.Contains(err.Error(), "-line 20") {
		t.Fatalf("%v", err)
	}
	// Already there.
	_, err = apply(t, strings.Join(changed, ""), d)
	if !errors.As(err, &re) || !re.AlreadyApplied || !strings.Contains(err.Error(), "already") {
		t.Fatalf("%v", err)
	}
}

// patch(1) would take the nearest of several places; that can be another
// function with the same lines.
func TestAmbiguousPlaceIsRefused(t *testing.T) {
	fn := "\tint err;\n\n\terr = get();\n\tif (err)\n\t\treturn err;\n\tput();\n\tunlock();\n\tdone();\n\treturn 0;\n}\n"
	src := "int a(void)\n{\n" + fn + "int b(void)\n{\n" + fn
	fixed := "int a(void)\n{\n" + strings.Replace(fn, "put();", "put2();", 1) + "int b(void)\n{\n" + fn
	d := diff(t, src, fixed, 3)
	if _, err := apply(t, src, d); err != nil {
		t.Fatal("at its own place it must fit:", err)
	}
	_, err := apply(t, "/* one line more */\n"+src, d)
	var re *RejectError
	if !errors.As(err, &re) || re.Places != 2 {
		t.Fatalf("%v", err)
	}
}

func TestLevels(t *testing.T) {
	src := strings.Join(numbered(10), "")
	hunk := "@@ -4,3 +4,3 @@\n line 4\n-line 5\n+five\n line 6\n"
	for head, want := range map[string]int{
		"--- fs/x.c\n+++ fs/x.c\n":                                      0,
		"--- a/fs/x.c\n+++ b/fs/x.c\n":                                  1,
		"--- linux-6.1.orig/fs/x.c\t2024\n+++ linux-6.1/fs/x.c\t2024\n": 1,
		"--- build/src/linux/fs/x.c\n+++ build/src/linux/fs/x.c\n":      3,
		"--- fs/x.c.orig\n+++ fs/x.c\n":                                 0,
	} {
		got, err := apply(t, src, []byte(head+hunk))
		if err != nil || got.Levels[0] != want || got.Files[0].Path != "fs/x.c" {
			t.Errorf("%q: %v %+v", head, err, got)
		}
	}
	// Two levels fit: no guess.
	root := t.TempDir()
	write(t, root+"/fs/x.c", src)
	write(t, root+"/x.c", src)
	p, _ := Parse("p", []byte("--- fs/x.c\n+++ fs/x.c\n"+hunk))
	if _, err := Apply(context.Background(), root, []*Patch{p}); err == nil || !strings.Contains(err.Error(), "-p0 as well as with -p1") {
		t.Error(err)
	}
}

func TestPathsStayInside(t *testing.T) {
	root := t.TempDir()
	outside := t.TempDir()
	write(t, outside+"/x.c", "a\nb\n")
	write(t, root+"/fs/x.c", "a\nb\n")
	os.Symlink(outside, root+"/out")
	os.Symlink(outside+"/x.c", root+"/fs/l.c")
	os.Symlink("x.c", root+"/fs/in.c")
	for _, name := range []string{"../" + filepath.Base(outside) + "/x.c", "a/../../x.c", outside + "/x.c", "a/out/x.c", "out/x.c", "a/fs/l.c", "a/fs/in.c", "a/fs"} {
		for _, head := range []string{"--- " + name + "\n+++ " + name + "\n" + body, "--- /dev/null\n+++ " + name + "\n@@ -0,0 +1 @@\n+x\n"} {
			p, err := Parse("p", []byte(head))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Apply(context.Background(), root, []*Patch{p})
			if name == "a/fs" && strings.HasPrefix(head, "--- /dev") {
				continue // at level 0 a new file
			}
			if err == nil && strings.HasPrefix(head, "--- /dev") && name == "out/x.c" {
				// Level 1 makes it the new file x.c, inside; level 0 must not count.
				if got.Files[0].Path != "x.c" {
					t.Errorf("%s: %+v", name, got.Files[0])
				}
				continue
			}
			if err == nil {
				t.Errorf("%s accepted as %s", name, got.Files[0].Path)
			}
		}
	}
	if b, _ := os.ReadFile(outside + "/x.c"); string(b) != "a\nb\n" {
		t.Error("written outside")
	}
}

func TestAddDeleteRename(t *testing.T) {
	src := "a\nb\n"
	got, err := apply(t, src, []byte("diff --git a/fs/x.c b/fs/y.c\nsimilarity index 50%\nrename from fs/x.c\nrename to fs/y.c\n--- a/fs/x.c\n+++ b/fs/y.c\n"+body))
	if err != nil || len(got.Files) != 2 {
		t.Fatal(got, err)
	}
	x, y := got.Files[0], got.Files[1]
	if !x.Deleted || y.RenamedFrom != "fs/x.c" || !y.Renamed || string(y.Patched) != "a\nc\n" {
		t.Fatalf("%+v %+v", x, y)
	}
	got, err = apply(t, src, []byte("--- a/fs/n.c\t1970-01-01\n+++ b/fs/n.c\t2024-01-01\n@@ -0,0 +1,2 @@\n+x\n+y\n"))
	if err != nil || !got.Files[0].Added || string(got.Files[0].Patched) != "x\ny\n" {
		t.Fatal(got, err)
	}
	got, err = apply(t, src, []byte("--- a/fs/x.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n"))
	if err != nil || !got.Files[0].Deleted || got.Files[0].Patched != nil {
		t.Fatal(got, err)
	}
	if _, err = apply(t, src+"c\n", []byte("diff --git a/fs/x.c b/fs/x.c\ndeleted file mode 100644\n--- a/fs/x.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n")); err == nil {
		t.Fatal("deleted a file with more in it")
	}
	// Added by one patch, changed by the next.
	got, err = apply(t, src, []byte("--- /dev/null\n+++ b/fs/n.c\n@@ -0,0 +1,2 @@\n+a\n+b\n"), []byte("--- a/fs/n.c\n+++ b/fs/n.c\n"+body))
	if err != nil || !got.Files[0].Added || string(got.Files[0].Patched) != "a\nc\n" {
		t.Fatal(got, err)
	}
	// A change and its reverse leave nothing.
	rev := strings.NewReplacer("-b", "-c", "+c", "+b").Replace(body)
	got, err = apply(t, src, []byte("--- a/fs/x.c\n+++ b/fs/x.c\n"+body), []byte("--- a/fs/x.c\n+++ b/fs/x.c\n"+rev))
	if err != nil || !got.Files[0].Unchanged() || len(got.Files[0].Changes()) != 0 {
		t.Fatal(got, err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte("--- a/fs/x.c\n+++ b/fs/x.c\n"+body), "a\nb\n")
	f.Add([]byte("--- a/fs/x.c\n+++ b/fs/x.c\n@@ -1,4 +1,5 @@\n a\n a\n+c\n a\n a\n"), "a\na\na\na\na\n")
	f.Add([]byte("--- a/fs/x.c\n+++ b/fs/x.c\n@@ -0,0 +1 @@\n+c\n"), "")
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, src string) {
		p, err := Parse("f", data)
		if err != nil {
			return
		}
		write(t, root+"/fs/x.c", src)
		got, err := Apply(context.Background(), root, []*Patch{p})
		if err != nil {
			return
		}
		for _, fl := range got.Files {
			if !filepath.IsLocal(fl.Path) {
				t.Fatalf("path %q leaves the root", fl.Path)
			}
			if len(fl.Patched) > len(src)+len(data) {
				t.Fatal("text out of nowhere")
			}
			if !fl.Deleted {
				checkFrom(t, fl)
				fl.LinePreserved()
			}
		}
	})
}
