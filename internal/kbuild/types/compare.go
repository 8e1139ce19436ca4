// SPDX-License-Identifier: Apache-2.0

package types

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxBTF bounds what Compare reads; vmlinux's BTF has about 6 MB.
const maxBTF = 64 << 20

// Change is one type, function or variable that is not the same any more.
type Change struct {
	Kind   string // "struct", "union", "enum", "function", "variable"
	Name   string
	Before string // layout or prototype in words; several variants joined by "\n"
	After  string
	Detail string // the first line that differs, for a message
}

// Changes is the difference between the types of two compiles. GCC only
// describes types that a unit uses, so a type can come or go without having
// changed.
type Changes struct {
	Types     []Change // layout changed: code that runs disagrees with new code about it
	Functions []Change // parameters or result changed of a function that both define or declare, static or not
	Variables []Change // type of a variable changed
	Added     []string // "struct x": used only after; or "enum x: NAME = 1": an enumerator more
	Removed   []string // used only before
}

// Empty says that nothing changed; Added and Removed do not count.
func (c *Changes) Empty() bool {
	return len(c.Types) == 0 && len(c.Functions) == 0 && len(c.Variables) == 0
}

// set is what one side has: variants of description by kind and name. Several
// scopes can use a name for different things.
type set map[string]map[string]bool

func (s set) add(key, desc string) {
	if s[key] == nil {
		s[key] = map[string]bool{}
	}
	s[key][desc] = true
}

// Compare finds the types whose layout differs between two .BTF sections. Types
// are named structures, unions and enums, and anonymous ones by their typedef.
func Compare(before, after []byte) (*Changes, error) {
	b, err := read(before)
	if err != nil {
		return nil, fmt.Errorf("types before: %w", err)
	}
	a, err := read(after)
	if err != nil {
		return nil, fmt.Errorf("types after: %w", err)
	}
	c := &Changes{}
	keys := map[string]bool{}
	for k := range b {
		keys[k] = true
	}
	for k := range a {
		keys[k] = true
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		c.compare(key, b[key], a[key])
	}
	return c, nil
}

func (c *Changes) compare(key string, b, a map[string]bool) {
	kind, name, _ := strings.Cut(key, " ")
	gone, come := missing(b, a), missing(a, b)
	isType := kind != "function" && kind != "variable"
	switch {
	case len(gone) == 0 && len(come) == 0:
		return
	case len(gone) == 0:
		if isType {
			c.Added = append(c.Added, key)
		}
		return
	case len(come) == 0:
		if isType {
			c.Removed = append(c.Removed, key)
		}
		return
	}
	if kind == "enum" && len(gone) == 1 && len(come) == 1 {
		if more, ok := onlyMore(gone[0], come[0]); ok {
			for _, m := range more {
				c.Added = append(c.Added, key+": "+m)
			}
			return
		}
	}
	ch := Change{Kind: kind, Name: name, Before: strings.Join(gone, "\n"), After: strings.Join(come, "\n")}
	ch.Detail = firstDifference(ch.Before, ch.After)
	switch kind {
	case "function":
		c.Functions = append(c.Functions, ch)
	case "variable":
		c.Variables = append(c.Variables, ch)
	default:
		c.Types = append(c.Types, ch)
	}
}

// missing lists what x has and y has not.
func missing(x, y map[string]bool) []string {
	var out []string
	for d := range x {
		if !y[d] {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// onlyMore says whether an enum only got enumerators, and which.
func onlyMore(before, after string) ([]string, bool) {
	old := map[string]bool{}
	for l := range strings.SplitSeq(before, "\n") {
		old[l] = true
	}
	var more []string
	for l := range strings.SplitSeq(after, "\n") {
		if !old[l] {
			more = append(more, strings.TrimSpace(l))
		}
		delete(old, l)
	}
	return more, len(old) == 0
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := 0; i < len(x) || i < len(y); i++ {
		l, r := "(nothing)", "(nothing)"
		if i < len(x) {
			l = strings.TrimSpace(x[i])
		}
		if i < len(y) {
			r = strings.TrimSpace(y[i])
		}
		if l != r {
			return l + " → " + r
		}
	}
	return ""
}

// read collects the descriptions of one .BTF section.
func read(data []byte) (s set, err error) {
	defer func() { // the bytes come from a file
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("read BTF: damaged: %v", p)
		}
	}()
	if len(data) == 0 {
		return nil, errors.New("read BTF: none given")
	}
	if len(data) > maxBTF {
		return nil, fmt.Errorf("read BTF: %d bytes are more than the limit of %d", len(data), maxBTF)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read BTF: %w", err)
	}
	d := &describer{memo: map[btf.Type]string{}}
	s = set{}
	for t, err := range spec.All() {
		if err != nil {
			return nil, fmt.Errorf("read BTF: %w", err)
		}
		if err := s.take(d, t); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// take adds one top-level entry of BTF.
func (s set) take(d *describer, t btf.Type) error {
	var key, desc string
	var err error
	switch t := t.(type) {
	case *btf.Struct, *btf.Union, *btf.Enum:
		if t.TypeName() == "" {
			return nil // by its typedef or its user
		}
		key = kind(t) + " " + t.TypeName()
		desc, err = d.layout(t, 0)
	case *btf.Typedef:
		a := anonymous(t)
		if a == nil {
			return nil
		}
		key = kind(a) + " " + t.Name + " (typedef)"
		desc, err = d.layout(a, 0)
	case *btf.Func:
		p, ok := t.Type.(*btf.FuncProto)
		if t.Name == "" || !ok {
			return nil // GCC 12 writes one nameless function for each prototype
		}
		key = "function " + t.Name
		desc, err = d.proto(p, 0)
	case *btf.Var:
		if unstable(t.Name) {
			return nil
		}
		key = "variable " + t.Name
		desc, err = d.use(t.Type, 0)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	s.add(key, desc)
	return nil
}

// unstable says whether a variable's name has a counter in it (__UNIQUE_ID of
// include/linux/compiler-gcc.h), so that it names another one after a change.
func unstable(name string) bool {
	return name == "" || strings.Contains(name, "__UNIQUE_ID") || strings.HasPrefix(name, "__initcall_")
}
