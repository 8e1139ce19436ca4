// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/verify"
)

// loadedCase is what After says of some of the test's livepatches, in an order,
// on a kernel that has others loaded. want has codes, or codes with parts of
// what is said, as CODE WHERE: TEXT.
type loadedCase struct {
	name   string
	loaded verify.Loaded
	order  []string
	want   []string
}

// there is a loaded live patch that replaces functions of vmlinux.
func there(name string, change func(*verify.LoadedPatch), funcs ...string) verify.LoadedPatch {
	p := verify.LoadedPatch{Name: name, Objects: []verify.Object{{Name: "vmlinux"}}}
	for _, f := range funcs {
		p.Objects[0].Funcs = append(p.Objects[0].Funcs, verify.Func{OldName: f, Sympos: 1})
	}
	if change != nil {
		change(&p)
	}
	return p
}

func patches(list ...verify.LoadedPatch) verify.Loaded { return verify.Loaded{Patches: list} }

// loadedCases know the digests and build ids of hand, all and cmdline; see
// TestTogether for what these do.
func loadedCases(digest, id map[string]string) []loadedCase {
	state := func(s verify.LoadedState) func(*verify.LoadedPatch) {
		return func(p *verify.LoadedPatch) { p.State = s }
	}
	knows := func(m *verify.Module) func(*verify.LoadedPatch) {
		return func(p *verify.LoadedPatch) { p.File, p.Path = m, "/root/x.ko" }
	}
	const show = "cmdline_proc_show"
	known := &verify.Module{States: []verify.State{{ID: 7, Version: 1}}}
	return []loadedCase{
		{"nothing loaded", patches(), []string{"hand"}, nil},
		{"no common function", patches(there("other", knows(known), "version_proc_show")), []string{"cmdline"}, nil},
		{"overlap", patches(there("other", knows(known), show)), []string{"cmdline"},
			[]string{"overlap other, lp_cmdline: both replace vmlinux:cmdline_proc_show: what lp_cmdline has of them runs, and that of other (loaded from /root/x.ko) is not called"}},
		{"overlap with another tool's", patches(there("other", nil, show)), []string{"cmdline"}, []string{"overlap other, lp_cmdline: that of other (loaded; kmend has no record of it) is not called"}},
		{"on its way out", patches(there("other", state(verify.LoadedUnpatching), show)), []string{"cmdline"}, []string{"in-transition other: the kernel refuses to load lp_cmdline (EBUSY)"}},
		{"in transition", patches(there("other", func(p *verify.LoadedPatch) { p.State, p.Waits = verify.LoadedPatching, "cat (pid 7)" }, show)), []string{"cmdline", "hand"},
			[]string{"in-transition other: until that is over the kernel refuses to load lp_cmdline (EBUSY); it waits for cat (pid 7)", "overlap other, lp_cmdline: ", "overlap other, lp_hand: ", "overlap lp_cmdline, lp_hand: ", "states-unknown other: "}},
		{"disabled", patches(there("other", state(verify.LoadedDisabled), show)), []string{"cmdline"}, nil},
		{"replaces all", patches(there("one", knows(known), show, "version_proc_show"), there("two", knows(&verify.Module{}), show)), []string{"all"},
			[]string{"fix-dropped one, lp_all: loading lp_all disables one (loaded from /root/x.ko), and these functions then run without a fix: vmlinux:version_proc_show",
				"disables-loaded lp_all: one (loaded from /root/x.ko), two (loaded from /root/x.ko). Their modules stay in memory until they are unloaded; of their functions it has its own version of vmlinux:cmdline_proc_show"}},
		{"a loaded one is replacing all", patches(there("one", knows(known), show), there("two", func(p *verify.LoadedPatch) { p.State, p.File = verify.LoadedPatching, &verify.Module{Replace: true} }, "version_proc_show")), []string{"cmdline"}, []string{"in-transition two"}},
		{"states unknown", patches(there("one", func(p *verify.LoadedPatch) { p.NotRead = "somebody has it" }, "version_proc_show")), []string{"cmdline", "hand"}, []string{"overlap lp_cmdline, lp_hand", "states-unknown one: compares them with those of lp_hand: somebody has it"}},
		{"states", patches(there("one", knows(&verify.Module{States: []verify.State{{ID: 7, Version: 3}}}), "version_proc_show")), []string{"hand"}, []string{"states-incompatible lp_hand: system state 7 in version 2, one in version 3"}},
		{"loaded already, by its digest", patches(there("lp_cmdline", func(p *verify.LoadedPatch) { p.SHA256 = digest["cmdline"] }, show)), []string{"cmdline"}, []string{"already-loaded lp_cmdline"}},
		{"loaded already, by its build id", patches(there("lp_hand", func(p *verify.LoadedPatch) { p.BuildID = id["hand"] }, show)), []string{"hand", "all"},
			[]string{"already-loaded lp_hand", "states-incompatible lp_all", "disables-loaded lp_all: lp_hand"}},
		{"another of its name, by its digest", patches(there("lp_cmdline", func(p *verify.LoadedPatch) { p.SHA256, p.BuildID = digest["hand"], id["cmdline"] }, show)), []string{"cmdline"}, []string{"same-module lp_cmdline: from another file"}},
		{"another of its name, by its build id", patches(there("lp_cmdline", func(p *verify.LoadedPatch) { p.BuildID = id["hand"] }, show)), []string{"cmdline"}, []string{"same-module lp_cmdline: with the build id " + id["hand"]}},
		{"perhaps another of its name", patches(there("lp_cmdline", nil, show)), []string{"cmdline"}, []string{"same-module lp_cmdline: nothing shows that it is this one"}},
		{"its name, disabled", patches(there("lp_cmdline", state(verify.LoadedDisabled))), []string{"cmdline"}, []string{"in-memory lp_cmdline: disabled, and still in memory"}},
		{"its name, disabled and held", patches(there("lp_cmdline", func(p *verify.LoadedPatch) { p.State, p.Held = verify.LoadedDisabled, true })), []string{"cmdline"}, []string{"same-module lp_cmdline: something holds its module in memory"}},
		{"replaced, and once more", patches(there("lp_hand", func(p *verify.LoadedPatch) { p.File, p.BuildID = known, id["hand"] }, show)), []string{"all", "hand"},
			[]string{"in-memory lp_hand", "overlap lp_all, lp_hand", "disables-loaded lp_all: lp_hand"}},
		{"a module of its name", verify.Loaded{Modules: []string{"loop", "lp_cmdline"}}, []string{"cmdline"}, []string{"same-module lp_cmdline: is loaded that is no live patch"}},
		{"its module is not there", verify.Loaded{Modules: []string{"loop"}}, []string{"hand"}, []string{"object-not-loaded lp_hand: changed when they are: pktgen"}},
		{"its module is there", verify.Loaded{Modules: []string{"pktgen"}}, []string{"hand"}, nil},
	}
}

