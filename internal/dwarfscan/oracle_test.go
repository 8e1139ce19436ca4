// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// told is what debug/dwarf and this package must agree on, of one unit.
type told struct {
	Name, CompDir              string
	Entries, Functions, Copies int
	Pairs                      map[string]int // "callee<-host file:line" → least depth
	steps                      map[string]bool
	symbols                    map[string]map[string]bool // host → symbols at the entries of its functions
}

// oracle reads a file with debug/dwarf.
type oracle struct {
	t     testing.TB
	data  *dwarf.Data
	names map[dwarf.Offset]origin
	funcs map[uint64][]string // function symbols by address; nil for ET_REL

	starts []*dwarf.Entry // of the units
	files  map[int][]*dwarf.LineFile
}

type origin struct{ name, place string }

// rename takes the name that an entry adds to those that it refers to.
func (n *origin) rename(e *dwarf.Entry) {
	const mipsLinkageName dwarf.Attr = 0x2007 // what DWARF 2 and 3 lack
	for _, a := range []dwarf.Attr{dwarf.AttrLinkageName, mipsLinkageName} {
		if s, ok := e.Val(a).(string); ok {
			n.name = s
			return
		}
	}
	if s, ok := e.Val(dwarf.AttrName).(string); ok && n.name == "" {
		n.name = s
	}
}

func newOracle(t testing.TB, r io.ReaderAt) *oracle {
	t.Helper()
	f, err := elf.NewFile(r)
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{t: t, names: map[dwarf.Offset]origin{}, files: map[int][]*dwarf.LineFile{}}
	if o.data, err = f.DWARF(); err != nil {
		t.Fatal(err)
	}
	for r := o.data.Reader(); ; r.SkipChildren() {
		e, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e == nil {
			break
		}
		o.starts = append(o.starts, e)
	}
	if f.Type != elf.ET_REL {
		o.funcs = map[uint64][]string{}
		symbols, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range symbols {
			if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
				o.funcs[s.Value] = append(o.funcs[s.Value], s.Name)
			}
		}
	}
	return o
}

// resolve names the function at off by recursion.
func (o *oracle) resolve(off dwarf.Offset) origin {
	if n, ok := o.names[off]; ok {
		return n
	}
	r := o.data.Reader()
	r.Seek(off)
	e, err := r.Next()
	if err != nil || e == nil || e.Tag != dwarf.TagSubprogram {
		o.t.Fatalf("oracle: entry at %#x: %v %v", off, e, err)
	}
	var n origin
	for _, a := range []dwarf.Attr{dwarf.AttrSpecification, dwarf.AttrAbstractOrigin} {
		if ref, ok := e.Val(a).(dwarf.Offset); ok {
			n = o.resolve(ref)
		}
	}
	n.rename(e)
	if i, ok := e.Val(dwarf.AttrDeclFile).(int64); ok {
		line, _ := e.Val(dwarf.AttrDeclLine).(int64)
		n.place = fmt.Sprintf("%s:%d", o.file(off, int(i)), line)
	}
	o.names[off] = n
	return n
}

// file is a path of the line table of the unit that holds off.
func (o *oracle) file(off dwarf.Offset, i int) string {
	n := sort.Search(len(o.starts), func(i int) bool { return o.starts[i].Offset > off }) - 1
	unit := o.starts[n]
	if o.files[n] == nil {
		lines, err := o.data.LineReader(unit)
		if err != nil {
			o.t.Fatal(err)
		}
		o.files[n] = lines.Files()
	}
	name := o.files[n][i].Name
	dir, _ := unit.Val(dwarf.AttrCompDir).(string)
	if !path.IsAbs(name) && !strings.HasPrefix(path.Clean(name), path.Clean(dir)+"/") { // debug/dwarf joins it with directory 0 only
		name = path.Join(dir, name)
	}
	return path.Clean(name)
}

