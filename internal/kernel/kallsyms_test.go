// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// layout is one order of the tables, after write_src of scripts/kallsyms.c.
type layout struct {
	name       string
	offsetsEnd bool // 6.4 and later
	seqs       bool
}

var layouts = []layout{
	{"5.10", false, false},
	{"6.1.176, 6.2", false, true},
	{"6.4", true, true},
}

// testSymbols are names of many shapes, in table order: per-CPU first, then by
// address; some names occur more than once, one needs a two-byte length.
func testSymbols() []Symbol {
	var s []Symbol
	add := func(name string, addr uint64, kind byte) {
		s = append(s, Symbol{Name: name, Addr: addr, Type: kind, Index: len(s)})
	}
	add("fixed_percpu_data", 0, 'A')
	add("__per_cpu_start", 0, 'A')
	add("cpu_number", 0x1a008, 'A')
	const base = 0xffffffff81000000
	add("_stext", base, 'T')
	add("_text", base, 'T')
	for i := 0; i < 1500; i++ {
		add(fmt.Sprintf("func_%04d.constprop.0", i), base+0x100+uint64(i)*16, 't')
	}
	add("twice", base+0x10000, 't')
	add("twice", base+0x20000, 'T')
	add("twice", base+0x30000, 'd')
	add(strings.Repeat("Long", 60), base+0x40000, 'b')
	add("_end", 0xffffffff84600000, 'B')
	return s
}

// buildKallsyms writes the tables as the kernel's build does, with a token
// table of all bytes that are used and some pairs.
func buildKallsyms(l layout, syms []Symbol, base uint64) []byte {
	le := binary.LittleEndian
	tokens, code := tokenTable(syms)
	var b []byte
	align := func() {
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
	}
	offsets := func() {
		align()
		for _, s := range syms {
			off := int32(s.Addr)
			if s.Addr>>63 == 1 {
				off = int32(int64(base) - int64(s.Addr) - 1)
			}
			b = le.AppendUint32(b, uint32(off))
		}
		align()
		b = le.AppendUint64(b, base)
	}
	seqs := func() {
		if !l.seqs {
			return
		}
		order := make([]int, len(syms))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(x, y int) int {
			if c := strings.Compare(syms[x].Name, syms[y].Name); c != 0 {
				return c
			}
			return x - y
		})
		align()
		for _, i := range order {
			b = append(b, byte(i>>16), byte(i>>8), byte(i))
		}
	}
	b = append(b, []byte("something else in .rodata, not a table....")...)
	if !l.offsetsEnd {
		offsets()
	}
	align()
	b = le.AppendUint32(b, uint32(len(syms)))
	align()
	start, markers := len(b), []uint32{}
	for i, s := range syms {
		if i%256 == 0 {
			markers = append(markers, uint32(len(b)-start))
		}
		c := code(string(s.Type) + s.Name)
		if len(c) > 0x7f {
			b = append(b, byte(len(c)&0x7f|0x80), byte(len(c)>>7))
		} else {
			b = append(b, byte(len(c)))
		}
		b = append(b, c...)
	}
	align()
	for _, m := range markers {
		b = le.AppendUint32(b, m)
	}
	if !l.offsetsEnd {
		seqs()
	}
	align()
	var index []uint16
	table := len(b)
	for _, t := range tokens {
		index = append(index, uint16(len(b)-table))
		b = append(append(b, t...), 0)
	}
	align()
	for _, v := range index {
		b = le.AppendUint16(b, v)
	}
	if l.offsetsEnd {
		offsets()
		seqs()
	}
	align()
	return append(b, make([]byte, 1024)...)
}

// tokenTable makes 256 tokens: single characters in their own place, two
// longer ones where no character is used, the rest empty, as in a kernel with
// few symbols.
func tokenTable(syms []Symbol) (tokens [256]string, code func(string) []byte) {
	for _, s := range syms {
		for _, c := range []byte(string(s.Type) + s.Name) {
			tokens[c] = string(c)
		}
	}
	tokens[1], tokens[200] = "func_", "constprop"
	return tokens, func(s string) []byte {
		var out []byte
		for s != "" {
			switch {
			case strings.HasPrefix(s, "func_"):
				out, s = append(out, 1), s[5:]
			case strings.HasPrefix(s, "constprop"):
				out, s = append(out, 200), s[9:]
			default:
				out, s = append(out, s[0]), s[1:]
			}
		}
		return out
	}
}

