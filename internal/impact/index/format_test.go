// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample(t testing.TB) []byte {
	t.Helper()
	data, err := Build(context.Background(), Options{Dir: build(t, sources)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpenRefuses(t *testing.T) {
	data := sample(t)
	dir := t.TempDir()
	for _, c := range []struct {
		name, says string
		harm       func(b []byte) []byte
	}{
		{"empty", "too short", func(b []byte) []byte { return nil }},
		{"short", "too short", func(b []byte) []byte { return b[:100] }},
		{"cut", "it was cut", func(b []byte) []byte { return b[:len(b)-8] }},
		{"longer", "it was cut", func(b []byte) []byte { return append(b, 0, 0, 0, 0) }},
		{"another file", "does not begin with", func(b []byte) []byte { return bytes.Repeat([]byte("x"), 1000) }},
		{"another version", "format version 2; this kmend reads version 1", func(b []byte) []byte { b[8] = 2; return b }},
		{"header", "the header is damaged", func(b []byte) []byte { b[sectionTable+9] ^= 1; return b }},
	} {
		name := filepath.Join(dir, c.name)
		write(t, name, string(c.harm(bytes.Clone(data))))
		_, err := Open(name)
		var fe *FormatError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.name) || !strings.Contains(err.Error(), "kmend impact index") {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.says)
		}
	}
	if _, err := Open(filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a directory is an index")
	}
	if x, err := Open(filepath.Join(dir, "longer")); err == nil {
		x.Close()
	}
}

// TestDamageIsFound: whatever byte behind the header is changed, Verify finds it
// or it is padding that nothing reads.
func TestDamageIsFound(t *testing.T) {
	data := sample(t)
	x, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	used := make([]bool, len(data))
	for i := range numSections {
		start := cap(data) - cap(x.sec[i])
		for j := range x.sec[i] {
			used[start+j] = true
		}
	}
	found := 0
	for i := headerSize; i < len(data); i += 11 {
		bad := bytes.Clone(data)
		bad[i] ^= 0x41
		y, err := Parse(bad)
		if err == nil {
			err = y.Verify()
		}
		if err == nil && used[i] {
			t.Fatalf("byte %d was changed, and nobody noticed", i)
		}
		if err != nil {
			found++
		}
	}
	if found < 100 {
		t.Errorf("found only %d changes", found)
	}
}

// askAll asks whatever can be asked.
func askAll(x *Index) {
	q := x.NewQuery()
	_, _ = q.Summary(context.Background())
	q = x.NewQuery()
	_, _ = q.StaleUnits()
	_, _ = x.NewQuery().Graph(context.Background())
	for _, name := range []string{"leaf", "a/one.o:fields", "h.h:shared", "nothing"} {
		q := x.NewQuery()
		if f, err := q.Find(name); err == nil {
			_, _ = q.Answer(f)
		}
	}
	q = x.NewQuery()
	if n, ok := q.UnitOf("src/a/one.c"); ok {
		q.Reaches(n, "leaf", "top")
	}
	_ = x.Verify()
}

// FuzzParse: no index, however damaged, makes opening or asking panic, or go on
// for ever.
func FuzzParse(f *testing.F) {
	data := sample(f)
	f.Add(data, uint32(0), byte(0))
	f.Add(data, uint32(headerSize+100), byte(0xff))
	for i := range uint32(numSections) {
		f.Add(data, sectionTable+i*sectionEntry+8, byte(9))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint32, v byte) {
		if len(data) >= headerSize {
			data = bytes.Clone(data)
			data[int(at)%len(data)] ^= v
			fixSum(data) // or every change of the header would end there
		}
		x, err := Parse(data)
		if err != nil {
			return
		}
		askAll(x)
	})
}

// FuzzUnit: no dump and no object makes scanning panic.
func FuzzUnit(f *testing.F) {
	dir := build(f, sources)
	for _, u := range []string{"a/one", "b/two"} {
		dump, err := os.ReadFile(filepath.Join(dir, u+".c.000i.ipa-clones"))
		if err != nil {
			f.Fatal(err)
		}
		obj, err := os.ReadFile(filepath.Join(dir, u+".o"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(dump, obj)
		f.Add(dump[:len(dump)/2], obj[:len(obj)/2])
	}
	f.Fuzz(func(t *testing.T, dump, obj []byte) {
		x, err := FromUnits([]Unit{{Path: "a.o", Source: "a.c", Dump: dump, Data: obj}})
		if err != nil {
			return
		}
		if err := x.Verify(); err != nil {
			t.Fatal(err)
		}
		askAll(x)
	})
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte("!<thin>\n//                                              394       `\nbdev.o/\n"))
	f.Add([]byte("!<arch>\na.o/            0           0     0     644     2         `\nxx"))
	f.Fuzz(func(t *testing.T, b []byte) { archiveMembers(b) })
}

func fixSum(data []byte) {
	le.PutUint32(data[headerSum:], crc32.Checksum(data[:headerSum], castagnoli))
}
