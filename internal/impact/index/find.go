// SPDX-License-Identifier: Apache-2.0

package index

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"kmend/internal/impact"
	"kmend/internal/nearest"
)

// Function is a function of the source: a name and the place of its definition.
// Many units may know it, if that is a header.
type Function struct {
	Name  string
	File  string // of the definition, as the dump has it, relative to the source where that is known
	Line  int    // 0: no dump names it; File is the unit's C file then
	nodes []uint32
}

// AmbiguousError says that several functions have a name.
type AmbiguousError struct {
	Name       string
	Candidates []Candidate
}

// Candidate is one of the functions of a name.
type Candidate struct {
	File   string
	Line   int
	Object string // what the first of its units is linked into, "" unknown
	Select string // what to ask for instead
	Units  int    // how many know it
}

func (e *AmbiguousError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "find function %s: %d functions have that name; name one of them:", e.Name, len(e.Candidates))
	for i, c := range e.Candidates {
		if i == 20 {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Candidates)-i)
			break
		}
		fmt.Fprintf(&b, "\n  %s", c.Select)
		if c.Line > 0 {
			fmt.Fprintf(&b, " (line %d)", c.Line)
		}
	}
	return b.String()
}

// Find finds the function that FUNC, file.c:FUNC, file.c:line:FUNC or
// object:FUNC means, where object is vmlinux, a module or an object file.
//
// Errors: *AmbiguousError, *impact.UnknownError, *FormatError.
func (q *Query) Find(spec string) (*Function, error) {
	where, name := "", spec
	if i := strings.LastIndexByte(spec, ':'); i >= 0 {
		where, name = spec[:i], spec[i+1:]
	}
	number, ok := q.lookup([]byte(name))
	var list []*Function
	if ok {
		list = q.functions(number)
	}
	all := list
	if where != "" {
		list = q.within(where, list)
	}
	if q.err != nil {
		return nil, q.err
	}
	switch len(list) {
	case 0:
		return nil, q.unknown(where, name, all)
	case 1:
		return list[0], nil
	}
	return nil, q.ambiguous(spec, list)
}

// functions splits the nodes of a name by the place of the definition. A symbol
// that no dump names has no place: it is counted to the header function of that
// name, if there is just one, else it is a function of its own.
func (q *Query) functions(number uint32) []*Function {
	from, to := q.named(number)
	var list []*Function
	var unplaced []uint32
	at := map[[2]uint32]int{} // file and line → place in list
	for i := from; i < to && q.err == nil; i++ {
		id := q.u32(secNameNodes, i)
		n := q.node(id)
		if n.order == noOrder {
			unplaced = append(unplaced, id)
			continue
		}
		key := [2]uint32{n.file, uint32(n.line)}
		f, ok := at[key]
		if !ok {
			f = len(list)
			at[key] = f
			list = append(list, &Function{Name: q.str(n.name), File: q.str(n.file), Line: int(n.line)})
		}
		list[f].nodes = append(list[f].nodes, id)
	}
	if len(unplaced) > 0 && len(list) == 1 && path.Ext(list[0].File) != ".c" {
		list[0].nodes = append(list[0].nodes, unplaced...)
		slices.Sort(list[0].nodes)
		return list
	}
	for _, id := range unplaced {
		n := q.node(id)
		u := q.unit(n.unit)
		list = append(list, &Function{Name: q.str(n.name), File: q.str(u.source), nodes: []uint32{id}})
	}
	return list
}

// within keeps what a selector means: functions defined in a file of that name
// (at that line, as file:line), or else what units or objects of that name know.
func (q *Query) within(where string, list []*Function) []*Function {
	var exact, out []*Function
	for _, f := range list {
		switch {
		case f.File == where || fmt.Sprintf("%s:%d", f.File, f.Line) == where:
			exact = append(exact, f)
		case isTail(f.File, where):
			out = append(out, f)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	if len(out) > 0 {
		return out
	}
	for _, f := range list {
		g := *f
		g.nodes = nil
		for _, id := range f.nodes {
			u := q.unit(q.node(id).unit)
			if q.isObject(&u, where) || isTail(q.str(u.path), where) || isTail(q.str(u.source), where) {
				g.nodes = append(g.nodes, id)
			}
		}
		if len(g.nodes) > 0 {
			out = append(out, &g)
		}
	}
	return out
}

// isObject reports whether a unit is linked into the object of that name;
// modules have names with _ and files with -.
func (q *Query) isObject(u *unit, name string) bool {
	object := q.bytes(u.object)
	return len(object) > 0 && string(object) == strings.ReplaceAll(name, "-", "_")
}

// isTail reports whether a path ends in another, at a slash.
func isTail(p, tail string) bool {
	return p == tail || strings.HasSuffix(p, tail) && len(p) > len(tail) && p[len(p)-len(tail)-1] == '/'
}

func (q *Query) unknown(where, name string, elsewhere []*Function) error {
	e := &impact.UnknownError{Name: name, Where: "the build"}
	if where != "" {
		e.Where = where
	}
	for _, f := range elsewhere[:min(len(elsewhere), 5)] {
		e.Near = append(e.Near, f.File+":"+f.Name)
	}
	if len(elsewhere) > 0 {
		return e
	}
	s := nearest.NewSearch(name, 5)
	for i := range uint32(q.x.Names()) {
		if b := q.record(secNames, i); b != nil {
			s.Offer(q.bytes(le.Uint32(b)))
		}
	}
	e.Near = s.Names()
	if q.err != nil {
		return q.err
	}
	return e
}

func (q *Query) ambiguous(name string, list []*Function) error {
	e := &AmbiguousError{Name: name}
	for _, f := range list {
		u := q.unit(q.node(f.nodes[0]).unit)
		c := Candidate{File: f.File, Line: f.Line, Object: q.str(u.object), Select: f.File + ":" + f.Name, Units: len(f.nodes)}
		if slices.ContainsFunc(list, func(g *Function) bool { return g != f && g.File == f.File }) {
			c.Select = fmt.Sprintf("%s:%d:%s", f.File, f.Line, f.Name)
		}
		e.Candidates = append(e.Candidates, c)
	}
	slices.SortFunc(e.Candidates, func(a, b Candidate) int { return strings.Compare(a.Select, b.Select) })
	if q.err != nil {
		return q.err
	}
	return e
}

// Each calls do with every function of the index, until it returns false.
func (q *Query) Each(do func(f *Function) bool) error {
	q.work = 0
	for i := range uint32(q.x.Names()) {
		for _, f := range q.functions(i) {
			if !do(f) {
				return q.err
			}
		}
		if q.err != nil {
			return q.err
		}
	}
	return nil
}

// Names lists the functions whose names begin with prefix, sorted.
func (q *Query) Names(prefix string) ([]string, error) {
	var out []string
	for i := range uint32(q.x.Names()) {
		if b := q.record(secNames, i); b != nil {
			if n := q.bytes(le.Uint32(b)); strings.HasPrefix(string(n), prefix) {
				out = append(out, string(n))
			}
		}
	}
	slices.Sort(out)
	return out, q.err
}

// StaleUnits lists the units whose account cannot be relied on.
func (q *Query) StaleUnits() ([]StaleUnit, error) {
	var out []StaleUnit
	for i := range uint32(q.x.Units()) {
		if u := q.unit(i); u.flags.Stale() {
			out = append(out, StaleUnit{q.str(u.path), u.flags})
		}
	}
	return out, q.err
}
