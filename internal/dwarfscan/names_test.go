// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInlines says what gcc-12 makes of a.c: chains, clones told apart by their
// symbols, recursion, a function in two ranges (freezing), an asm label.
func TestInlines(t *testing.T) {
	units := scan(t, object(t, writeSources(t), "gcc-12", "a.c", "-g"))
	if len(units) != 1 || units[0].Name != "a.c" {
		t.Fatalf("%d units, the first %q", len(units), units[0].Name)
	}
	var got []string
	for i, in := range units[0].Inlines {
		got = append(got, fmt.Sprintf("%s %s:%d %s", strings.Join(units[0].Chain(i), ">"), in.File, in.Line, in.Symbol))
	}
	slices.Sort(got)
	want := []string{
		"branch>top a.c:4 top",
		"down>down a.c:23 down",
		"down>recursion a.c:23 recursion",
		"leaf>branch>top inc/leaf.h:3 top",
		"leaf>down inc/leaf.h:3 down",
		"leaf>down>recursion inc/leaf.h:3 recursion",
		"leaf>freezing inc/leaf.h:3 freezing",
		"leaf>same>in_a inc/leaf.h:3 in_a",
		"leaf>special inc/leaf.h:3 special.constprop.0",
		"leaf>twig>both inc/leaf.h:3 both",
		"leaf>twig>fields inc/leaf.h:3 fields.isra.0",
		"leaf>twig>other_name inc/leaf.h:3 other_name",
		"lf>other inc/leaf.h:5 other",
		"lf>split inc/leaf.h:5 split.part.0",
		"same>in_a a.c:26 in_a",
		"split>split1 a.c:14 split1",
		"split>split2 a.c:14 split2",
		"split>split3 a.c:14 split3",
		"twig>both inc/leaf.h:4 both",
		"twig>branch>top inc/leaf.h:4 top",
		"twig>fields inc/leaf.h:4 fields.isra.0",
		"twig>freezing inc/leaf.h:4 freezing",
		"twig>other_name inc/leaf.h:4 other_name",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestReferencesIntoOtherUnits: with -flto the unit with the code refers to
// those of the sources for every name (DW_FORM_ref_addr).
func TestReferencesIntoOtherUnits(t *testing.T) {
	dir := writeSources(t)
	command(t, dir, "gcc-12", "-O2", "-g", "-flto", "-r", "-flinker-output=nolto-rel", "-nostdlib", "-o", "lto.o", "a.c", "b.c", "main.c")
	data := read(t, filepath.Join(dir, "lto.o"))
	units := scan(t, data)
	agree(t, bytes.NewReader(data), units)
	for _, u := range units {
		for _, in := range u.Inlines {
			if in.Callee == "branch" && in.Host == "top" && in.File == "a.c" && in.Line == 4 {
				return
			}
		}
	}
	t.Errorf("branch was not found in top, in %d units", len(units))
}

// TestSymbolPreference: of several symbols at one address, the host's own.
func TestSymbolPreference(t *testing.T) {
	names := []byte("\x00f\x00f.part.0\x00alias\x00zzz\x00")
	at := func(s string) uint32 { return uint32(bytes.Index(names, []byte("\x00"+s+"\x00")) + 1) }
	s := symbols{names: names, list: []symbol{
		{addr: 8, name: at("zzz")}, {addr: 8, name: at("alias")}, {addr: 8, name: at("f.part.0")}, {addr: 8, name: at("f"), global: true},
		{addr: 9, name: at("alias")}, {addr: 9, name: at("f.part.0")},
		{addr: 10, name: at("alias")}, {addr: 10, name: at("zzz"), global: true},
		{addr: 11, name: at("zzz")}, {addr: 11, name: at("alias")},
		{addr: 12, name: 1 << 20},
	}}
	for addr, want := range map[uint64]string{7: "", 8: "f", 9: "f.part.0", 10: "zzz", 11: "alias", 12: "", 13: ""} {
		if got := s.at(addr, "f"); got != want {
			t.Errorf("at %d: %q, want %q", addr, got, want)
		}
	}
}

// TestScanKeepsOrderAndStops: units come in the order of the file, one at a
// time, until the first error.
func TestScanKeepsOrderAndStops(t *testing.T) {
	dir := writeSources(t)
	object(t, dir, "gcc-12", "a.c", "-g")
	object(t, dir, "gcc-12", "main.c", "-g")
	many := []string{"ld", "-r", "--allow-multiple-definition", "-o", "many.o"}
	for i := range 40 {
		many = append(many, []string{"a.c.o", "main.c.o", "main.c.o"}[i%3])
	}
	command(t, dir, many...)
	f, err := Open(filepath.Join(dir, "many.o"))
	if err != nil {
		t.Fatal(err)
	}
	var last, count int
	if err := f.Scan(t.Context(), func(u *Unit) error {
		if int(u.Offset) < last {
			t.Errorf("unit at %#x after that at %#x", u.Offset, last)
		}
		last = int(u.Offset)
		count++
		return nil
	}); err != nil || count != 40 {
		t.Errorf("%d units, want 40; %v", count, err)
	}
	stop := errors.New("stop")
	count = 0
	if err := f.Scan(t.Context(), func(u *Unit) error {
		if count++; count == 3 {
			return stop
		}
		return nil
	}); err != stop || count != 3 {
		t.Errorf("%d units before the error, want 3; %v", count, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if units, err := f.Units(ctx); !errors.Is(err, context.Canceled) || units != nil {
		t.Errorf("cancelled: %d units, %v", len(units), err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if units, err := f.Units(t.Context()); err == nil || units != nil {
		t.Errorf("closed: %d units, %v", len(units), err)
	}
}

// TestShortenedWhileOpen: no signal ends the program.
func TestShortenedWhileOpen(t *testing.T) {
	dir := writeSources(t)
	object(t, dir, "gcc-12", "a.c", "-g")
	command(t, dir, "ld", "-e", "0", "--unresolved-symbols=ignore-all", "-o", "linked", "a.c.o") // not relocated by us, so not copied
	path := filepath.Join(dir, "linked")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Units(t.Context()); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "shortened") {
		t.Errorf("error is %v", err)
	}
}

// TestRefusals: what is well, but not for us, is named.
func TestRefusals(t *testing.T) {
	dir := writeSources(t)
	plain := object(t, dir, "gcc-12", "b.c")
	with := object(t, dir, "gcc-12", "b.c", "-g")
	command(t, dir, "cp", "b.c.o", "with.o")
	alter := func(argv ...string) []byte {
		command(t, dir, append(append([]string{"objcopy"}, argv...), "with.o", "altered.o")...)
		return read(t, filepath.Join(dir, "altered.o"))
	}
	link := filepath.Join(dir, "link")
	if err := os.WriteFile(link, []byte("/usr/lib/debug/.dwz/x\x00id"), 0o644); err != nil {
		t.Fatal(err)
	}
	object(t, dir, "gcc-12", "main.c", "-g")
	command(t, dir, "ld", "-r", "--unique=.debug_info", "-o", "twice.o", "with.o", "main.c.o")
	old := bytes.Clone(with)
	old[4] = 1 // ELFCLASS32
	core := bytes.Clone(with)
	core[16] = 4 // ET_CORE
	arm := bytes.Clone(with)
	arm[18] = 183 // EM_AARCH64
	for _, c := range []struct {
		name string
		data []byte
		is   error
		say  string
	}{
		{"no debug information", plain, ErrNoDebugInfo, "compile with -g"},
		{"split, DWARF 5", object(t, dir, "gcc-12", "b.c", "-gdwarf-5", "-gsplit-dwarf"), ErrUnsupported, `split off into "b.c.dwo": compile without -gsplit-dwarf`},
		{"split, DWARF 4", object(t, dir, "gcc-12", "b.c", "-gdwarf-4", "-gsplit-dwarf"), ErrUnsupported, `split off into "b.c.dwo"`},
		{"split, clang", object(t, dir, "clang-14", "b.c", "-g", "-gsplit-dwarf"), ErrUnsupported, `.dwo": compile without -gsplit-dwarf`},
		{"dwz", alter("--add-section", ".gnu_debugaltlink="+link), ErrUnsupported, ".gnu_debugaltlink"},
		{"zlib-gnu", alter("--compress-debug-sections=zlib-gnu"), ErrUnsupported, "--decompress-debug-sections"},
		{"second .debug_info", read(t, filepath.Join(dir, "twice.o")), ErrUnsupported, "a second .debug_info"},
		{"no .debug_abbrev", alter("--rename-section", ".debug_abbrev=.gone"), ErrDamaged, "no .debug_abbrev"},
		{"text", []byte(sources["a.c"]), ErrDamaged, "not an ELF file"},
		{"empty", nil, ErrDamaged, "not an ELF file (0 bytes)"},
		{"32-bit", old, ErrUnsupported, "ELFCLASS32"},
		{"core", core, ErrUnsupported, "ET_CORE"},
		{"relocations of another machine", arm, ErrUnsupported, "SHT_RELA for EM_AARCH64: link the file first"},
		{"truncated", with[:len(with)-1000], ErrDamaged, "is it truncated?"},
	} {
		f, err := New(c.data)
		if err == nil {
			_, err = f.Units(t.Context())
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: error is %v, want %q", c.name, err, c.say)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "nowhere"), os.DevNull} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %v", path, err)
		}
	}
}
