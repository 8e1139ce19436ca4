// SPDX-License-Identifier: Apache-2.0

package extract_test

import (
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
	"kmend/internal/extract"
)

var update = flag.Bool("update", false, "write the golden parts of testdata/cases anew")

// kernelFlags are options of a kernel's build that refuse text.
var kernelFlags = []string{"-std=gnu11", "-O2", "-Wall", "-Wundef", "-Werror=strict-prototypes", "-fno-strict-aliasing", "-fno-common",
	"-Werror=implicit-function-declaration", "-Werror=implicit-int", "-Werror=return-type", "-I", "include"}

// A case is one archive in testdata/cases: what it shows, the request, the unit
// a.c with its headers (those below include are public), and what must come out:
// the text, what was decided, and for some the rest of a compile, or an error.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d cases: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			u := newUnit(t, ar)
			got := u.outcome(t)
			if *update {
				ar.Files = append(slices.DeleteFunc(ar.Files, golden), got...)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			var want []txtar.File
			for _, f := range ar.Files {
				if golden(f) {
					want = append(want, f)
				}
			}
			if d := cmp.Diff(show(want), show(got)); d != "" {
				t.Errorf("not as in %s (-want +got):\n%s", file, d)
			}
		})
	}
}

func golden(f txtar.File) bool {
	return slices.Contains([]string{"text", "decisions", "error"}, f.Name)
}

func show(files []txtar.File) string { return string(txtar.Format(&txtar.Archive{Files: files})) }

// unit is one case, written out and read.
type unit struct {
	dir      string
	q        extract.Request
	refused  error // by the parser
	lineTest bool  // only what is compiled has the unit's lines
	judged   []verdict
}

type verdict struct{ text, log string }

func newUnit(t testing.TB, ar *txtar.Archive) *unit {
	t.Helper()
	u := &unit{dir: t.TempDir()}
	u.q.Source = "a.c"
	u.q.Public = func(file string) bool { return strings.HasPrefix(filepath.Clean(file), "include/") }
	u.q.Read = func(file string) []byte {
		data, _ := os.ReadFile(filepath.Join(u.dir, file))
		return data
	}
	var request string
	for _, f := range ar.Files {
		if f.Name == "request" {
			request = string(f.Data)
			continue
		}
		if golden(f) {
			continue
		}
		path := filepath.Join(u.dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		if log, err := u.compile("a.c", u.q.Read("a.c")); err != nil || log != "" {
			t.Fatalf("the unit does not compile: %v\n%s", err, log)
		}
	}
	text, err := u.gcc("-E", "-fdirectives-only", "a.c")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ctext.Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if u.q.Text, err = doc.Expand(); err != nil {
		t.Fatal(err)
	}
	u.q.Unit, u.refused = csyntax.Parse(doc.Names, u.q.Text.Tokens)
	u.request(t, request)
	return u
}

// request reads the lines of a request: what it asks for, and what the object
// would show.
func (u *unit) request(t testing.TB, text string) {
	t.Helper()
	set := func(names []string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	o := &extract.Object{Refs: map[string]map[string]bool{}, Elements: map[string]int64{}}
	u.q.Object, u.q.Replace, u.q.Policy = o, map[string]string{}, extract.Policy{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch args := f[1:]; f[0] {
		case "replace":
			for _, n := range args {
				u.q.Replace[n] = "edited"
			}
		case "functions":
			o.Functions = set(args)
		case "variables":
			o.Variables = set(args)
		case "new":
			o.New = set(args)
		case "copy":
			u.q.Copy = set(args)
		case "refs":
			o.Refs[args[0]] = set(args[1:])
		case "elements":
			n, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			o.Elements[args[0]] = n
		case "policy":
			u.q.Policy[args[1]] = args[0]
		case "line-test":
			u.lineTest = true
		case "self-contained":
			u.q.SelfContained = true
		case "all-includes":
			u.q.AllIncludes = true
		default:
			t.Fatalf("request: %q", line)
		}
	}
}

// gcc runs the compiler in the directory of the unit.
func (u *unit) gcc(args ...string) (string, error) {
	cmd := exec.Command("gcc-12", append(slices.Clone(kernelFlags), args...)...)
	cmd.Dir = u.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, log strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w\n%s", err, log.String())
	}
	return out.String(), nil
}

// compile is the judge: the text in the place of the unit. It answers with the
// compiler's words.
func (u *unit) compile(name string, text []byte) (string, error) {
	if err := os.WriteFile(filepath.Join(u.dir, name), text, 0o644); err != nil {
		return "", err
	}
	_, err := u.gcc("-Werror", "-c", "-o", name+".o", name)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return err.Error(), nil
	}
	return "", err
}

