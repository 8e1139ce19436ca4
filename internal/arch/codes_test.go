// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	codesMark = regexp.MustCompile(`^<!-- codes: (\S+) -->$`)
	codeRow   = regexp.MustCompile("^\\| `([a-z0-9-]+)` \\|")
)

// codeDocuments are those with tables of codes.
var codeDocuments = []string{"docs/refusals.md", "docs/verify.md"}

// documentedCodes are the codes of the documents, by package directory.
func documentedCodes(t *testing.T) map[string][]string {
	t.Helper()
	var data []byte
	for _, name := range codeDocuments {
		b, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, b...)
	}
	codes := map[string][]string{}
	dir := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if m := codesMark.FindStringSubmatch(line); m != nil {
			dir = m[1]
		} else if m := codeRow.FindStringSubmatch(line); m != nil {
			codes[dir] = append(codes[dir], m[1])
		}
	}
	return codes
}

// parseDir parses the Go files of one package, tests left out.
func parseDir(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root(t), dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		t.Fatalf("%s has no Go files", dir)
	}
	return files
}

// codeConstants are the values of the string constants named Code… of a
// package.
func codeConstants(t *testing.T, dir string) []string {
	t.Helper()
	var codes []string
	for _, f := range parseDir(t, dir) {
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				spec := spec.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if strings.HasPrefix(name.Name, "Code") && i < len(spec.Values) {
						codes = append(codes, literal(spec.Values[i]))
					}
				}
			}
		}
	}
	return codes
}

// literal is the value of a string literal, "" for anything else.
func literal(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

func TestEveryCodeIsDocumentedAndEveryDocumentedCodeExists(t *testing.T) {
	documented := documentedCodes(t)
	for _, dir := range []string{"internal/plan", "internal/klp", "internal/verify", "internal/vm", "internal/host"} {
		source := codeConstants(t, dir)
		if len(source) < 5 {
			t.Errorf("%s has only %d codes: where have they gone?", dir, len(source))
		}
		for _, code := range source {
			if !slices.Contains(documented[dir], code) {
				t.Errorf("code %q of %s is not in %v", code, dir, codeDocuments)
			}
		}
		for _, code := range documented[dir] {
			if !slices.Contains(source, code) {
				t.Errorf("code %q, which is documented, is not in %s", code, dir)
			}
		}
		if n := len(documented[dir]); n != len(slices.Compact(slices.Sorted(slices.Values(documented[dir])))) {
			t.Errorf("%v have a code of %s twice", codeDocuments, dir)
		}
	}
}

// TestCodesBelowPlanAreCodesOfPlan: the packages that plan takes codes from use
// plain strings, since they may not import it.
func TestCodesBelowPlanAreCodesOfPlan(t *testing.T) {
	known := codeConstants(t, "internal/plan")
	found := 0
	check := func(dir, code string) {
		found++
		if !slices.Contains(known, code) {
			t.Errorf("%s uses code %q, which plan does not have", dir, code)
		}
	}
	for _, dir := range []string{"internal/delta", "internal/closure"} {
		for _, f := range parseDir(t, dir) {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.KeyValueExpr: // Problem{Code: "…"}
					if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" && literal(n.Value) != "" {
						check(dir, literal(n.Value))
					}
				case *ast.AssignStmt: // code = "…"
					if id, ok := n.Lhs[0].(*ast.Ident); ok && id.Name == "code" && len(n.Rhs) == 1 && literal(n.Rhs[0]) != "" {
						check(dir, literal(n.Rhs[0]))
					}
				case *ast.CallExpr: // c.refuse("…", …)
					if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "refuse" && len(n.Args) > 0 && literal(n.Args[0]) != "" {
						check(dir, literal(n.Args[0]))
					}
				}
				return true
			})
		}
	}
	if found < 10 {
		t.Errorf("found only %d uses of codes: look at this test", found)
	}
}
