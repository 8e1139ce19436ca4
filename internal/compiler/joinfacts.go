// SPDX-License-Identifier: Apache-2.0

package compiler

import (
	"cmp"
	"errors"
	"slices"
	"strings"
)

// JoinFacts makes the facts of one compile out of all its dumps.
//
// A use of what is known about a callee also depends on all that the callee
// calls in turn, since its summary has theirs in it. That a function is pure,
// const, noreturn or malloc is not logged where it is used: all its callers
// count as users, those as well whose call is gone for that very reason.
func JoinFacts(dumps []*FactDump) (*Facts, error) {
	j := &joiner{nodes: map[int]string{}, orders: map[string]int{}, callers: map[int][]int{}, below: map[int][]int{}}
	for _, d := range dumps {
		if d.pass == "cgraph" {
			j.graph = d
		}
		for order, name := range d.nodes {
			j.nodes[order] = name
		}
	}
	if j.graph == nil || len(j.graph.nodes) == 0 && len(j.nodes) > 0 {
		return nil, errors.New("read the dumps of facts: there is no call graph among them")
	}
	for order, name := range j.graph.nodes {
		j.orders[name] = order
	}
	for caller, callees := range j.graph.calls {
		for i, c := range callees {
			if to, ok := j.graph.aliases[c]; ok {
				callees[i] = to
			}
			j.callers[callees[i]] = append(j.callers[callees[i]], caller)
		}
	}
	f := &Facts{}
	for _, d := range dumps {
		for _, u := range d.uses {
			j.use(f, d.pass, u)
		}
		for _, found := range d.found {
			fn := j.order(found.fn)
			for _, caller := range j.callers[fn] {
				f.Uses = append(f.Uses, FactUse{From: j.nodes[fn], To: j.nodes[caller], Pass: d.pass, What: found.what})
			}
		}
		for _, n := range d.narrowed {
			for _, caller := range j.callers[j.order(node{n.Function, -1})] {
				n.Callers = append(n.Callers, j.nodes[caller])
			}
			slices.Sort(n.Callers)
			n.Callers = slices.Compact(n.Callers)
			f.Narrowed = append(f.Narrowed, n)
		}
	}
	slices.SortFunc(f.Uses, compareUses)
	f.Uses = slices.Compact(f.Uses)
	slices.SortFunc(f.Narrowed, func(a, b NarrowedParam) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Param, b.Param), cmp.Compare(a.Known, b.Known))
	})
	f.Narrowed = slices.CompactFunc(f.Narrowed, func(a, b NarrowedParam) bool {
		return a.Function == b.Function && a.Param == b.Param && a.Known == b.Known
	})
	return f, nil
}

func compareUses(a, b FactUse) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Pass, b.Pass), cmp.Compare(a.What, b.What))
}

type joiner struct {
	graph   *FactDump
	nodes   map[int]string // assembler name by order
	orders  map[string]int // the other way round, for what is in the call graph
	callers map[int][]int
	below   map[int][]int // all that a function calls, directly or not; filled on demand
}

// order is the node of a function as it was before there were clones: a clone
// is named after it, and the call graph knows only it. -1 if there is none.
func (j *joiner) order(n node) int {
	name := n.name
	if full, ok := j.nodes[n.order]; ok {
		name = full
	}
	if alias, ok := j.graph.aliases[n.order]; ok {
		name = j.nodes[alias]
	}
	for {
		if order, ok := j.orders[name]; ok {
			return order
		}
		base := cloneBase(name)
		if base == name {
			return -1
		}
		name = base
	}
}

// cloneBase takes the last ".isra.0" or the like off a name.
func cloneBase(name string) string {
	end := len(strings.TrimRight(name, "0123456789"))
	if end == len(name) || !strings.HasSuffix(name[:end], ".") {
		return name
	}
	dot := strings.LastIndexByte(name[:end-1], '.')
	if dot <= 0 {
		return name
	}
	return name[:dot]
}

// use adds a use of a callee's summary.
func (j *joiner) use(f *Facts, pass string, u rawUse) {
	callee := j.order(u.callee)
	users := []string{u.in}
	if u.in == "" {
		users = nil
		for _, caller := range j.callers[callee] {
			users = append(users, j.nodes[caller])
		}
	}
	for _, user := range users {
		if callee < 0 { // a function that came into being later, and is no clone
			f.Uses = append(f.Uses, FactUse{From: u.callee.name, To: user, Pass: pass, What: u.what})
			continue
		}
		name := j.nodes[callee]
		f.Uses = append(f.Uses, FactUse{From: name, To: user, Pass: pass, What: u.what})
		for _, c := range j.reach(callee) {
			f.Uses = append(f.Uses, FactUse{From: j.nodes[c], To: user, Pass: pass, What: u.what + ", by way of " + name})
		}
	}
}

// reach lists all functions with a body here that one calls, directly or not,
// itself left out.
func (j *joiner) reach(from int) []int {
	if list, ok := j.below[from]; ok {
		return list
	}
	seen := map[int]bool{from: true}
	var list []int
	for work := []int{from}; len(work) > 0; work = work[1:] {
		for _, c := range j.graph.calls[work[0]] {
			if !seen[c] && j.graph.defined[c] {
				seen[c] = true
				list = append(list, c)
				work = append(work, c)
			}
		}
	}
	j.below[from] = list
	return list
}
