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
