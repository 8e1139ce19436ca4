// SPDX-License-Identifier: Apache-2.0

package page

import (
	_ "embed"
	"fmt"
	"html/template"
	"io/fs"
	"reflect"
	"strings"
)

//go:embed shared.tmpl
var shared string

// maxRowsOfTable is how many rows of one table, or entries of one list, are shown.
const maxRowsOfTable = 2000

// Templates parses the templates of a page with those that all pages share:
// "sides" shows Sides, "bars" a slice of Bar, "histogram" a Histogram.
func Templates(files fs.FS, pattern string) *template.Template {
	t := template.New("page").Funcs(template.FuncMap{
		"limit": limit, "more": more, "count": Count, "bytes": Bytes, "join": strings.Join, "arrow": arrow,
		"list": func(items ...any) []any { return items },
	})
	return template.Must(template.Must(t.Parse(shared)).ParseFS(files, pattern))
}

// limit is the begin of a list that is shown.
func limit(list any) any {
	v := reflect.ValueOf(list)
	return v.Slice(0, min(v.Len(), maxRowsOfTable)).Interface()
}

// more says what limit left out, "" if nothing.
func more(list any) string {
	if n := reflect.ValueOf(list).Len() - maxRowsOfTable; n > 0 {
		return fmt.Sprintf("%d more are not shown; the JSON has all.", n)
	}
	return ""
}

func arrow(names []string) string { return strings.Join(names, " → ") }

// Count is a number with its noun.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Bytes is a size for people.
func Bytes(n int) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
