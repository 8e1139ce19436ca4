// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"kmend/internal/hostiletest"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// TestHostileModules checks mutants by the thousand, or as many as
// $KMEND_TEST_MUTANTS says. They are made to get past the first checks: numbers
// are changed in headers, symbols, relocations and the livepatch structures.
func TestHostileModules(t *testing.T) {
	k := kerneltest.Open(t)
	count := hostiletest.Share(t, 3000, 80)
	cmdline, err := os.ReadFile(filepath.Join(vmtest.BuildModules(t, k, "../vm/testdata/modules"), "lp_cmdline.ko"))
	if err != nil {
		t.Fatal(err)
	}
	seeds := [][]byte{tiny(t), handMade(t, k, "lp_lists"), converted(t, handMade(t, k, "lp_hand"), handRefs), stripped(t, cmdline), append(handMade(t, k, "lp_all"), unsignedTail(100, 2)...), good(t, k)}
	// The modules of the kernel that a mutant names are read: 64 at most.
	bounds := hostiletest.Bounds{Constant: 400 << 20, PerByte: 100, Memory: 3 << 30}
	got := hostiletest.Run(t, count, bounds, func(int) func(*rand.Rand, int) hostiletest.Case {
		v, err := verify.New(k)
		if err != nil {
			t.Fatal(err)
		}
		return func(rnd *rand.Rand, i int) hostiletest.Case {
			data := mutated(rnd, seeds[i%len(seeds)])
			return hostiletest.Case{Input: data, Try: func() (string, error) {
				r, err := v.Check(data)
				switch {
				case err != nil && r != nil:
					return "refused", fmt.Errorf("a report and the error %w", err)
				case err != nil:
					return "refused", nil
				}
				verify.Together([]*verify.Report{r, r})
				if r.OK() {
					return "read without an objection", nil
				}
				return "read with an objection", nil
			}}
		}
	})
	if objected := got["read with an objection"]; got["refused"] > count*19/20 || objected < count/50 {
		t.Errorf("of %d: %v: the mutants are not near enough to modules, or nothing is checked", count, got)
	}
}

// mutated changes some numbers of a module.
func mutated(rnd *rand.Rand, seed []byte) []byte {
	d := bytes.Clone(seed)
	shoff := binary.LittleEndian.Uint64(d[40:])
	shnum := int(binary.LittleEndian.Uint16(d[60:]))
	interesting := []uint64{0, 1, 2, 7, 8, 24, 64, 255, 256, 0xff20, 0xffff, 1 << 20, 1 << 31, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, uint64(len(d))}
	for range 1 + rnd.IntN(6) {
		h := d[shoff+64*uint64(rnd.IntN(shnum)):]
		off, size := binary.LittleEndian.Uint64(h[24:]), binary.LittleEndian.Uint64(h[32:])
		at, width := 0, 1<<rnd.IntN(4)
		switch inside := size > 8 && off < uint64(len(d)) && size <= uint64(len(d))-off; rnd.IntN(10) {
		case 0:
			at = rnd.IntN(64) // the ELF header
		case 1:
			at = int(shoff) + 64*rnd.IntN(shnum) + 4*rnd.IntN(16) // a section header
		default: // inside a section, mostly at the start of a field
			if !inside {
				continue
			}
			if at = int(off) + rnd.IntN(int(size)); rnd.IntN(3) > 0 {
				at -= (at - int(off)) % 4
			}
		}
		if at+8 > len(d) {
			continue
		}
		v := interesting[rnd.IntN(len(interesting))]
		switch rnd.IntN(4) {
		case 0:
			d[at] ^= 1 << rnd.IntN(8)
			continue
		case 1:
			v = rnd.Uint64()
		case 2: // the same field of elsewhere
			v = binary.LittleEndian.Uint64(d[rnd.IntN(len(d)-8):])
		}
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], v)
		copy(d[at:], b[:width])
	}
	if rnd.IntN(50) == 0 {
		d = d[:rnd.IntN(len(d))]
	}
	return d
}

