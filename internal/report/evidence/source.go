// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"kmend/internal/definitions"
	"kmend/internal/patch"
	"kmend/internal/plan"
	"kmend/internal/report/page"
)

const (
	maxSource = 64 << 20 // bytes of a source file, as package patch has it
	maxChain  = 8        // functions of one chain whose source is shown
)

// texts finds functions in the source before and after the fix.
type texts struct {
	root  *os.Root
	files map[string]*patch.AppliedFile // those that the fix changes
	order []string                      // their names
	read  map[string][]byte             // others, by name; nil: not there
}

// sources shows the source of each function, and of those that are in it.
func (e *Evidence) sources(q *Request, applied []*patch.AppliedFile) (found int) {
	t := &texts{files: map[string]*patch.AppliedFile{}, read: map[string][]byte{}}
	root, err := os.OpenRoot(q.Kernel.SourceDir)
	if err != nil {
		e.note("The source of the functions is not shown: %v.", err)
		return e.each(q.Plan, func(*plan.Function, *Function) {})
	}
	defer root.Close()
	t.root = root
	for _, f := range applied {
		t.files[f.Path] = f
		t.order = append(t.order, f.Path)
	}
	return e.each(q.Plan, func(f *plan.Function, out *Function) {
		var names []string
		for _, n := range append(slices.Clone(f.Reason.Via[:min(len(f.Reason.Via), maxChain)]), f.Name) {
			if n = sourceName(n); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		for _, n := range names {
			out.Sources = append(out.Sources, t.source(n, f.Unit))
		}
	})
}

// sourceName is the function that a clone was made of.
func sourceName(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".")
	return name
}

// source finds a function: in the unit's own file, else in what the fix changes.
func (t *texts) source(name, unit string) Source {
	s := Source{Name: name}
	for _, file := range append([]string{unit}, t.order...) {
		before, after, from := t.load(file)
		l1, l2, inBefore := definitions.Lines(before, name)
		r1, r2, inAfter := definitions.Lines(after, name)
		if !inBefore && !inAfter {
			continue
		}
		left, right := cut(before, l1, l2, inBefore), cut(after, r1, r2, inAfter)
		var lines []int // for each line of the right side that of the left, from 0
		for i := range right.Lines {
			n := -1
			if k := r1 + i; k <= len(from) && from[k-1] >= l1 && from[k-1] <= l2 {
				n = from[k-1] - l1
			}
			lines = append(lines, n)
		}
		s.File, s.Sides = file, page.SideBySide(left, right, append([]int{}, lines...))
		return s
	}
	s.Note = fmt.Sprintf("No definition of %s was found in %s or in what the fix changes: a macro makes it, or a header that the fix does not change has it.", name, unit)
	return s
}

// cut takes lines out of a file.
func cut(data []byte, first, last int, ok bool) page.Text {
	if !ok {
		return page.Text{}
	}
	lines := strings.SplitN(string(data), "\n", last+1)
	return page.Text{Lines: lines[first-1 : last], First: first}
}

// load is a file before and after the fix, and for each line after it the one
// that it was.
func (t *texts) load(file string) (before, after []byte, from []int) {
	if f, ok := t.files[file]; ok {
		return f.Orig, f.Patched, f.From
	}
	data, ok := t.read[file]
	if !ok {
		data = t.readFile(file)
		t.read[file] = data
	}
	from = make([]int, strings.Count(string(data), "\n")+1)
	for i := range from {
		from[i] = i + 1
	}
	return data, data, from
}

// readFile reads a file of the source tree; nil if it cannot.
func (t *texts) readFile(name string) []byte {
	f, err := t.root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Size() > maxSource {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSource))
	if err != nil {
		return nil
	}
	return data
}