// units walks everything.
func (o *oracle) units() []*told {
	type level struct {
		host  origin
		from  string
		depth int
	}
	var (
		out   []*told
		u     *told
		cur   level
		stack []level
	)
	for r := o.data.Reader(); ; {
		e, err := r.Next()
		if err != nil {
			o.t.Fatal(err)
		}
		if e == nil {
			return out
		}
		inner := cur
		switch e.Tag {
		case 0:
			cur, stack = stack[len(stack)-1], stack[:len(stack)-1]
			continue
		case dwarf.TagCompileUnit, dwarf.TagPartialUnit:
			u = &told{Pairs: map[string]int{}, steps: map[string]bool{}, symbols: map[string]map[string]bool{}}
			u.Name, _ = e.Val(dwarf.AttrName).(string)
			u.CompDir, _ = e.Val(dwarf.AttrCompDir).(string)
			out = append(out, u)
			cur, stack = level{}, nil
			inner = cur
		case dwarf.TagSubprogram:
			u.Functions++
			inner = level{host: o.resolve(e.Offset)}
			inner.from = inner.host.name
			o.entry(u, inner.host.name, e)
		case dwarf.TagInlinedSubroutine:
			u.Copies++
			ref, _ := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
			callee := o.resolve(ref)
			inner.depth++
			key := callee.name + "<-" + cur.host.name + " " + callee.place
			if d, ok := u.Pairs[key]; !ok || inner.depth < d {
				u.Pairs[key] = inner.depth
			}
			u.steps[callee.name+"<-"+cur.from+"<-"+cur.host.name] = true
			inner.from = callee.name
		}
		u.Entries++
		if e.Children {
			stack = append(stack, cur)
			cur = inner
		}
	}
}

// entry notes the symbols at the entry of a function.
func (o *oracle) entry(u *told, host string, e *dwarf.Entry) {
	ranges, err := o.data.Ranges(e)
	if err != nil {
		o.t.Fatal(err)
	}
	if len(ranges) == 0 || o.funcs == nil {
		return
	}
	if u.symbols[host] == nil {
		u.symbols[host] = map[string]bool{}
	}
	names := o.funcs[ranges[0][0]]
	if len(names) == 0 {
		u.symbols[host][""] = true
	}
	for _, n := range names {
		u.symbols[host][n] = true
	}
}

// ours is the same, as this package has it.
func ours(units []*Unit) []*told {
	var out []*told
	for _, u := range units {
		n := &told{Name: u.Name, CompDir: u.CompDir, Entries: u.Entries, Functions: u.Functions, Copies: u.Copies, Pairs: map[string]int{}}
		for _, i := range u.Inlines {
			file := i.File
			if !path.IsAbs(file) {
				file = u.CompDir + "/" + file
			}
			key := fmt.Sprintf("%s<-%s %s:%d", i.Callee, i.Host, path.Clean(file), i.Line)
			if d, ok := n.Pairs[key]; !ok || i.Depth < d {
				n.Pairs[key] = i.Depth
			}
		}
		out = append(out, n)
	}
	return out
}

// agree compares what both read from a file, and returns what we read.
func agree(t testing.TB, r io.ReaderAt, units []*Unit) {
	t.Helper()
	o := newOracle(t, r)
	want := o.units()
	if diff := cmp.Diff(want, ours(units), cmpopts.IgnoreUnexported(told{})); diff != "" {
		t.Fatalf("debug/dwarf (-) and dwarfscan (+) differ:\n%.4000s", diff)
	}
	for n, u := range units {
		seen := map[Inline]bool{}
		for i, in := range u.Inlines {
			id := Inline{Callee: in.Callee, Host: in.Host, Symbol: in.Symbol}
			if seen[id] {
				t.Errorf("%s: %s in %s (%s) is there twice", u.Name, in.Callee, in.Host, in.Symbol)
			}
			seen[id] = true
			chain := u.Chain(i)
			if len(chain) < 2 || len(chain) > in.Depth+1 || !want[n].steps[chain[0]+"<-"+chain[1]+"<-"+in.Host] {
				t.Errorf("%s: %s in %s at depth %d has the chain %q, which is none", u.Name, in.Callee, in.Host, in.Depth, chain)
			}
			if o.funcs != nil && !want[n].symbols[in.Host][in.Symbol] {
				t.Errorf("%s: %s has the symbol %q, want one of %v", u.Name, in.Host, in.Symbol, want[n].symbols[in.Host])
			}
		}
	}
}