// TestAfter: what is loaded counts.
func TestAfter(t *testing.T) {
	k := kerneltest.Open(t)
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	reports, digest, id := map[string]*verify.Report{}, map[string]string{}, map[string]string{}
	for name, data := range strangers(t, k) {
		r, err := v.Check(data)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		reports[name], digest[name], id[name] = r, hex.EncodeToString(sum[:]), r.Module.BuildID
	}
	for _, c := range loadedCases(digest, id) {
		t.Run(c.name, func(t *testing.T) {
			v.Locate(&c.loaded)
			var list []*verify.Report
			for _, name := range c.order {
				list = append(list, reports[name])
			}
			found := verify.After(&c.loaded, list)
			if len(found) != len(c.want) {
				t.Errorf("%d findings, want %d: %v", len(found), len(c.want), found)
			}
			for _, want := range c.want {
				head, text, _ := strings.Cut(want, ": ")
				code, where, _ := strings.Cut(head, " ")
				if !slices.ContainsFunc(found, func(f verify.Finding) bool {
					return f.Code == code && f.Severity == verify.SeverityOf(code) && strings.HasPrefix(f.Where, where) && strings.Contains(f.What, text)
				}) {
					t.Errorf("%v, want %s", found, want)
				}
			}
		})
	}
}

// TestLocate: a function that is loaded under another of its names is the same.
func TestLocate(t *testing.T) {
	k := kerneltest.Open(t)
	v, err := verify.New(k)
	if err != nil {
		t.Fatal(err)
	}
	data, facts := good(t, k), factsOf(t, k)
	var name, twin string
	x := mutant{change: func(m *mod) { name = m.aliased(); m.oldName(name) }}
	r, err := v.Check(x.apply(t, k, data, facts))
	if err != nil {
		t.Fatal(err)
	}
	old := r.Module.Objects[0].Funcs[0].Old
	if old == nil || len(old.Twins) == 0 {
		t.Fatalf("%s has no other name: %+v", name, old)
	}
	twin = old.Twins[0]
	l := patches(there("other", func(p *verify.LoadedPatch) { p.Path = "/root/x.ko" }, twin, "no_such_function"))
	l.Patches[0].Objects = append(l.Patches[0].Objects, verify.Object{Name: "pktgen", Funcs: []verify.Func{{OldName: "pgctrl_write", Sympos: 1}}}, verify.Object{Name: "no_such_module", Funcs: []verify.Func{{OldName: "f", Sympos: 1}}})
	if found := verify.After(&l, []*verify.Report{r}); len(found) > 0 {
		t.Errorf("by names alone: %v", found)
	}
	v.Locate(&l)
	if o := l.Patches[0].Objects; o[0].Funcs[0].Old == nil || o[0].Funcs[1].Old != nil || o[1].Funcs[0].Old == nil || o[2].Funcs[0].Old != nil {
		t.Errorf("located %+v", o)
	}
	if found := verify.After(&l, []*verify.Report{r}); len(found) != 1 || found[0].Code != verify.CodeFunctions || !strings.Contains(found[0].What, "vmlinux:"+twin) {
		t.Errorf("%s, which is %s: %v", name, twin, found)
	}
}
