// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/object"
)

func TestFactsOfTheStockKernel(t *testing.T) {
	k := kerneltest.Open(t)
	f, err := FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	if f.Func.Size < 24 || f.Object.Size < 16 || f.Patch.Size < 32 || f.Module.NameLen != 56 || f.Func.OldSympos != 16 || f.DynDebug%8 != 0 {
		t.Errorf("layouts %+v %+v %+v %+v, _ddebug %d", f.Module, f.Func, f.Object, f.Patch, f.DynDebug)
	}
	if !f.Retpoline || !f.Rethunk || !f.Modversions || f.IBT {
		t.Errorf("configuration: %+v", f)
	}
	for _, name := range []string{"ext4", "loop", "pktgen", "printk"} { // printk is built in
		if !f.Taken[name] {
			t.Errorf("the name %s is free", name)
		}
	}
	if f.Taken["livepatch_test"] {
		t.Error("the name livepatch_test is taken")
	}
	for _, name := range GlueExports() {
		if f.Glue[name] == 0 {
			t.Errorf("no CRC of %s", name)
		}
	}
}

// TestLayoutsOf: the types alone give the same layouts, and damaged ones an error.
func TestLayoutsOf(t *testing.T) {
	k := kerneltest.Open(t)
	f, err := FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	types := kerneltest.Image(t, k).BTFBytes()
	l, err := LayoutsOf(types)
	if err != nil || l.Module != f.Module || l.Func != f.Func || l.Object != f.Object || l.Patch != f.Patch || l.DynDebug != f.DynDebug {
		t.Errorf("%+v, want %+v, %v", l, f, err)
	}
	for _, bad := range [][]byte{nil, types[:20], types[:len(types)/2], append([]byte{0}, types...)} {
		if l, err := LayoutsOf(bad); err == nil {
			t.Errorf("of %d bytes: %+v", len(bad), l)
		}
	}
}

// FuzzLayoutsOf: no types make it panic.
func FuzzLayoutsOf(f *testing.F) {
	f.Add([]byte{})
	// A header, and struct klp_func of 24 bytes with one member of an int.
	names := "\x00klp_func\x00old_name\x00int\x00"
	types := "\x01\x00\x00\x00\x01\x00\x00\x04\x18\x00\x00\x00\x0a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00" +
		"\x13\x00\x00\x00\x00\x00\x00\x01\x04\x00\x00\x00\x20\x00\x00\x01"
	f.Add([]byte("\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00" + string(rune(len(types))) + "\x00\x00\x00" + string(rune(len(types))) + "\x00\x00\x00" + string(rune(len(names))) + "\x00\x00\x00" + types + names))
	f.Fuzz(func(t *testing.T, data []byte) {
		if l, err := LayoutsOf(data); err == nil && l.Func.Size == 0 {
			t.Errorf("layouts %+v", l)
		}
	})
}

// BenchmarkLayoutsOf is what kmend load pays on a kernel that was not added, where
// live patches are loaded.
func BenchmarkLayoutsOf(b *testing.B) {
	types := kerneltest.Image(b, kerneltest.Open(b)).BTFBytes()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LayoutsOf(types); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCrossCheckNotices: a module of another kernel contradicts the BTF.
func TestCrossCheckNotices(t *testing.T) {
	k := kerneltest.Open(t)
	f, err := FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	o, err := object.Read(kerneltest.ModuleData(t, k, "pktgen"))
	if err != nil {
		t.Fatal(err)
	}
	if done, err := f.crossCheckOne(o); !done || err != nil {
		t.Fatalf("the right layout: done %t, %v", done, err)
	}
	for _, change := range []func(*ModuleLayout){
		func(m *ModuleLayout) { m.Size += 64 }, func(m *ModuleLayout) { m.Init -= 8 }, func(m *ModuleLayout) { m.Exit += 8 },
	} {
		wrong := *f
		change(&wrong.Module)
		if _, err := wrong.crossCheckOne(o); err == nil || !strings.Contains(err.Error(), "do not fit together") {
			t.Errorf("layout %+v: error %v", wrong.Module, err)
		}
	}
}

func TestJumpLabelLen(t *testing.T) {
	for code, want := range map[string]uint64{"\xeb\x00": 2, "\x66\x90": 2, "\xe9\x00\x00\x00\x00": 5, "\x0f\x1f\x44\x00\x00": 5, "\xeb": 5, "": 5} {
		if got := jumpLabelLen([]byte(code), 0); got != want {
			t.Errorf("% x: %d bytes, want %d", code, got, want)
		}
	}
}