// TestAgreesWithDebugDwarf holds what is read against the standard library,
// over compilers and ways to store debug information.
func TestAgreesWithDebugDwarf(t *testing.T) {
	for _, compiler := range []string{"gcc-12", "gcc-11", "clang-14"} {
		for _, flags := range []string{"-gdwarf-5", "-gdwarf-4", "-gdwarf-5 -gdwarf64", "-gdwarf-3", "-g -gz=zlib", "-g -fpie", "-g -ffunction-sections -O3", "-gdwarf-5 -O1 -fno-inline-small-functions"} {
			if compiler == "clang-14" && strings.Contains(flags, "-gdwarf64") {
				continue // debug/dwarf cannot read that: TestWideUnitsOfClang
			}
			t.Run(compiler+" "+flags, func(t *testing.T) {
				t.Parallel()
				testAgrees(t, compiler, strings.Fields(flags))
			})
		}
	}
}

func testAgrees(t *testing.T, compiler string, flags []string) {
	dir := writeSources(t)
	names, copies := []string{}, 0
	for _, source := range []string{"a.c", "b.c", "empty.c", "asm.S", "main.c"} {
		data := object(t, dir, compiler, source, flags...)
		units := scan(t, data)
		agree(t, bytes.NewReader(data), units)
		copies += units[0].Copies
		names = append(names, source+".o")
	}
	if copies < 12 {
		t.Errorf("only %d inlined copies: this tests nothing", copies)
	}
	command(t, dir, append([]string{"ld", "-r", "-o", "all.o"}, names...)...)
	command(t, dir, append([]string{"ld", "--emit-relocs", "-o", "all"}, names...)...)
	command(t, dir, "objcopy", "--compress-debug-sections=zstd", "all", "all.zst")
	files := []string{"all.o", "all", "all.zst"}
	if slices.Contains(flags, "-fpie") {
		command(t, dir, append([]string{"ld", "-pie", "--no-dynamic-linker", "-o", "all.pie"}, names...)...)
		files = append(files, "all.pie")
	}
	for _, file := range files {
		data := read(t, filepath.Join(dir, file))
		units := scan(t, data)
		if len(units) != len(names) {
			t.Errorf("%s: %d units, want %d", file, len(units), len(names))
		}
		if file == "all.zst" { // debug/elf reads it too
			if f, err := elf.NewFile(bytes.NewReader(data)); err != nil || f.Section(".debug_info").Flags&elf.SHF_COMPRESSED == 0 {
				t.Errorf("%s is not compressed: %v", file, err)
			}
		}
		agree(t, bytes.NewReader(data), units)
	}
}

// TestWideUnitsOfClang: the same copies, whatever the size of offsets.
func TestWideUnitsOfClang(t *testing.T) {
	dir := writeSources(t)
	narrow := ours(scan(t, object(t, dir, "clang-14", "a.c", "-gdwarf-5")))
	wide := ours(scan(t, object(t, dir, "clang-14", "a.c", "-gdwarf-5", "-gdwarf64")))
	if diff := cmp.Diff(narrow, wide, cmpopts.IgnoreUnexported(told{})); diff != "" || narrow[0].Copies < 12 {
		t.Errorf("%d copies; -gdwarf32 (-) and -gdwarf64 (+) differ:\n%s", narrow[0].Copies, diff)
	}
}

// testFile names a large file for the tests and benchmarks: a vmlinux with
// debug information, say.
const testFile = "KMEND_TEST_DWARF"

func TestAgreesWithDebugDwarfOnAFile(t *testing.T) {
	name := os.Getenv(testFile)
	if name == "" {
		t.Skipf("name a file with debug information in $%s, such as the vmlinux of Debian's linux-image-…-dbg", testFile)
	}
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	units, err := f.Units(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var sum Unit
	for _, u := range units {
		sum.Entries += u.Entries
		sum.Functions += u.Functions
		sum.Copies += u.Copies
		sum.Inlines = append(sum.Inlines, u.Inlines...)
	}
	t.Logf("%d units, %d entries, %d functions, %d copies, %d distinct", len(units), sum.Entries, sum.Functions, sum.Copies, len(sum.Inlines))
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	agree(t, file, units)
}
