// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"bytes"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/extract"
	"kmend/internal/kbuild"
	"kmend/internal/object"
	"kmend/internal/plan"
)

// whole is the unit as compiled, as far as extraction asks for it.
type whole struct {
	unit    *delta.Unit
	clones  *compiler.Clones
	shown   *extract.Object
	inlined map[string]map[string]bool // by function: whose bodies GCC put into it
}

// evidence reads what the object of a unit shows of its symbols. find says
// whether the running kernel has one under its own name.
func evidence(r *kbuild.Result, b *plan.Build, u *plan.BuiltUnit, before *delta.Unit) (*whole, error) {
	f, err := object.Read(r.Object)
	if err != nil {
		return nil, fmt.Errorf("read the object of %s: %w", u.Source, err)
	}
	d, err := delta.NewUnit(f)
	if err != nil {
		return nil, fmt.Errorf("read the object of %s: %w", u.Source, err)
	}
	w := &whole{unit: d, inlined: map[string]map[string]bool{}}
	if w.clones, err = compiler.ParseClones(r.Clones); err != nil {
		return nil, fmt.Errorf("read GCC's account of %s: %w", u.Source, err)
	}
	o := &extract.Object{Functions: map[string]bool{}, Variables: map[string]bool{}, New: map[string]bool{}, Refs: map[string]map[string]bool{}, Elements: map[string]int64{}}
	for _, it := range d.Items {
		for _, s := range it.Symbols {
			w.symbol(o, it, s.Name, b, u, before)
		}
		w.references(o, it)
	}
	w.shown = o
	return w, arrays(o, r.Types)
}

// symbol notes one name of an item.
func (w *whole) symbol(o *extract.Object, it *delta.Item, name string, b *plan.Build, u *plan.BuiltUnit, before *delta.Unit) {
	if _, numbered := delta.Stem(name); numbered || it.Parent != nil {
		return
	}
	var into map[string]bool
	switch it.Kind {
	case delta.Func, delta.InitCode, delta.ExitCode:
		into = o.Functions
	case delta.State, delta.Rodata, delta.PerCPU, delta.Const:
		into = o.Variables
	default:
		return
	}
	if before != nil && before.Item(name) == nil {
		o.New[name] = it.Kind == delta.State || it.Kind == delta.Rodata || it.Kind == delta.Const
		return
	}
	if _, err := b.Find(u.Source, name); err == nil {
		into[name] = true
	}
}

// references notes what the code or data of an item refers to, under the name
// of the function in the source.
func (w *whole) references(o *extract.Object, it *delta.Item) {
	owner := it
	if it.Parent != nil {
		owner = it.Parent
	}
	names := []string{owner.Name}
	for _, s := range owner.Symbols {
		names = append(names, s.Name)
	}
	add := func(t *delta.Target) {
		var to []string
		switch {
		case t.Extern != "":
			to = append(to, t.Extern)
		case t.Item != nil && t.Item != owner:
			to = append(to, t.Item.Name)
			for _, s := range t.Item.Symbols {
				to = append(to, s.Name)
			}
		}
		for _, n := range names {
			n = delta.Source(n)
			if o.Refs[n] == nil {
				o.Refs[n] = map[string]bool{}
			}
			for _, s := range to {
				o.Refs[n][s] = true
			}
		}
	}
	for i := range it.Refs {
		add(&it.Refs[i].Target)
	}
	for i := range it.EntryRefs {
		for j := range it.EntryRefs[i] {
			add(&it.EntryRefs[i][j].Target)
		}
	}
}

// arrays reads how many elements the unit's arrays have out of its .BTF.
func arrays(o *extract.Object, types []byte) error {
	if len(types) == 0 {
		return nil
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(types))
	if err != nil {
		return fmt.Errorf("read the types of the unit: %w", err)
	}
	for t, err := range spec.All() {
		if err != nil {
			return fmt.Errorf("read the types of the unit: %w", err)
		}
		v, ok := t.(*btf.Var)
		if !ok {
			continue
		}
		if a, ok := btf.UnderlyingType(v.Type).(*btf.Array); ok {
			o.Elements[v.Name] = int64(a.Nelems)
		}
	}
	return nil
}
