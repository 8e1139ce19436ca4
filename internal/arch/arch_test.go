// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "kmend"
	maxLines = 600
)

// pkg is what go list says of one package.
type pkg struct {
	ImportPath  string
	Name        string
	Dir         string
	Imports     []string
	GoFiles     []string
	TestGoFiles []string
	Standard    bool
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// packages lists the packages of this module.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Dir,Imports,GoFiles,TestGoFiles,Standard", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if !p.Standard && strings.HasPrefix(p.ImportPath, module+"/") {
			pkgs = append(pkgs, p)
		}
	}
	if len(pkgs) < 5 {
		t.Fatalf("go list found only %d packages", len(pkgs))
	}
	return pkgs
}

// room is the name under which docs/architecture.md has a package: its path
// below internal/, or all of it.
func room(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module+"/"), "internal/")
}

var tableRow = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|")

// rooms is the table of docs/architecture.md, top to bottom.
func rooms(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range tableRow.FindAllSubmatch(data, -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// rank is the place of a package in the table: its own row, or that of the
// package that it lies below. -1 if there is none.
func rank(table []string, name string) int {
	for ; name != "." && name != ""; name = filepath.Dir(name) {
		if i := slices.Index(table, name); i >= 0 {
			return i
		}
	}
	return -1
}

// arrowErrors says which imports do not go down the table. Packages that share
// a row may import each other; ui is for cmd alone.
func arrowErrors(table []string, pkgs []pkg) []string {
	var errs []string
	for _, p := range pkgs {
		from := room(p.ImportPath)
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module+"/") {
				continue
			}
			to := room(imp)
			f, o := rank(table, from), rank(table, to)
			switch {
			case f < 0 || o < 0: // reported by the test of the table
			case o < f:
				errs = append(errs, from+" imports "+to+", which stands above it in docs/architecture.md")
			case to == "ui" && !strings.HasPrefix(from, "cmd/"):
				errs = append(errs, from+" imports ui: only cmd talks to the terminal")
			}
		}
	}
	return errs
}

func TestImportsGoDownTheTable(t *testing.T) {
	for _, e := range arrowErrors(rooms(t), packages(t)) {
		t.Error(e)
	}
}

func TestArrowErrorsAreFound(t *testing.T) {
	table := []string{"cmd/kmend", "plan", "object", "ui"}
	bad := []pkg{
		{ImportPath: "kmend/internal/object", Imports: []string{"kmend/internal/plan"}},
		{ImportPath: "kmend/internal/plan/sub", Imports: []string{"kmend/internal/ui"}},
	}
	if errs := arrowErrors(table, bad); len(errs) != 2 {
		t.Errorf("2 wrong imports, found %q", errs)
	}
	good := []pkg{
		{ImportPath: "kmend/cmd/kmend", Imports: []string{"fmt", "kmend/internal/ui", "kmend/internal/plan"}},
		{ImportPath: "kmend/internal/plan", Imports: []string{"kmend/internal/plan/sub", "kmend/internal/object"}},
	}
	if errs := arrowErrors(table, good); len(errs) != 0 {
		t.Errorf("good imports, found %q", errs)
	}
}

func TestEveryPackageHasItsRowAndEveryRowItsPackage(t *testing.T) {
	table := rooms(t)
	found := map[string]bool{}
	for _, p := range packages(t) {
		name := room(p.ImportPath)
		found[name] = true
		if rank(table, name) < 0 {
			t.Errorf("docs/architecture.md has no row for package %s", name)
		}
	}
	for _, name := range table {
		if !found[name] {
			t.Errorf("docs/architecture.md has a row for %s, which is no package", name)
		}
	}
}

var namedInDocs = regexp.MustCompile("`([a-z]+)\\.([A-Z][A-Za-z]*)(?:\\.([A-Z][A-Za-z]*))?`")

// TestNamesInTheArchitectureExist: whatever docs/architecture.md names as
// `package.Name` or `package.Type.Method` is there.
func TestNamesInTheArchitectureExist(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root(t), "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]string{"agent": "internal/vm/agent"}
	for _, name := range rooms(t) {
		dirs[filepath.Base(name)] = "internal/" + name
	}
	found := 0
	for _, m := range namedInDocs.FindAllStringSubmatch(string(data), -1) {
		found++
		dir, ok := dirs[m[1]]
		if !ok {
			t.Errorf("docs/architecture.md names %s: there is no package %s", m[0], m[1])
			continue
		}
		want := m[2]
		if m[3] != "" {
			want += "." + m[3]
		}
		if !slices.Contains(declared(parseDir(t, dir)), want) {
			t.Errorf("docs/architecture.md names %s, which %s does not declare", m[0], dir)
		}
	}
	if found < 10 {
		t.Errorf("docs/architecture.md names only %d functions: look at this test", found)
	}
}

// declared are the types, functions and methods (Type.Method) of a package.
func declared(files []*ast.File) []string {
	var names []string
	for _, f := range files {
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				name := decl.Name.Name
				if decl.Recv != nil {
					recv := decl.Recv.List[0].Type
					if star, ok := recv.(*ast.StarExpr); ok {
						recv = star.X
					}
					if id, ok := recv.(*ast.Ident); ok {
						name = id.Name + "." + name
					}
				}
				names = append(names, name)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						names = append(names, spec.Name.Name)
					}
				}
			}
		}
	}
	return names
}

func TestEveryPackageHasADocGo(t *testing.T) {
	for _, p := range packages(t) {
		small := p.Name == "main" && len(p.GoFiles) == 1 // a program of one file says it there
		if !small && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", room(p.ImportPath))
		}
	}
}

func TestFilesAreShortAndLicensed(t *testing.T) {
	for _, p := range packages(t) {
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles) {
			path := filepath.Join(p.Dir, name)
			first, lines := firstLine(t, path)
			rel, _ := filepath.Rel(root(t), path)
			if first != "// SPDX-License-Identifier: Apache-2.0" {
				t.Errorf("%s does not begin with its SPDX licence line", rel)
			}
			if lines > maxLines {
				t.Errorf("%s has %d lines, more than %d: does it hold one idea?", rel, lines, maxLines)
			}
		}
	}
}

func firstLine(t *testing.T, path string) (first string, lines int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for ; s.Scan(); lines++ {
		if lines == 0 {
			first = s.Text()
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return first, lines
}
