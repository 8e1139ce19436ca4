// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/impact"
	"kmend/internal/object"
)

// unitCounts is one translation unit as compiled at one level.
type unitCounts struct {
	text      int64           // bytes of code of all functions, cold parts included
	functions int             // function bodies in the object; aliases and cold parts are none of their own
	clones    int             // those that are clones: .isra, .constprop, .part
	own       map[string]bool // functions of the unit's C files, as far as this compile tells
	header    map[string]bool // functions of headers, likewise
	bodies    map[string]bool // of own: those with a body, be it that of a clone
	impacted  map[string]int  // of own: how many other functions of the object depend on it; absent: 0
}

// countUnit reads an object and GCC's account of how it was made (-fdump-ipa-clones).
func countUnit(obj, dump []byte) (*unitCounts, error) {
	o, err := object.Read(obj)
	if err != nil {
		return nil, err
	}
	u, err := impact.NewUnit(dump, o)
	if err != nil {
		return nil, err
	}
	c := &unitCounts{own: map[string]bool{}, header: map[string]bool{}, bodies: map[string]bool{}, impacted: map[string]int{}}
	c.countCode(o)
	for _, f := range u.Funcs {
		if isCName(f.Name) {
			c.own[f.Name] = true
		}
	}
	if err := c.files(dump); err != nil {
		return nil, fmt.Errorf("read .ipa-clones dump: %w", err)
	}
	for name := range c.own {
		list, err := u.Impacted(name)
		var unknown *impact.UnknownError
		if err != nil && !errors.As(err, &unknown) {
			return nil, fmt.Errorf("find who depends on %s: %w", name, err)
		}
		others := map[string]bool{}
		for _, i := range list {
			others[functionOf(i.Symbol)] = true
		}
		delete(others, name)
		if len(others) > 0 {
			c.impacted[name] = len(others)
		}
		if len(u.Symbols(name)) > 0 {
			c.bodies[name] = true
		}
	}
	return c, nil
}

// countCode adds up the functions of an object, each body once.
func (c *unitCounts) countCode(o *object.File) {
	type place struct {
		section *object.Section
		value   uint64
	}
	size, clone := map[place]uint64{}, map[place]bool{}
	cold := map[place]bool{}
	for _, s := range o.Symbols {
		if !s.IsFunc() || s.Section == nil {
			continue
		}
		p := place{s.Section, s.Value}
		size[p] = max(size[p], s.Size)
		cold[p] = strings.HasSuffix(s.Name, ".cold")
		clone[p] = clone[p] || !cold[p] && !isCName(s.Name)
	}
	for p, n := range size {
		c.text += int64(n)
		if !cold[p] {
			c.functions++
			if clone[p] {
				c.clones++
			}
		}
	}
}

// files tells the functions of headers from the unit's own by the file that the
// dump names. A dump without a line about a function does not say where it is
// from: then it is in own, which the dump of another level may correct.
func (c *unitCounts) files(dump []byte) error {
	s := compiler.ScanDump(dump)
	for s.Next() {
		for _, n := range []*compiler.DumpNode{&s.From, &s.To} {
			name := string(n.Name)
			switch {
			case name == "" || !isCName(name): // a removal has no To
			case bytes.HasSuffix(n.File, []byte(".c")):
				c.own[name] = true
			default:
				c.header[name] = true
			}
		}
	}
	return s.Err()
}

// isCName says whether an assembler name is that of a function as C has it;
// GCC puts a dot into those that it makes up (gcc/cgraphclones.cc).
func isCName(name string) bool { return !strings.Contains(name, ".") }

// functionOf is the function that a symbol's body was made from.
func functionOf(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".")
	return name
}
