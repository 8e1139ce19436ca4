// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/klp/klptest"
	"kmend/internal/verify"
	"kmend/internal/vm/vmtest"
)

// stacking is a fake that runs the test kernel, with livepatches in /root: a and
// b replace cmdline_proc_show, c replaces all and has version_proc_show, and
// lp_all, another tool's, replaces all, has cmdline_proc_show and a system state.
func stacking(t *testing.T) (*Host, *fake, *kernel.Kernel) {
	t.Helper()
	k := kerneltest.Open(t)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	h, f := newFake(t)
	f.runs(t, k)
	f.facts = facts
	cmdline := klptest.Patch{Object: "vmlinux", Funcs: []string{"cmdline_proc_show"},
		Source: klptest.Source{Path: "fs/proc/cmdline.c", Text: klptest.Text(t, k, "fs/proc/cmdline.c", `seq_putc(m, '\n')`, `seq_puts(m, " x\n")`)}}
	version := klptest.Patch{Object: "vmlinux", Funcs: []string{"version_proc_show"},
		Source: klptest.Source{Path: "fs/proc/version.c", Text: klptest.Text(t, k, "fs/proc/version.c", "seq_printf(m, ", `seq_puts(m, "x "); seq_printf(m, `)}}
	for name, patch := range map[string]klptest.Patch{"a": cmdline, "b": cmdline, "c": version} {
		spec := klptest.Spec(t, k, "livepatch_"+name, patch)
		spec.Replace = name == "c"
		data, _, err := klp.Write(spec, facts)
		if err != nil {
			t.Fatal(err)
		}
		f.set("root/"+name+".ko", string(data))
	}
	all, err := os.ReadFile(filepath.Join(vmtest.BuildModules(t, k, "../verify/testdata/modules"), "lp_all.ko"))
	if err != nil {
		t.Fatal(err)
	}
	f.set("root/all.ko", string(all))
	return h, f, k
}

// load loads a file of /root and wants words among the warnings and notices, and
// no word of none.
func load(t *testing.T, h *Host, name string, words []string, none ...string) *Outcome {
	t.Helper()
	var said []string
	h.Notice = func(text string) { said = append(said, text) }
	o, err := h.Load(t.Context(), "/root/"+name+".ko", Options{})
	if err != nil || o.Outcome != DidLoad {
		t.Fatalf("%s: %+v, %v", name, o, err)
	}
	text := "notices " + strings.Join(said, "\n") + "\nwarnings " + strings.Join(o.Warnings, "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: no %q in %s", name, w, text)
		}
	}
	for _, w := range none {
		if strings.Contains(text, w) {
			t.Errorf("%s: %q in %s", name, w, text)
		}
	}
	return o
}

// What a load does to what is loaded is said, and what the kernel would refuse
// is not tried.
func TestLoadBesideOthers(t *testing.T) {
	h, f, k := stacking(t)
	h.Kernels = func() ([]*kernel.Kernel, error) { return []*kernel.Kernel{k}, nil }
	load(t, h, "a", nil, "livepatch_a")
	load(t, h, "b", []string{"overlap: livepatch_a, livepatch_b: both replace vmlinux:cmdline_proc_show", "(loaded from /root/a.ko)"}, "states-unknown")
	load(t, h, "c", []string{
		"fix-dropped: livepatch_a, livepatch_c: loading livepatch_c disables livepatch_a (loaded from /root/a.ko), and these functions then run without a fix: vmlinux:cmdline_proc_show",
		"fix-dropped: livepatch_b, livepatch_c", "disables-loaded: livepatch_c"}, "states-unknown")
	if s := states(t, h); s["livepatch_a"] != Disabled || s["livepatch_b"] != Disabled || s["livepatch_c"] != Enabled {
		t.Errorf("%v", s)
	}
	load(t, h, "all", []string{"fix-dropped: livepatch_c, lp_all", "vmlinux:version_proc_show", "notices disables-loaded: lp_all"}, "livepatch_a")
	if o, err := h.Load(t.Context(), "/root/all.ko", Options{}); err != nil || o.Outcome != WasLoaded {
		t.Errorf("%+v, %v", o, err)
	}

	// lp_all has a system state, which is in its file: the kernel will not have c
	// in its place.
	_, err := h.Load(t.Context(), "/root/c.ko", Options{})
	wantCode(t, err, CodeObjections)
	if !strings.Contains(err.Error(), verify.CodeStates) || !strings.Contains(err.Error(), "system state 7") {
		t.Errorf("%v", err)
	}
	if s := states(t, h); s["lp_all"] != Enabled || s["livepatch_c"] != "" {
		t.Errorf("%v", s)
	}
	f.set("root/all.ko", f.get("root/all.ko")+"x")
	load(t, h, "c", []string{"states-unknown: lp_all", "/root/all.ko is another file by now"})
}

