// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"debug/elf"
	"path/filepath"
	"strings"
	"testing"
)

// seeds are small files with debug information, as compilers store it.
func seeds(f *testing.F) [][]byte {
	dir := writeSources(f)
	var out [][]byte
	for _, compiler := range []string{"gcc-12", "clang-14"} {
		for _, flags := range []string{"-gdwarf-5", "-gdwarf-4", "-g -gdwarf64"} {
			out = append(out, object(f, dir, compiler, "b.c", strings.Fields(flags)...))
		}
	}
	object(f, dir, "gcc-12", "main.c", "-g")
	command(f, dir, "ld", "-o", "linked", "b.c.o", "main.c.o")
	return append(out, read(f, filepath.Join(dir, "linked")), object(f, dir, "gcc-12", "b.c", "-g", "-gz=zlib"),
		object(f, dir, "gcc-12", "a.c", "-g"))
}

// check reads everything and asserts what holds for any answer. It does so
// without goroutines: they hide from the fuzzer what a changed byte changes.
func check(t *testing.T, f *File) {
	s := newScanner(f)
	for i := range f.units {
		u, err := s.unit(&f.units[i])
		if err != nil {
			if u != nil {
				t.Errorf("error %v and a unit", err)
			}
			continue
		}
		if len(u.Inlines) > u.Copies || u.Copies+u.Functions > u.Entries {
			t.Errorf("%d distinct of %d copies, %d functions of %d entries", len(u.Inlines), u.Copies, u.Functions, u.Entries)
		}
		for i, in := range u.Inlines {
			if in.Host == "" && in.Symbol == "" || in.Depth < 1 || (in.Depth == 1) != (in.Parent == -1) {
				t.Errorf("%+v", in)
			}
			if in.Parent >= 0 && (u.Inlines[in.Parent].Depth >= in.Depth || u.Inlines[in.Parent].Host != in.Host) {
				t.Errorf("%+v has the parent %+v", in, u.Inlines[in.Parent])
			}
			u.Chain(i)
		}
	}
}

// FuzzScan changes bytes of a whole file.
func FuzzScan(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if file, err := New(data); err == nil {
			check(t, file)
		} else if file != nil {
			t.Errorf("error %v and a file", err)
		}
	})
}

// FuzzSections changes the sections apart, which gets further.
func FuzzSections(f *testing.F) {
	for _, s := range seeds(f) {
		e, err := readELF(s)
		if err != nil {
			f.Fatal(err)
		}
		d, err := e.debugSections()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(d.info, d.abbrev, d.str, d.lineStr, d.line, d.strOffsets, d.addr, d.ranges, d.rangeLists)
	}
	f.Fuzz(func(t *testing.T, info, abbrev, str, lineStr, line, strOffsets, addr, ranges, rangeLists []byte) {
		file, err := newFile(sections{
			info: info, abbrev: abbrev, str: str, lineStr: lineStr, line: line,
			strOffsets: strOffsets, addr: addr, ranges: ranges, rangeLists: rangeLists,
		}, symbols{list: []symbol{{addr: 0x1000, name: 1}}, names: []byte("\x00f\x00")})
		if err == nil {
			check(t, file)
		}
	})
}

// FuzzDecompress: what comes out has the promised size.
func FuzzDecompress(f *testing.F) {
	for _, s := range seeds(f) {
		e, err := readELF(s)
		if err != nil {
			f.Fatal(err)
		}
		for i, sec := range e.sections {
			if raw, err := e.raw(i); err == nil && sec.flags&elf.SHF_COMPRESSED != 0 {
				f.Add(raw)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := decompress(data)
		if err == nil && uint64(len(out)) != le.Uint64(data[8:]) || err != nil && out != nil {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
}
