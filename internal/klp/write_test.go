// SPDX-License-Identifier: Apache-2.0

package klp_test

import (
	"bytes"
	"crypto/sha1"
	"debug/elf"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kmend/internal/object"
)

var update = flag.Bool("update", false, "write the golden files anew")

// listing shows a module as text: sections, symbols and relocations by name.
func listing(f *object.File) string {
	var b strings.Builder
	name := func(s *object.Symbol) string {
		switch {
		case s == nil:
			return "-"
		case s.IsSection():
			return s.Section.Name
		}
		return s.Name
	}
	for _, s := range f.Sections {
		fmt.Fprintf(&b, "section %s flags %#x align %d size %d\n", s.Name, s.Flags, s.Align, s.Size)
		list := func(in string, flags uint64, relocs []object.Reloc) {
			for _, r := range relocs {
				fmt.Fprintf(&b, "  %s %#x: +%#x %s %s%+d\n", in, flags, r.Offset, object.RelocName(r.Type), name(r.Sym), r.Addend)
			}
		}
		list(".rela"+s.Name, uint64(elf.SHF_INFO_LINK), s.Relocs)
		for _, x := range s.Extra {
			list(x.Name, x.Flags, x.Relocs)
		}
	}
	for _, s := range f.Symbols {
		place := fmt.Sprintf("section number %#x", s.Shndx)
		if s.Section != nil {
			place = fmt.Sprintf("%s+%#x", s.Section.Name, s.Value)
		}
		fmt.Fprintf(&b, "symbol %s bind %d type %d: %s size %d\n", name(s), s.Bind, s.Kind, place, s.Size)
	}
	for tag := range bytes.SplitSeq(f.Section(".modinfo").Data, []byte{0}) {
		fmt.Fprintf(&b, "modinfo %s\n", tag)
	}
	for v := f.Section("__versions").Data; len(v) >= 64; v = v[64:] {
		fmt.Fprintf(&b, "version %#x %s\n", v[0], bytes.TrimRight(v[8:64], "\x00"))
	}
	return b.String()
}

func TestModuleListing(t *testing.T) {
	spec, _, _ := synthSpec()
	_, stats, f := mustWrite(t, spec)
	got := listing(f) + fmt.Sprintf("stats %+v\n", stats)
	const golden = "testdata/module.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("the module differs from %s (-want +got; run with -update if that is right):\n%s", golden, d)
	}
}

func TestWriteTwiceGivesTheSameBytes(t *testing.T) {
	spec, _, _ := synthSpec()
	first, _, _ := mustWrite(t, spec)
	second, _, _ := mustWrite(t, spec) // the very same Spec: Write must not have changed it
	if !bytes.Equal(first, second) {
		t.Error("the same Spec gave two different modules")
	}
	other, _, _ := synthSpec()
	third, _, _ := mustWrite(t, other)
	if !bytes.Equal(first, third) {
		t.Error("equal Specs gave different modules")
	}
}

func TestBuildIDIsTheHashOfTheModule(t *testing.T) {
	spec, _, _ := synthSpec()
	data, stats, f := mustWrite(t, spec)
	id := f.Section(".note.gnu.build-id").Data[16:36]
	at := bytes.Index(data, id)
	if at < 0 {
		t.Fatal("the build id is not in the file")
	}
	blank := bytes.Clone(data)
	clear(blank[at : at+20])
	if want := sha1.Sum(blank); !bytes.Equal(id, want[:]) || stats.BuildID != fmt.Sprintf("%x", want) {
		t.Errorf("build id %x (stats %s), hash of the module %x", id, stats.BuildID, want)
	}
	spec.Description = "another"
	if _, changed, _ := mustWrite(t, spec); changed.BuildID == stats.BuildID {
		t.Error("another module has the same build id")
	}
}

// TestCodeOfAnObjectIsCovered: every byte of .text must belong, for the
// kernel, to a replaced function of the object it came from.
func TestCodeOfAnObjectIsCovered(t *testing.T) {
	spec, _, _ := synthSpec()
	_, _, f := mustWrite(t, spec)
	text := f.Section(".text")
	at := map[string]uint64{}
	var visible []string
	for _, s := range f.Symbols {
		if s.Section != text || s.IsSection() {
			continue
		}
		at[s.Name] = s.Value
		if !strings.HasPrefix(s.Name, ".L") {
			visible = append(visible, s.Name)
		}
	}
	if len(visible) != 3 {
		t.Fatalf("the kernel sees %q in .text, it should see the 3 replaced functions", visible)
	}
	order := []string{"one", ".Lone.cold", "two", ".Lhelper", "three"}
	for i, name := range order {
		if v, ok := at[name]; !ok || i > 0 && v <= at[order[i-1]] {
			t.Errorf("%s at %#x (%t) is not behind its predecessor: %v", name, v, ok, at)
		}
	}
	if at["one"] != 0 {
		t.Error("code lies before the first replaced function")
	}
}

func TestNoTwoLoadedSectionsShareAName(t *testing.T) {
	spec, _, _ := synthSpec()
	_, _, f := mustWrite(t, spec)
	seen := map[string]bool{}
	for _, s := range f.Sections {
		names := []string{s.Name}
		for _, x := range s.Extra {
			names = append(names, x.Name)
		}
		for _, n := range names {
			if seen[n] {
				t.Errorf("two sections are called %s", n)
			}
			seen[n] = true
		}
	}
}

func TestVmlinuxHasNoName(t *testing.T) {
	spec, _, _ := synthSpec()
	_, _, f := mustWrite(t, spec)
	objs, err := f.Symbol("kmend_objects")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range objs.Section.Relocs {
		if r.Offset == objs.Value {
			t.Errorf("the first object, vmlinux, has a name: %+v", r)
		}
	}
}

func TestPinTakesAReferenceFirst(t *testing.T) {
	for _, pin := range []bool{false, true} {
		spec, _, _ := synthSpec()
		spec.Pin = pin
		_, _, f := mustWrite(t, spec)
		var calls []string
		for _, r := range f.Section(".init.text").Relocs {
			calls = append(calls, r.Sym.Name)
		}
		want := []string{"kmend_patch", "klp_enable_patch"}
		if pin {
			want = append([]string{"__this_module", "__module_get"}, want...)
		}
		if d := cmp.Diff(want, calls); d != "" {
			t.Errorf("pin %t: %s", pin, d)
		}
	}
}