// Of a kernel that was not added, the types that it shows are enough; without
// them nothing is claimed.
func TestLoadBesideOthersOnAnUnknownKernel(t *testing.T) {
	h, f, k := stacking(t)
	load(t, h, "a", nil, "is not known")
	if o := load(t, h, "b", []string{"what it does to the live patches that are loaded is not known", "read the kernel's types"}); o.Checked != ByModule {
		t.Errorf("%+v", o)
	}
	if _, err := h.Unload(t.Context(), "livepatch_b", Options{}); err != nil {
		t.Fatal(err)
	}
	f.set("sys/kernel/btf/vmlinux", string(kerneltest.Image(t, k).BTFBytes()))
	load(t, h, "b", []string{"overlap: livepatch_a, livepatch_b: both replace vmlinux:cmdline_proc_show"}, "is not known")
	load(t, h, "c", []string{"fix-dropped: livepatch_a, livepatch_c", "fix-dropped: livepatch_b, livepatch_c"}, "states-unknown")
}

// The answer of a host, read on another machine.
func TestReadStatus(t *testing.T) {
	h, f := newFake(t)
	for _, name := range []string{"livepatch_a", "livepatch_b"} {
		if _, err := h.Load(t.Context(), fix(name).build(t, h), Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil {
		t.Fatal(err)
	}
	f.insert("livepatch_off", "OEK", "")
	f.set("sys/kernel/livepatch/livepatch_b/transition", "1\n")
	for pid := 11; pid < 16; pid++ {
		f.task(pid, "cat", "0", "[<0>] do_it+0x8a/0xd0\n", false)
	}
	s, err := h.Status()
	if err != nil {
		t.Fatal(err)
	}
	good, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadStatus(bytes.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	l := read.Loaded()
	if len(l.Patches) != 2 || l.Modules != nil {
		t.Fatalf("%+v", l)
	}
	b, off := l.Patches[0], l.Patches[1]
	if b.Name != "livepatch_b" || b.State != verify.LoadedPatching || len(b.SHA256) != 64 || len(b.BuildID) != 40 || b.Objects[0].Funcs[0].OldName != "do_it" || b.Objects[0].Funcs[0].Sympos != 1 || b.Objects[0].Named || b.File != nil || b.NotRead == "" {
		t.Errorf("%+v", b)
	}
	if want := "cat (pid 11) in vmlinux:do_it, cat (pid 12) in vmlinux:do_it, cat (pid 13) in vmlinux:do_it, 2 more"; b.Waits != want {
		t.Errorf("waits for %q", b.Waits)
	}
	if off.Name != "livepatch_off" || off.State != verify.LoadedDisabled || !off.Held {
		t.Errorf("%+v", off)
	}
	if err := read.OfKernel("x.json", "k", testBuild); err != nil {
		t.Error(err)
	}
	wantCode(t, read.OfKernel("x.json", "k", otherKernel), CodeOtherBuild)

	one, err := h.Status("livepatch_b")
	if err != nil {
		t.Fatal(err)
	}
	part, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	name, id := `"name":"livepatch_b"`, `"kernel_build_id":"`+testBuild+`"`
	for what, text := range map[string]string{
		"build id of a kernel":       `{"version":1,"error":{"exit":3,"kind":"refused","message":"no-livepatch"}}`,
		"version 2":                  strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"no list":                    `{"version":1,` + id + `}`,
		"asked for by name":          string(part),
		"unexpected end":             string(good[:len(good)/2]),
		"after top-level":            string(good) + string(good),
		"name, path or digest":       strings.Replace(string(good), name, `"name":"../b"`, 1),
		"its state is \"on\"":        strings.Replace(string(good), `"state":"patching"`, `"state":"on"`, 1),
		"twice":                      strings.Replace(string(good), `"name":"livepatch_off"`, name, 1),
		"at position -1":             strings.Replace(string(good), `"sympos":1`, `"sympos":-1`, 1),
		"\"gone\" is missing":        strings.Replace(string(good), `"sympos":1`, `"sympos":1,"covered_by":"gone"`, 1),
		"an object named \"a/b\"":    strings.Replace(string(good), `"name":"vmlinux"`, `"name":"a/b"`, 1),
		"more than 1000 live":        `{"version":1,` + id + `,"patches":[{}` + strings.Repeat(",{}", 1000) + `]}`,
		"more than 500 objects":      `{"version":1,` + id + `,"patches":[{` + name + `,"state":"enabled","objects":[{}` + strings.Repeat(",{}", 500) + `]}]}`,
		"more than 10000 functions":  `{"version":1,` + id + `,"patches":[{` + name + `,"state":"enabled","objects":[{"name":"vmlinux","functions":[{}` + strings.Repeat(",{}", 10000) + `]}]}]}`,
		"has more than 16 MB":        strings.Repeat(" ", MaxStatus+1),
		"cannot unmarshal":           strings.Replace(string(good), `"users":1`, `"users":"many"`, 1),
		"function named \"\" at pos": strings.Replace(string(good), `"name":"do_it"`, `"name":""`, 1),
	} {
		if _, err := ReadStatus(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "kmend status --json") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := ReadStatus(broken{}); err == nil || !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, os.ErrClosed }

// FuzzReadStatus: what is read is bounded, and the modules can be held against it.
func FuzzReadStatus(f *testing.F) {
	f.Add([]byte(`{"version":1,"release":"6","kernel_build_id":"` + testBuild + `","taint":"","patches":[{"name":"a","state":"patching","objects":[{"name":"vmlinux","patched":true,"functions":[{"name":"f","sympos":1,"live":true}]}],"since":null,"taint":"","users":1,"transition":{"name":"a","patching":true,"total":1,"waiting":2,"tasks":[{"pid":1,"comm":"cat"}],"since":null}}]}`))
	f.Add([]byte(`{"version":1,"kernel_build_id":"` + testBuild + `","patches":[{"name":"m","state":"disabled","users":1},{"name":"a","state":"enabled","objects":[{"name":"ext4","functions":[{"name":"f","covered_by":"m"}]}]}]}`))
	f.Add([]byte(`{"version":1,"error":{}}`))
	reports := []*verify.Report{{Module: &verify.Module{Name: "m", Replace: true, States: []verify.State{{ID: 1, Version: 1}}, Objects: []verify.Object{{Name: "vmlinux", Funcs: []verify.Func{{OldName: "f"}}}}}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadStatus(bytes.NewReader(data))
		if err != nil {
			return
		}
		l := s.Loaded()
		if len(l.Patches) != len(s.Patches) || len(l.Patches) > mostPatches || slices.ContainsFunc(l.Patches, func(p verify.LoadedPatch) bool { return plainName(p.Name) == "" || len(p.Objects) > mostObjects }) {
			t.Errorf("%d live patches of %d", len(l.Patches), len(s.Patches))
		}
		if n := len(verify.After(l, reports)); n > 3*500 {
			t.Errorf("%d findings", n)
		}
	})
}
