// SPDX-License-Identifier: Apache-2.0

package csyntax

import (
	"math"

	"kmend/internal/ctext"
)

// meaning is what a name stands for, as far as parsing C depends on it.
type meaning uint8

const (
	mObject  meaning = 1 << iota // variable, function, enumerator, parameter; any tag
	mTypedef                     // a typedef name
	mFunc                        // with mObject: a function; with mTypedef: of a function type
	mUnsure                      // of a type that only the type of an expression tells: mFunc may be missing
	mLinked                      // declared in a block, but the same as the file-scope name
)

// scopeTable are the file-scope names of one name space.
type scopeTable struct {
	means []meaning // by name
	first []int32   // by name: the item that declares it first
	// Declarations by name: refs[start[name]:start[name+1]].
	start []int32
	refs  []DeclRef
}

func newScopeTable(names int) scopeTable {
	t := scopeTable{means: make([]meaning, names), first: make([]int32, names)}
	for i := range t.first {
		t.first[i] = math.MaxInt32
	}
	return t
}

func (t *scopeTable) all(name ctext.Name) []DeclRef {
	if int(name)+1 >= len(t.start) {
		return nil
	}
	from, to := t.start[name], t.start[name+1]
	return t.refs[from:to:to]
}

// at is the meaning of a name for an item: that of a declaration before it or in it.
func (t *scopeTable) at(name ctext.Name, item int) meaning {
	if int(t.first[name]) > item {
		return 0
	}
	return t.means[name]
}

// index fills in the declarations by name.
func (t *scopeTable) index(items []Item, space Namespace) {
	t.start = make([]int32, len(t.means)+1)
	each := func(visit func(name ctext.Name, r DeclRef)) {
		for i := range items {
			for j := range items[i].Decls {
				if d := &items[i].Decls[j]; d.Space == space {
					visit(d.Name, DeclRef{i, j})
				}
			}
		}
	}
	each(func(name ctext.Name, _ DeclRef) { t.start[name+1]++ })
	for i := 1; i < len(t.start); i++ {
		t.start[i] += t.start[i-1]
	}
	t.refs = make([]DeclRef, t.start[len(t.start)-1])
	next := append([]int32(nil), t.start...)
	each(func(name ctext.Name, r DeclRef) {
		t.refs[next[name]] = r
		next[name]++
	})
}

// localKey is a name in a name space.
type localKey struct {
	name  ctext.Name
	space Namespace
}

// binding is a local name, and what it hides in the blocks around.
type binding struct {
	key         localKey
	means, hide meaning
}

// scopes are the prototype and block scopes that are open.
type scopes struct {
	now   map[localKey]meaning
	stack []binding
	open  []int // lengths of stack where scopes began
}

func (s *scopes) push() { s.open = append(s.open, len(s.stack)) }

// pop closes a scope; what it bound is good until the next bind.
func (s *scopes) pop() []binding {
	n := s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	closed := s.stack[n:]
	for i := len(closed) - 1; i >= 0; i-- {
		if b := closed[i]; b.hide == 0 {
			delete(s.now, b.key)
		} else {
			s.now[b.key] = b.hide
		}
	}
	s.stack = s.stack[:n]
	return closed
}

func (s *scopes) bind(key localKey, means meaning) {
	if s.now == nil {
		s.now = map[localKey]meaning{}
	}
	s.stack = append(s.stack, binding{key, means, s.now[key]})
	s.now[key] = means
}

// atFile reports whether no prototype or block is open.
func (s *scopes) atFile() bool { return len(s.open) == 0 }