const testBase = 0xffffffff81000000

func decodeBytes(b []byte) (*SymbolTable, error) {
	t, ok, err := findKallsyms(b)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("no table")
	}
	return t.decode()
}

func TestKallsymsLayouts(t *testing.T) {
	syms := testSymbols()
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			table, err := decodeBytes(buildKallsyms(l, syms, testBase))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(table.All(), syms) {
				for i, s := range table.All() {
					if s != syms[i] {
						t.Fatalf("symbol %d: %+v, want %+v", i, s, syms[i])
					}
				}
				t.Fatalf("%d symbols, want %d", table.Len(), len(syms))
			}
		})
	}
}

// TestKallsymsDamaged flips what a decoder might believe: nothing of it may be
// taken for a symbol table.
func TestKallsymsDamaged(t *testing.T) {
	syms := testSymbols()
	for _, l := range layouts {
		good := buildKallsyms(l, syms, testBase)
		tables, _, err := findKallsyms(good)
		if err != nil {
			t.Fatal(err)
		}
		at := func(sub []byte) int { return cap(good) - cap(sub) }
		damage := func(name string, pos int, v byte) {
			b := slices.Clone(good)
			if b[pos] == v {
				t.Fatalf("%s: nothing changed", name)
			}
			b[pos] = v
			got, err := decodeBytes(b)
			if err == nil {
				t.Errorf("%s: %s: decoded %d symbols without an error", l.name, name, got.Len())
			}
		}
		names := at(tables.names)
		damage("num_syms", names-8, good[names-8]+1)
		damage("length of the first name", names, 0)
		damage("length of a name", names, good[names]+1)
		damage("marker", align8(names+len(tables.names))+4, 0xff)
		damage("offset out of order", at(tables.offsets)+4*10+3, 0x80)
		if l.seqs {
			damage("seqs", at(tables.seqs)+5, 0xff)
			damage("type", names+1, '(') // no nm letter; '(' has no token
		}
		for _, n := range []int{0, 100, len(good) / 2, len(good) - 1600} {
			if _, err := decodeBytes(good[:n]); err == nil {
				t.Errorf("%s: decoded from the first %d of %d bytes", l.name, n, len(good))
			}
		}
	}
}

func TestSympos(t *testing.T) {
	table, err := decodeBytes(buildKallsyms(layouts[1], testSymbols(), testBase))
	if err != nil {
		t.Fatal(err)
	}
	var pos []int
	for _, s := range table.Lookup("twice") {
		pos = append(pos, table.Sympos(s))
	}
	if !slices.Equal(pos, []int{1, 2, 3}) {
		t.Errorf("positions of three symbols with one name: %v", pos)
	}
	one := table.Lookup("func_0007.constprop.0")
	if len(one) != 1 || table.Sympos(one[0]) != 0 {
		t.Errorf("a unique symbol: %v", one)
	}
	strange := one[0]
	strange.Addr++
	if got := table.Sympos(strange); got != -1 {
		t.Errorf("a symbol that is not in the table has position %d", got)
	}
	if got := table.Lookup("nosuch"); got != nil {
		t.Errorf("Lookup(nosuch) = %v", got)
	}
	if at := table.At(testBase); len(at) != 2 || at[0].Name != "_stext" || at[1].Name != "_text" {
		t.Errorf("At(base) = %v", at)
	}
	if got := table.Size(one[0]); got != 16 {
		t.Errorf("size of %s = %d", one[0].Name, got)
	}
	if c := table.Containing(one[0].Addr + 15); len(c) != 1 || c[0] != one[0] {
		t.Errorf("Containing = %v", c)
	}
}

func FuzzKallsyms(f *testing.F) {
	for _, l := range layouts {
		f.Add(buildKallsyms(l, testSymbols(), testBase))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := decodeBytes(b)
		if err != nil {
			return
		}
		for i, s := range table.All() {
			if s.Name == "" || len(s.Name) > maxSymName || s.Index != i || table.Sympos(s) < 0 {
				t.Fatalf("bad symbol %+v", s)
			}
		}
	})
}
