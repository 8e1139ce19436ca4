// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"slices"
	"sort"
	"sync"
)

// Symbol is one entry of the kernel's own symbol table (kallsyms).
type Symbol struct {
	Name string
	// Addr is the link-time virtual address (without KASLR). A per-CPU symbol
	// has its offset in the per-CPU area, from 0 on, as the kernel has it.
	Addr uint64
	// Type is nm's letter: upper case for global. 'A' marks per-CPU (absolute).
	Type byte
	// Index is the place in kallsyms order, from 0.
	Index int
}

// SymbolTable is all of kallsyms, in its order. It is read-only and safe for
// concurrent use.
type SymbolTable struct {
	syms   []Symbol
	sorted bool // addresses never fall, as scripts/kallsyms.c sorts them

	once  sync.Once
	first map[string]int32 // name to its first entry
	next  []int32          // entry to the next of the same name, -1 at the end

	addrOnce sync.Once
	byAddr   []int32 // indices by (address, index)

	ends []addrRange // address ranges of the image's sections, for Size
}

type addrRange struct{ start, end uint64 }

func newSymbolTable(syms []Symbol) *SymbolTable {
	t := &SymbolTable{syms: syms, sorted: true}
	for i := 1; i < len(syms); i++ {
		if syms[i].Addr < syms[i-1].Addr {
			t.sorted = false
			break
		}
	}
	return t
}

// All returns every symbol in kallsyms order. The slice must not be changed.
func (t *SymbolTable) All() []Symbol { return t.syms }

// Len is the number of entries.
func (t *SymbolTable) Len() int { return len(t.syms) }

func (t *SymbolTable) index() {
	t.once.Do(func() {
		t.first = make(map[string]int32, len(t.syms))
		t.next = make([]int32, len(t.syms))
		for i := len(t.syms) - 1; i >= 0; i-- {
			n, ok := t.first[t.syms[i].Name]
			if !ok {
				n = -1
			}
			t.next[i] = n
			t.first[t.syms[i].Name] = int32(i)
		}
	})
}

// Lookup returns all entries of that name, whatever their type, in kallsyms
// order; none if there is none.
func (t *SymbolTable) Lookup(name string) []Symbol {
	t.index()
	i, ok := t.first[name]
	if !ok {
		return nil
	}
	var out []Symbol
	for ; i >= 0; i = t.next[i] {
		out = append(out, t.syms[i])
	}
	return out
}

// Sympos is the position a livepatch has to give to reach s in vmlinux: 0 if
// the name is unique, else counted from 1 over all entries of that name in
// table order, whatever their type (klp_find_callback of
// kernel/livepatch/core.c). s must come from this table; -1 if it does not.
func (t *SymbolTable) Sympos(s Symbol) int {
	t.index()
	i, ok := t.first[s.Name]
	if !ok {
		return -1
	}
	if t.next[i] < 0 {
		if t.syms[i] != s {
			return -1
		}
		return 0
	}
	for pos := 1; i >= 0; i, pos = t.next[i], pos+1 {
		if t.syms[i] == s {
			return pos
		}
	}
	return -1
}

func (t *SymbolTable) addrIndex() {
	t.addrOnce.Do(func() {
		t.byAddr = make([]int32, len(t.syms))
		for i := range t.byAddr {
			t.byAddr[i] = int32(i)
		}
		if !t.sorted {
			slices.SortStableFunc(t.byAddr, func(a, b int32) int {
				x, y := t.syms[a].Addr, t.syms[b].Addr
				switch {
				case x < y:
					return -1
				case x > y:
					return 1
				}
				return 0
			})
		}
	})
}

// lower is the first place in byAddr whose address is not below addr.
func (t *SymbolTable) lower(addr uint64) int {
	t.addrIndex()
	return sort.Search(len(t.byAddr), func(i int) bool { return t.syms[t.byAddr[i]].Addr >= addr })
}

// At returns all symbols whose address is exactly addr, in kallsyms order.
func (t *SymbolTable) At(addr uint64) []Symbol {
	var out []Symbol
	for i := t.lower(addr); i < len(t.byAddr) && t.syms[t.byAddr[i]].Addr == addr; i++ {
		out = append(out, t.syms[t.byAddr[i]])
	}
	return out
}

// Containing returns the symbols at the highest address that is not above
// addr, if that address and addr lie in the same section of the image.
func (t *SymbolTable) Containing(addr uint64) []Symbol {
	i := t.lower(addr + 1)
	if i == 0 {
		return nil
	}
	s := t.syms[t.byAddr[i-1]]
	if addr-s.Addr >= t.Size(s) {
		return nil
	}
	return t.At(s.Addr)
}

// Size is the distance in bytes from s to the next symbol at another address,
// or to the end of the image's section if that comes first. It is an upper
// bound: padding after a function is in it. 0 if nothing follows.
func (t *SymbolTable) Size(s Symbol) uint64 {
	var size uint64
	if i := t.lower(s.Addr + 1); i < len(t.byAddr) {
		size = t.syms[t.byAddr[i]].Addr - s.Addr
	}
	for _, r := range t.ends {
		if s.Addr >= r.start && s.Addr < r.end && (size == 0 || r.end-s.Addr < size) {
			size = r.end - s.Addr
		}
	}
	return size
}
