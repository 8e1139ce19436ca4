// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/object"
)

func TestPickCountsAsTheKernel(t *testing.T) {
	for _, c := range []struct {
		n     int
		pos   uint64
		index int
		bad   string
	}{
		{0, 0, 0, "missing"}, {0, 1, 0, "missing"}, {1, 0, 0, ""}, {1, 1, 0, ""}, {1, 2, 0, "position"},
		{2, 0, 0, "ambiguous"}, {2, 1, 0, ""}, {2, 2, 1, ""}, {2, 3, 0, "position"},
	} {
		i, bad := pick(c.n, c.pos)
		got := ""
		switch {
		case bad == nil:
		case bad.missing:
			got = "missing"
		case bad.ambiguous:
			got = "ambiguous"
		default:
			got = "position"
		}
		if i != c.index || got != c.bad {
			t.Errorf("position %d of %d: entry %d, trouble %q; want %d, %q", c.pos, c.n, i, got, c.index, c.bad)
		}
	}
}

// TestInitSymbolsMakePositionsUnstable: the kernel counts a module's init
// symbols while it is being loaded and not any more when it is live.
func TestInitSymbolsMakePositionsUnstable(t *testing.T) {
	text, init := &object.Section{Name: ".text"}, &object.Section{Name: ".init.text"}
	early, core := &object.Symbol{Name: "f", Section: init}, &object.Symbol{Name: "f", Section: text}
	s := &moduleSymbols{
		coming: map[string][]*object.Symbol{"f": {early, core}, "g": {core}, "h": {early}},
		live:   map[string][]*object.Symbol{"f": {core}, "g": {core}},
	}
	for pos := range uint64(3) {
		if y, bad := s.find("f", pos); bad == nil {
			t.Errorf("position %d leads to %+v at both times", pos, y)
		}
	}
	if y, bad := s.find("g", 0); bad != nil || y != core {
		t.Errorf("a unique symbol: %v", bad)
	}
	if _, bad := s.find("h", 0); bad == nil || !bad.missing {
		t.Errorf("a symbol of init code alone: %+v", bad)
	}
}

func TestNamesAsTheKernelParsesThem(t *testing.T) {
	good := map[string]KlpSymbol{
		".klp.sym.vmlinux.printk,0":                               {Object: "vmlinux", Name: "printk"},
		".klp.sym.snd_hda.f.isra.0,12":                            {Object: "snd_hda", Name: "f.isra.0", Sympos: 12},
		".klp.sym.m." + strings.Repeat("s", maxSymbolName) + ",1": {Object: "m", Name: strings.Repeat("s", maxSymbolName), Sympos: 1},
	}
	for name, want := range good {
		if got, err := parseKlpSymbol(name); err != nil || got != want {
			t.Errorf("%.60s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", ".klp.sym.", ".klp.sym.vmlinux", ".klp.sym.vmlinux.", ".klp.sym.vmlinux.f", ".klp.sym.vmlinux.f,", ".klp.sym.vmlinux.f,x", ".klp.sym.vmlinux.f,1x",
		".klp.sym.vmlinux.f,-1", ".klp.sym..f,0", ".klp.sym.vmlinux.,0", ".klp.sym." + strings.Repeat("m", maxObjectName+1) + ".f,0", ".klp.sym.m." + strings.Repeat("s", maxSymbolName+1) + ",0"} {
		if got, err := parseKlpSymbol(name); err == nil {
			t.Errorf("%.60q is taken for %+v", name, got)
		}
	}
	for name, want := range map[string]string{".klp.rela.vmlinux..text": "vmlinux", ".klp.rela.ext4.__jump_table": "ext4", ".klp.rela.": "", ".klp.rela.x": "", ".klp.rela..text": "", ".rela.text": ""} {
		if got, err := relaObject(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]bool{"": true, ".Lx": true, "$a": true, "$d.1": true, "$ab": false, "$": false, "f": false, ".text": false} {
		if hiddenName(name) != want {
			t.Errorf("hiddenName(%q) is %t", name, !want)
		}
	}
}

// TestFentryWitnesses: what the image says of functions known to be traceable
// and not.
func TestFentryWitnesses(t *testing.T) {
	k := kerneltest.Open(t)
	im, err := k.Image()
	if err != nil {
		t.Fatal(err)
	}
	c := &Verifier{k: k, im: im}
	for name, traceable := range map[string]bool{"vfs_read": true, "cmdline_proc_show": true, "do_exit": true, "copy_user_generic_string": false, "native_sched_clock": false, "ftrace_ops_list_func": false} {
		list := im.Symbols().Lookup(name)
		if len(list) == 0 && name == "ftrace_ops_list_func" {
			continue
		}
		if len(list) != 1 {
			t.Fatalf("%d symbols %s", len(list), name)
		}
		if why := c.fentryInImage(list[0]); (why == "") != traceable {
			t.Errorf("%s: %q, traceable %t", name, why, traceable)
		}
	}
}
