// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/run"
)

// smallTree writes a source tree of a few files, without kbuild.
func smallTree(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	dir := t.TempDir()
	tr := &Tree{Jobs: run.NewJobs(1), cfg: Config{SourceDir: dir + "/src", ObjDir: dir + "/obj", StateDir: dir + "/state", Compiler: "gcc-12"}}
	files["../obj/include/generated/conf.h"] = "#define CONF 1\n"
	for p, text := range files {
		p = filepath.Join(tr.cfg.SourceDir, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func (t *Tree) smallCommand(source string, flags ...string) *Command {
	c := &Command{Unit: Unit{Source: filepath.Clean(source), Object: "x.o"}}
	c.Gcc = append([]string{"gcc-12", "-Wp,-MMD,x.d", "-O2", "-g", "-Wall", "-fmacro-prefix-map=" + t.cfg.SourceDir + "/=",
		"-I" + t.cfg.SourceDir + "/include", "-I./include/generated"}, flags...)
	c.Gcc = append(c.Gcc, "-c", "-o", "x.o", t.cfg.SourceDir+"/"+source)
	return c
}

func compiled(t *testing.T, tr *Tree, c *Command, overlay map[string][]byte) *Result {
	t.Helper()
	r, err := tr.Compile(context.Background(), Job{Command: c, Overlay: overlay})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A replaced file is seen however it is reached.
func TestOverlayIsSeenEverywhere(t *testing.T) {
	tr := smallTree(t, map[string]string{
		"a/x.c":             "#include \"n.h\"\n#include \"../b/h.h\"\n#include <sub/inc.h>\n#include \"conf.h\"\nconst char *file = __FILE__ TEXT __BASE_FILE__;\n",
		"a/n.h":             "",
		"b/h.h":             "#include \"../c/v.h\"\n",
		"c/v.h":             "#define TEXT \"old-text\"\n",
		"include/sub/inc.h": "#include \"../../d/deep/e.h\"\n",
		"d/deep/e.h":        "#include \"../../c/v.h\"\n",
		"c/y.c":             "#include \"v.h\"\nconst char *file = TEXT;\n",
		"e/z.c":             "#include \"w.h\"\nconst char *file = TEXT;\n",
		"c/w.h":             "#include \"v.h\"\n",
	})
	overlay := map[string][]byte{"c/v.h": []byte("#define TEXT \"new-text\"\n")}
	for _, c := range []*Command{
		tr.smallCommand("a/x.c"),
		tr.smallCommand("b/../a/x.c"), // as arch/x86/kvm names virt/kvm
		tr.smallCommand("c/y.c"),
		tr.smallCommand("e/z.c", "-I"+tr.cfg.SourceDir+"/a/../c"),
		tr.smallCommand("e/z.c", "-I", tr.cfg.SourceDir+"/d/deep/../../c"),
		tr.smallCommand("e/z.c", "-I"+tr.cfg.SourceDir+"/c"),
		tr.smallCommand("c/y.c", "-include", tr.cfg.SourceDir+"/b/h.h"),
	} {
		r := compiled(t, tr, c, overlay)
		if !bytes.Contains(r.Object, []byte("new-text")) || bytes.Contains(r.Object, []byte("old-text")) {
			t.Errorf("%q: the old header was read", c.Gcc)
		}
		if bytes.Contains(r.Object, []byte("kmend-cc")) || bytes.Contains(r.Object, []byte(tr.cfg.SourceDir)) {
			t.Errorf("%q: a private path in the object", c.Gcc)
		}
		if !slices.Contains(r.Deps, "c/v.h") || slices.ContainsFunc(r.Deps, func(d string) bool { return strings.Contains(d, "..") || filepath.IsAbs(d) }) {
			t.Errorf("%q: dependencies %q", c.Gcc, r.Deps)
		}
		r = compiled(t, tr, c, nil)
		if !bytes.Contains(r.Object, []byte("old-text")) {
			t.Errorf("%q: without overlay", c.Gcc)
		}
	}
	if b, _ := os.ReadFile(tr.cfg.SourceDir + "/c/v.h"); !bytes.Contains(b, []byte("old-text")) {
		t.Error("the source was written")
	}
}

// With O= inside the source (or equal to it) kbuild names the source relatively.
func TestOverlayRelativeSource(t *testing.T) {
	for _, objRel := range []string{".", "out"} {
		tr := smallTree(t, map[string]string{"a/x.c": "#include <v.h>\n#include \"l.h\"\nconst char *file = __FILE__ TEXT L;\n", "a/l.h": "#define L \"l\"\n", "include/v.h": "#define TEXT \"old-text\"\n", "out/gen.h": "\n"})
		tr.cfg.ObjDir = filepath.Join(tr.cfg.SourceDir, objRel)
		up := "."
		if objRel != "." {
			up = ".."
		}
		c := &Command{Unit: Unit{Source: "a/x.c", Object: "x.o"}, Gcc: []string{"gcc-12", "-O2", "-fmacro-prefix-map=" + up + "/=", "-I" + up + "/include", "-c", "-o", "x.o", up + "/a/x.c"}}
		for file, text := range map[string]string{"include/v.h": "#define TEXT \"new-text\"\n", "a/l.h": "#define L \"new-text\"\n"} {
			r := compiled(t, tr, c, map[string][]byte{file: []byte(text)})
			if !bytes.Contains(r.Object, []byte("new-text")) || !bytes.Contains(r.Object, []byte("a/x.c")) {
				t.Errorf("O=%s: %s was not replaced", objRel, file)
			}
			if !slices.Contains(r.Deps, "a/x.c") || !slices.Contains(r.Deps, "include/v.h") {
				t.Errorf("%q", r.Deps)
			}
		}
	}
}

func TestCacheFollowsFiles(t *testing.T) {
	tr := smallTree(t, map[string]string{"a/x.c": "#include <v.h>\nint x = V;\n", "include/v.h": "#define V 1\n"})
	tr.Cache = run.CacheAt(t.TempDir())
	c := tr.smallCommand("a/x.c")
	first := compiled(t, tr, c, nil)
	if r := compiled(t, tr, c, nil); !r.Cached || !bytes.Equal(r.Object, first.Object) || !bytes.Equal(r.Types, first.Types) {
		t.Error("not from the cache")
	}
	if err := os.WriteFile(tr.cfg.SourceDir+"/include/v.h", []byte("#define V 77\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := compiled(t, tr, c, nil); r.Cached || bytes.Equal(r.Object, first.Object) {
		t.Error("a changed header was not noticed")
	}
	if r := compiled(t, tr, tr.smallCommand("a/x.c", "-DX"), nil); r.Cached {
		t.Error("other flags were not noticed")
	}
	// A cache that cannot be written costs time, not the result.
	tr.Cache = run.CacheAt("/proc/no/such/cache")
	if r := compiled(t, tr, c, nil); len(r.Object) == 0 || len(r.Notes) != 1 {
		t.Errorf("%q", r.Notes)
	}
}

func TestOverlayPaths(t *testing.T) {
	tr := smallTree(t, map[string]string{"a/x.c": "int x;\n"})
	for _, p := range []string{"../x.c", "/etc/x.c", "a/../../x.c", "a//x.c"} {
		if _, err := tr.Compile(context.Background(), Job{Command: tr.smallCommand("a/x.c"), Overlay: map[string][]byte{p: nil}}); err == nil {
			t.Errorf("%s accepted", p)
		}
	}
}

// A -D holds text of the program: it must arrive as kbuild gives it.
func TestDefinesAreNotRewritten(t *testing.T) {
	tr := smallTree(t, map[string]string{"a/x.c": "const char *d = DIR, *f = __FILE__;\n#include INC\n", "c/v.h": "const char *h = __FILE__;\n"})
	dir := tr.cfg.SourceDir
	r := compiled(t, tr, tr.smallCommand("a/x.c", `-DDIR="`+dir+`/a"`, `-DINC="`+dir+`/c/v.h"`), nil)
	for _, want := range []string{dir + "/a\x00", "\x00c/v.h\x00", "\x00a/x.c\x00"} {
		if !bytes.Contains(r.Object, []byte(want)) {
			t.Errorf("no %q", want)
		}
	}
	// A replaced file that is only reached past the overlay is an error.
	_, err := tr.Compile(context.Background(), Job{Command: tr.smallCommand("a/x.c", `-DDIR="x"`, `-DINC="`+dir+`/c/v.h"`), Overlay: map[string][]byte{"c/v.h": nil}})
	if err == nil || !strings.Contains(err.Error(), "past the overlay") {
		t.Error(err)
	}
}