// TestListsThatReferToEachOther: a file of some hundred kB whose lists, followed
// one by one, would have tens of millions of functions.
func TestListsThatReferToEachOther(t *testing.T) {
	k := kerneltest.Open(t)
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{400, 5000} {
		f, err := object.Read(good(t, k))
		if err != nil {
			t.Fatal(err)
		}
		m := &mod{t: t, k: k, f: f, facts: factsOf(t, k)}
		m.manyObjects(n)
		funcs := m.add(".data.funcs", elf.SHT_PROGBITS, elf.SHF_ALLOC|elf.SHF_WRITE, (n+1)*int(m.facts.Func.Size))
		list := &object.Symbol{Name: "list", Section: funcs, Bind: 1}
		f.Symbols = append(f.Symbols, list)
		for i := range n {
			at := uint64(i) * m.facts.Func.Size
			funcs.Relocs = append(funcs.Relocs,
				object.Reloc{Offset: at + m.facts.Func.OldName, Type: uint32(elf.R_X86_64_64), Sym: anchor(f, ".rodata.str1.1")},
				object.Reloc{Offset: at + m.facts.Func.NewFunc, Type: uint32(elf.R_X86_64_64), Sym: m.symbol("cmdline_proc_show")})
		}
		many := f.Section(".data.many")
		for i := range many.Relocs {
			many.Relocs[i].Sym = list
		}
		for _, s := range f.Sections {
			if s.Data != nil {
				s.Size = uint64(len(s.Data))
			}
		}
		data, err := f.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := v.Check(data)
		runtime.ReadMemStats(&after)
		if err != nil || !strings.Contains(codes(r.Objections), verify.CodeTooMany) || r.Module.Objects != nil {
			t.Errorf("%d: %v, objections %.500v", n, err, r)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 200<<20 {
			t.Errorf("%d objects of %d functions: %d MB were allocated for a file of %d kB", n, n, grown>>20, len(data)>>10)
		}
	}
}

// TestManyNames: names that the kernel does not have are not each looked for
// among all that it has.
func TestManyNames(t *testing.T) {
	k := kerneltest.Open(t)
	names := make([]string, 50000)
	for i := range names {
		names[i] = "no_module_" + strconv.Itoa(i)
	}
	x := mutant{change: func(m *mod) { m.tag("depends", "depends="+strings.Join(names, ",")) }}
	r := check(t, k, x.apply(t, k, good(t, k), factsOf(t, k)))
	if !r.OK() || len(r.Warnings) != 500 {
		t.Errorf("%d warnings, objections %v", len(r.Warnings), r.Objections)
	}
}

// TestOverlappingSectionsAreRefused: many relocation sections over the same
// bytes would be many times the file.
func TestOverlappingSectionsAreRefused(t *testing.T) {
	data := tiny(t)
	shoff, shnum := binary.LittleEndian.Uint64(data[40:]), uint64(binary.LittleEndian.Uint16(data[60:]))
	bad := bytes.Clone(data[:shoff])
	headers := data[shoff : shoff+64*shnum]
	var rela []byte
	for i := range shnum {
		h := bytes.Clone(headers[64*i : 64*i+64])
		if elf.SectionType(binary.LittleEndian.Uint32(h[4:])) == elf.SHT_RELA {
			rela = h
		}
	}
	if rela == nil {
		t.Fatal("no relocation section")
	}
	const more = 2000
	body := binary.LittleEndian.Uint64(rela[24:])
	relocs := data[body : body+24]
	big := bytes.Repeat(relocs, 1000) // of which each of the headers has all
	for len(bad)%8 != 0 {
		bad = append(bad, 0)
	}
	binary.LittleEndian.PutUint64(rela[24:], uint64(len(bad)))
	binary.LittleEndian.PutUint64(rela[32:], uint64(len(big)))
	bad = append(bad, big...)
	binary.LittleEndian.PutUint64(bad[40:], uint64(len(bad)))
	binary.LittleEndian.PutUint16(bad[60:], uint16(shnum+more))
	bad = append(append(bad, headers...), bytes.Repeat(rela, more)...)
	if m, err := verify.Inspect(bad, nil); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("%v, %v", m, err)
	}
}
