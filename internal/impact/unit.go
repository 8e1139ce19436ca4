// SPDX-License-Identifier: Apache-2.0

package impact

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/nearest"
	"kmend/internal/object"
)

// Kind says how the body of one function got into the code of another, or what
// else ties that code to it.
type Kind uint8

const (
	// Inlined: the body was copied into the other function.
	Inlined Kind = iota
	// Constprop: a clone for known argument values (-fipa-cp-clone).
	Constprop
	// Isra: a clone with changed parameters (-fipa-sra).
	Isra
	// Part: a clone that holds the larger part of a split function (-fpartial-inlining).
	Part
	// Recursive: the master copy of a recursive inlining; same name.
	Recursive
	// Calls: the other function calls a clone, whose interface was made from
	// the body; only the references of the object show it.
	Calls
	// Fact: the compiler used a fact about the body in the other function.
	Fact
)

var kindNames = [...]string{"inlined", "constprop", "isra", "part", "recursive", "calls", "fact"}

// String is the kind as it is printed and stored.
func (k Kind) String() string { return kindNames[k] }

// MarshalText makes the kind a word in JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// IsClone reports whether the edge leads to a function of its own that was made
// from the body and may have another interface.
func (k Kind) IsClone() bool { return k == Constprop || k == Isra || k == Part }

// Edge is one step from a function to one that depends on it.
type Edge struct {
	From, To string // assembler names
	Kind     Kind
	Detail   string // for Fact: the pass and what it used
}

// Impacted is a function that exists as a symbol of the object and must be
// replaced along with the one that was asked for.
type Impacted struct {
	Symbol string
	Chain  []Edge // shortest, from the function asked for to Symbol
}

// UnknownError says that there is no function of a name.
type UnknownError struct {
	Name  string
	Where string   // where it was looked for; "" is the translation unit
	Near  []string // names that differ by little, best first
}

func (e *UnknownError) Error() string {
	where := e.Where
	if where == "" {
		where = "the translation unit"
	}
	s := fmt.Sprintf("find function %s: no such function in %s", e.Name, where)
	if len(e.Near) > 0 {
		s += "; did you mean " + strings.Join(e.Near, ", ") + "?"
	}
	return s
}

// Unit is GCC's account of one translation unit, joined with the object that it
// made. It is not changed by questions and safe for concurrent use then.
type Unit struct {
	Clones *compiler.Clones
	Funcs  []Func              // function symbols of the object, by name
	next   map[string][]Edge   // by From; calls apart
	users  map[string][]string // clone symbol → function symbols that refer to it
	names  map[string]bool     // every function of the dump or the object
	dumped map[string]bool     // every function of the dump
	byName map[string]int      // into Funcs
}

// NewUnit joins a .ipa-clones dump (empty if GCC copied nothing) with the
// object of the same compile.
func NewUnit(dump []byte, obj *object.File) (*Unit, error) {
	clones, err := compiler.ParseClones(dump)
	if err != nil {
		return nil, err
	}
	u := &Unit{Clones: clones, next: map[string][]Edge{}, names: map[string]bool{}, dumped: map[string]bool{}, byName: map[string]int{}}
	for i := range clones.Clones {
		c := &clones.Clones[i]
		kind, err := cloneKind(c.Kind)
		if err != nil {
			return nil, err
		}
		u.dumped[c.From.Name], u.dumped[c.To.Name] = true, true
		u.link(Edge{From: c.From.Name, To: c.To.Name, Kind: kind})
	}
	for _, n := range clones.Removed {
		u.dumped[n.Name] = true
	}
	for n := range u.dumped {
		u.names[n] = true
	}
	u.Funcs = functions(obj)
	for i, f := range u.Funcs {
		u.byName[f.Name] = i
		u.names[f.Name] = true
	}
	u.users, err = cloneUsers(obj, u.Funcs)
	return u, err
}