func (u *unit) cut() (*extract.File, error) {
	return extract.Cut(context.Background(), u.q, func(_ context.Context, text []byte) (string, error) {
		log, err := u.compile("part.c", text)
		u.judged = append(u.judged, verdict{string(text), log})
		return log, err
	})
}

// again cuts once more, with what the compiler said before: each text must be
// the same.
func (u *unit) again(t testing.TB) (*extract.File, error) {
	t.Helper()
	round := 0
	return extract.Cut(context.Background(), u.q, func(_ context.Context, text []byte) (string, error) {
		was := u.judged[round]
		if d := cmp.Diff(was.text, string(text)); d != "" {
			t.Errorf("round %d of the second time comes out different:\n%s", round, d)
		}
		round++
		return was.log, nil
	})
}

// defines wants the last object to define each replaced function for other files.
func (u *unit) defines(t testing.TB) {
	t.Helper()
	f, err := elf.Open(filepath.Join(u.dir, "part.c.o"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for name := range u.q.Replace {
		if !slices.ContainsFunc(symbols, func(s elf.Symbol) bool {
			return s.Name == extract.Prefix+name && elf.ST_BIND(s.Info) == elf.STB_GLOBAL && s.Section != elf.SHN_UNDEF
		}) {
			t.Errorf("the object does not define %s%s", extract.Prefix, name)
		}
	}
}

// origins holds the lines of the text against those of the source that they are
// said to be.
func (u *unit) origins(t testing.TB, f *extract.File) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(string(f.Text), "\n"), "\n")
	if len(lines) != len(f.Origins) {
		t.Fatalf("%d lines, origins of %d", len(lines), len(f.Origins))
	}
	same := strings.NewReplacer("static ", "", extract.Prefix, "")
	for i, o := range f.Origins {
		if o.Line == 0 {
			continue
		}
		source := strings.Split(string(u.q.Read(o.File)), "\n")
		if o.Line > len(source) || same.Replace(source[o.Line-1]) != same.Replace(lines[i]) {
			t.Errorf("line %d, %q, is not %s:%d", i+1, lines[i], o.File, o.Line)
		}
	}
}

// outcome cuts twice, holds the results against each other, and compiles what a
// person gets.
func (u *unit) outcome(t testing.TB) []txtar.File {
	t.Helper()
	if u.refused != nil {
		return []txtar.File{{Name: "error", Data: []byte("parser: " + u.refused.Error() + "\n")}}
	}
	f, err := u.cut()
	if err == nil {
		err = u.q.Policy.CheckUsed([]*extract.File{f})
	}
	var refused *extract.Error
	if errors.As(err, &refused) {
		return []txtar.File{{Name: "error", Data: []byte(refused.Code + ": " + refused.Error() + "\n")}}
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := u.again(t)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(f, again); d != "" {
		t.Errorf("the second time it comes out different:\n%s", d)
	}
	u.origins(t, f)
	u.defines(t)
	if log, err := u.compile("part.c", f.Text); !u.lineTest && (err != nil || log != "") {
		t.Errorf("the text does not compile: %v\n%s\n%s", err, log, f.Text)
	}
	var d strings.Builder
	for _, x := range f.Decisions {
		by := ""
		if x.Policy {
			by = " [policy]"
		}
		fmt.Fprintf(&d, "%s %s %s (%s): %s%s\n", x.What, x.Kind, x.Name, x.Origin, x.Why, by)
	}
	return []txtar.File{{Name: "text", Data: f.Text}, {Name: "decisions", Data: []byte(d.String())}}
}
