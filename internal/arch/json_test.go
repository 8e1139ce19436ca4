// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	fieldsMark = regexp.MustCompile(`^<!-- fields: (\S+) (\S+) -->$`)
	fieldName  = regexp.MustCompile("`([a-z0-9_]+)`")
)

// documentedFields are the fields of docs/json.md, by "DIR TYPE".
func documentedFields(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), "docs/json.md"))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string][]string{}
	current := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if m := fieldsMark.FindStringSubmatch(line); m != nil {
			current = m[1] + " " + m[2]
			fields[current] = nil
		} else if strings.HasPrefix(line, "#") {
			current = ""
		} else if current != "" && strings.HasPrefix(line, "| `") {
			cell, _, _ := strings.Cut(line[2:], "|")
			for _, m := range fieldName.FindAllStringSubmatch(cell, -1) {
				fields[current] = append(fields[current], m[1])
			}
		}
	}
	return fields
}

// jsonTypes are the structs of a package that have JSON tags, with the names
// of their fields.
func jsonTypes(t *testing.T, dir string) map[string][]string {
	t.Helper()
	types := map[string][]string{}
	for _, f := range parseDir(t, dir) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range s.Fields.List {
				if field.Tag == nil {
					continue
				}
				tag, err := strconv.Unquote(field.Tag.Value)
				if err != nil {
					t.Fatal(err)
				}
				name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
				if name != "" && name != "-" {
					types[spec.Name.Name] = append(types[spec.Name.Name], name)
				}
			}
			return true
		})
	}
	return types
}

func TestEveryJSONFieldIsDocumentedAndEveryDocumentedFieldExists(t *testing.T) {
	documented := documentedFields(t)
	seen := map[string]bool{}
	for _, dir := range []string{"cmd/kmend", "internal/doctor", "internal/driver", "internal/host", "internal/levels", "internal/oracle", "internal/plan", "internal/verify", "internal/vm", "internal/vm/wire"} {
		for name, fields := range jsonTypes(t, dir) {
			key := dir + " " + name
			doc, ok := documented[key]
			if dir == "internal/vm/wire" && !ok {
				continue // the language of host and guest is nobody else's business
			}
			seen[key] = true
			slices.Sort(fields)
			slices.Sort(doc)
			if !slices.Equal(fields, doc) {
				t.Errorf("%s: the source has the fields %q, docs/json.md %q", key, fields, doc)
			}
		}
	}
	for key := range documented {
		if !seen[key] {
			t.Errorf("docs/json.md describes %s, which is no type with JSON fields", key)
		}
	}
}