// cloneKind is the operation of a dump line (gcc/cgraphclones.cc, tree-inline.cc).
func cloneKind(op string) (Kind, error) {
	switch op {
	case "inlining to":
		return Inlined, nil
	case "constprop":
		return Constprop, nil
	case "isra":
		return Isra, nil
	case "part":
		return Part, nil
	case "":
		return Recursive, nil
	}
	return 0, fmt.Errorf("read .ipa-clones dump: unknown operation %.60q; this compiler is newer than kmend knows", op)
}

func (u *Unit) link(e Edge) {
	if e.From == e.To || slices.ContainsFunc(u.next[e.From], func(x Edge) bool { return x.To == e.To && x.Kind == e.Kind }) {
		return
	}
	u.next[e.From] = append(u.next[e.From], e)
}

// AddFacts adds what the passes of the compiler logged of facts about one
// function that they used in another.
func (u *Unit) AddFacts(facts []Edge) {
	for _, e := range facts {
		if e.Kind == Fact {
			u.names[e.From], u.names[e.To] = true, true
			u.link(e)
		}
	}
}

// Functions lists every function that the dump or the object names, sorted.
func (u *Unit) Functions() []string {
	out := make([]string, 0, len(u.names))
	for n := range u.names {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

// Func returns the function symbol of a name, or nil if the object has none.
func (u *Unit) Func(name string) *Func {
	if i, ok := u.byName[name]; ok {
		return &u.Funcs[i]
	}
	return nil
}

// Symbols lists the symbols that hold the function's own body: itself and its
// clones, as far as the object has them.
func (u *Unit) Symbols(name string) []string {
	var out []string
	seen := map[string]bool{name: true}
	for work := []string{name}; len(work) > 0; work = work[1:] {
		if u.Func(work[0]) != nil {
			out = append(out, work[0])
		}
		for _, e := range u.next[work[0]] {
			if e.Kind.IsClone() && !seen[e.To] {
				seen[e.To] = true
				work = append(work, e.To)
			}
		}
	}
	return out
}

// bodies lists the functions whose body a name stands for: itself, and for an
// alias, which the dump does not know, what has the same address.
func (u *Unit) bodies(name string) []string {
	out := []string{name}
	if f := u.Func(name); f != nil && !u.dumped[name] {
		for _, twin := range f.Twins {
			if u.dumped[twin] {
				out = append(out, twin)
			}
		}
	}
	return out
}

// Impacted lists the functions of the object whose code may depend on the body
// of the function named, each with the shortest chain of reasons, by symbol.
// The function itself, by whatever name, is not among them, its clones are. The error is an
// *UnknownError: an empty list means that nothing depends on it.
func (u *Unit) Impacted(name string) ([]Impacted, error) {
	if !u.names[name] {
		return nil, &UnknownError{Name: name, Near: nearest.Names(name, u.Functions(), 5)}
	}
	work := u.bodies(name)
	chains := map[string][]Edge{}
	for _, n := range work {
		chains[n] = nil
	}
	var out []Impacted
	for i := 0; i < len(work); i++ {
		for _, e := range u.next[work[i]] {
			if _, seen := chains[e.To]; seen {
				continue
			}
			chain := append(slices.Clip(chains[e.From]), e)
			chains[e.To] = chain
			work = append(work, e.To)
			if u.Func(e.To) != nil {
				out = append(out, Impacted{Symbol: e.To, Chain: chain})
			}
		}
	}
	// Who calls a clone relies on the interface that was made from the body. If
	// it is a clone itself, its own interface may rest on that one: a parameter
	// that is only passed on to one that was removed is removed as well
	// (gcc/ipa-sra.cc works along chains of calls). So its callers follow.
	for i := 0; i < len(work); i++ {
		for _, user := range u.users[work[i]] {
			if _, seen := chains[user]; seen {
				continue
			}
			chain := append(slices.Clip(chains[work[i]]), Edge{From: work[i], To: user, Kind: Calls})
			chains[user] = chain
			out = append(out, Impacted{Symbol: user, Chain: chain})
			if isCloneName(user) {
				work = append(work, user)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Symbol < out[j].Symbol })
	return out, nil
}
