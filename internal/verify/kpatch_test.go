// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/object"
	"kmend/internal/verify"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// replaced names what a module replaces, with the positions.
func replaced(m *verify.Module) string {
	var out []string
	for _, o := range m.Objects {
		for _, f := range o.Funcs {
			out = append(out, fmt.Sprintf("%s:%s,%d=%s", o.Name, f.OldName, f.Sympos, f.New))
		}
	}
	return strings.Join(out, " ")
}

// TestMadeAtInit: livepatches without a struct klp_patch in their data, as
// kpatch makes them.
func TestMadeAtInit(t *testing.T) {
	k := kerneltest.Open(t)
	for name, want := range map[string]string{"lp_lists": "kernel-build-unknown made-at-init unsigned", "lp_lists_all": "kernel-build-unknown made-at-init replace unsigned"} {
		r := check(t, k, handMade(t, k, name))
		if got := [3]string{codes(r.Objections), codes(r.Warnings), codes(r.Notes)}; got != [3]string{"", "callbacks uncovered-code", want} {
			t.Errorf("%s: findings %q: %v %v", name, got, r.Objections, r.Warnings)
		}
		if got := replaced(r.Module); got != "vmlinux:cmdline_proc_show,1=new_cmdline vmlinux:version_proc_show,0=new_version pktgen:pgctrl_show,0=new_pgctrl" {
			t.Errorf("%s replaces %s", name, got)
		}
		if r.Module.Objects[0].Named || !r.Module.Objects[0].Callbacks || !r.Module.Objects[1].Named || r.Module.Objects[1].Callbacks || r.Checked.Functions != 3 {
			t.Errorf("%s: objects %+v, %d functions checked", name, r.Module.Objects, r.Checked.Functions)
		}
	}
}

// listsCase changes the lists of lp_lists.
type listsCase struct {
	name   string
	change func(t *testing.T, f *object.File, list *object.Section)
	code   string // objection or warning
	words  string
}

func listsCases() []listsCase {
	drop := func(at uint64) func(*testing.T, *object.File, *object.Section) {
		return func(_ *testing.T, _ *object.File, list *object.Section) {
			list.Relocs = slices.DeleteFunc(list.Relocs, func(r object.Reloc) bool { return r.Offset == at })
		}
	}
	return []listsCase{
		{"no name", drop(40), verify.CodeLivepatch, "no name, no object or no replacement"},
		{"no object", drop(56 + 48), verify.CodeLivepatch, "no name, no object or no replacement"},
		{"no function", drop(0), verify.CodeLivepatch, "no name, no object or no replacement"},
		{"half an entry", func(_ *testing.T, _ *object.File, list *object.Section) {
			list.Data = append(list.Data, make([]byte, 8)...)
			list.Size += 8
		}, verify.CodeLivepatch, "no whole number of entries"},
		{"a position that is not there", func(_ *testing.T, _ *object.File, list *object.Section) { list.Data[32] = 9 }, verify.CodeOldPosition, "position 9 of 1"},
		{"replace is stored in another way", func(t *testing.T, f *object.File, _ *object.Section) {
			s := f.Section(".init.text")
			n := 0
			for i := 0; i+4 <= len(s.Data); i++ { // movb $0, 24(%rax or the like)
				if s.Data[i] == 0xc6 && s.Data[i+1]&0xf8 == 0x40 && s.Data[i+2] == 24 {
					s.Data[i+3], n = 2, n+1
				}
			}
			if n != 1 {
				t.Fatalf("%d stores", n)
			}
		}, verify.CodeReplaceUnknown, "taken as if it did"},
	}
}

func TestMadeAtInitAmiss(t *testing.T) {
	k := kerneltest.Open(t)
	data := handMade(t, k, "lp_lists")
	for _, c := range listsCases() {
		t.Run(c.name, func(t *testing.T) {
			f, err := object.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			c.change(t, f, f.Section(".kpatch.funcs"))
			changed, err := f.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			r := check(t, k, changed)
			found := slices.Concat(r.Objections, r.Warnings)
			if !slices.ContainsFunc(found, func(f verify.Finding) bool { return f.Code == c.code && strings.Contains(f.String(), c.words) }) {
				t.Errorf("%v, want %s: %s", found, c.code, c.words)
			}
			if c.code == verify.CodeLivepatch && r.Module.Objects != nil {
				t.Errorf("objects %+v", r.Module.Objects)
			}
		})
	}
}

// TestMadeAtInitLoads: the kernel takes what was read for what it is.
func TestMadeAtInitLoads(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	g := bootWith(t, k, "lp_lists", handMade(t, k, "lp_lists"))
	ctx := t.Context()
	if err := g.Load(ctx, "lp_lists", ""); err != nil {
		t.Fatal(err)
	}
	if done, _, err := g.WaitTransition(ctx, "lp_lists", 20*time.Second); err != nil || !done {
		t.Fatalf("done %t, %v", done, err)
	}
	for _, f := range []string{"vmlinux/cmdline_proc_show,1", "vmlinux/version_proc_show,1", "pktgen/pgctrl_show,1"} {
		if _, err := g.ReadFile(ctx, "/sys/kernel/livepatch/lp_lists/"+strings.Split(f, "/")[0]+"/patched"); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	for _, f := range []string{"cmdline", "version"} {
		if out, err := g.ReadFile(ctx, "/proc/"+f); err != nil || string(out) != "live patched\n" {
			t.Errorf("/proc/%s: %q, %v", f, out, err)
		}
	}
}

// bootWith boots the stock kernel with one module in the guest.
func bootWith(t *testing.T, k *kernel.Kernel, name string, data []byte) *vm.Guest {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".ko")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	g, err := vm.Boot(t.Context(), vm.Machine{Image: k.Vmlinux, BuildID: k.BuildID, Agent: vmtest.Agent(t), Modules: []vm.Module{{Name: name, Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}
