// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
)

// code is what an object says of one function, in a form that can be compared:
// equal texts mean equal code with equal references, at an address of its own
// or shared with the same functions.
type code struct {
	text string
	name string // the symbol: the function's own name, or that of a clone that stands in its place
}

// codeOf reads the code of a function, cold part included. Objects are compiled
// with -ffunction-sections and -fdata-sections, so that what else is in the
// unit moves nothing.
func codeOf(obj *object.File, name string) (code, error) {
	sym := find(obj, name)
	if sym == nil {
		return code{}, fmt.Errorf("find %s in the object: it has no code of that name; flags that leave no machine code, such as -flto, cannot be probed", name)
	}
	text, err := print(obj, sym)
	if err != nil {
		return code{}, err
	}
	if cold := exact(obj, sym.Name+".cold"); cold != nil {
		part, err := print(obj, cold)
		if err != nil {
			return code{}, err
		}
		text += "cold part\n" + part
	}
	return code{text: text, name: sym.Name}, nil
}

// find returns the function of that name, or the clone that stands for it.
func find(obj *object.File, name string) *object.Symbol {
	if s := exact(obj, name); s != nil {
		return s
	}
	for _, s := range obj.Symbols {
		if s.IsFunc() && s.Section != nil && strings.HasPrefix(s.Name, name+".") && !strings.HasSuffix(s.Name, ".cold") {
			return s
		}
	}
	return nil
}

func exact(obj *object.File, name string) *object.Symbol {
	for _, s := range obj.Symbols {
		if s.IsFunc() && s.Section != nil && s.Name == name {
			return s
		}
	}
	return nil
}

// print writes bytes, references and fellows at the same address.
func print(obj *object.File, sym *object.Symbol) (string, error) {
	sec, end := sym.Section, sym.Value+sym.Size
	if sym.Size == 0 || end < sym.Value || end > uint64(len(sec.Data)) {
		return "", fmt.Errorf("read the code of %s: its symbol has %d bytes at %#x of %d", sym.Name, sym.Size, sym.Value, len(sec.Data))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "% x\n", sec.Data[sym.Value:end])
	for _, r := range sec.Relocs {
		if r.Offset < sym.Value || r.Offset >= end {
			continue
		}
		fmt.Fprintf(&b, "%#x %s %s%+d\n", r.Offset-sym.Value, object.RelocName(r.Type), target(r.Sym), r.Addend)
	}
	var fellows []string
	for _, s := range obj.Symbols {
		if s != sym && s.IsFunc() && s.Section == sec && s.Value == sym.Value {
			fellows = append(fellows, s.Name)
		}
	}
	sort.Strings(fellows)
	if fellows != nil {
		fmt.Fprintf(&b, "also %s\n", strings.Join(fellows, " "))
	}
	return b.String(), nil
}

// target names what a relocation leads to; a section stands for what is in it.
func target(s *object.Symbol) string {
	switch {
	case s == nil:
		return "nothing"
	case s.IsSection() && s.Section != nil:
		return s.Section.Name
	}
	return s.Name
}
