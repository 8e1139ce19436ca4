// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/host"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// hosted is a guest in which kmend is a command, and files of a test.
type hosted struct {
	*session
	k *kernel.Kernel
}

// bootHost boots with files in /root/kmend, which may also be named by where
// they are to be.
func bootHost(t *testing.T, k *kernel.Kernel, change func(*vm.Machine), files ...string) *hosted {
	t.Helper()
	vmtest.NeedQEMU(t)
	machine, err := vm.ForKernel(k, false)
	if err != nil {
		t.Fatal(err)
	}
	machine.Agent, machine.Shell = vmtest.Kmend(t), true
	for _, f := range files {
		machine.Files = append(machine.Files, vm.File{Host: f, Guest: "/root/kmend/" + filepath.Base(f)})
	}
	if change != nil {
		change(&machine)
	}
	g, err := vm.Boot(t.Context(), machine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	h := &hosted{session: &session{t: t, g: g}, k: k}
	h.shell("ln -s /init /bin/kmend; chmod 755 /") // as on a host; the initramfs has 1777
	return h
}

// run is a command that must exit with a code, and say words.
func (h *hosted) run(code int, command string, words ...string) string {
	h.t.Helper()
	r, err := h.g.Shell(h.t.Context(), 2*time.Minute, command)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Logf("$ %s\n%s(exit %d, %v)", command, r.Output, r.Exit, r.Elapsed.Round(time.Millisecond))
	if r.Exit != code {
		h.t.Errorf("%s: exit %d, want %d", command, r.Exit, code)
	}
	h.want(command, r.Output, words...)
	return r.Output
}

// status is kmend's answer about the live patches of the guest, by name.
func (h *hosted) status() map[string]host.Patch {
	h.t.Helper()
	var s host.Status
	out := h.run(0, "kmend status --json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		h.t.Fatalf("%v in %s", err, out)
	}
	if s.Version != 1 || s.KernelID != h.k.BuildID {
		h.t.Errorf("status of kernel %s", s.KernelID)
	}
	patches := map[string]host.Patch{}
	for _, p := range s.Patches {
		patches[p.Name] = p
	}
	return patches
}

// otherBuild is a copy of a module that says it is for another build of the same
// kernel.
func otherBuild(t *testing.T, k *kernel.Kernel, module string) string {
	t.Helper()
	data, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	id := []byte("kmend.build_id=" + k.BuildID)
	if bytes.Count(data, id) != 1 {
		t.Fatal("the module does not say what it was built for")
	}
	other := filepath.Join(t.TempDir(), "other-build.ko")
	changed := bytes.Replace(data, id, []byte("kmend.build_id="+strings.Repeat("0", len(k.BuildID))), 1)
	if err := os.WriteFile(other, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	return other
}

const cmdlineNow = "cat /proc/cmdline"

// TestHostLoad is the life of live patches on a host: what is loaded, refused,
// shown, stacked, installed, and gone again.
func TestHostLoad(t *testing.T) {
	k := kerneltest.Open(t)
	one, _ := buildFix(t, k, "one", newline)
	two, _ := buildFix(t, k, "two", sub("fs/proc/cmdline.c", "\tseq_putc(m, '\\n');", "\tseq_puts(m, \" second\\n\");"))
	modules := vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules")
	foreign := filepath.Join(modules, "lp_cmdline.ko")
	all := cumulative(t, k)
	loop, err := k.Module("loop")
	if err != nil {
		t.Fatal(err)
	}
	h := bootHost(t, k, func(m *vm.Machine) {
		m.Modules = append(m.Modules, vm.Module{Name: "loop", Path: loop.Path}, vm.Module{Name: "lp_replaces", Path: filepath.Join(modules, "lp_replaces.ko")})
	}, one, two, all, foreign, otherBuild(t, k, one))

	h.run(exitDone, "kmend list", `no live patch is loaded`)
	h.run(exitRefused, "kmend load /root/kmend/other-build.ko", `refused \(other-kernel-build\)`, k.BuildID)
	h.run(exitRefused, "kmend load /root/kmend/lp_cmdline.ko", `refused \(kernel-unknown\)`)
	h.run(exitRefused, "cp /root/kmend/livepatch-one.ko /tmp/x.ko; chmod 1777 /tmp; kmend load /tmp/x.ko", `refused \(untrusted-path\): /tmp can be written by others`)
	h.run(exitRefused, "cp /root/kmend/livepatch-one.ko /root/w.ko; chmod 666 /root/w.ko; kmend load /root/w.ko", `refused \(untrusted-path\): /root/w.ko can be written`)
	h.run(exitRefused, "ln -s kmend/livepatch-one.ko /root/l.ko; kmend load /root/l.ko", `it is a symbolic link`)
	h.run(exitRefused, "kmend load /bin/busybox", `not-a-livepatch`)
	h.run(exitFailed, "chmod 755 /tmp; cp /root/kmend/livepatch-one.ko /tmp; su -s /bin/sh nobody -c 'kmend load /tmp/livepatch-one.ko'", `root's rights`)
	if s := h.status(); len(s) != 0 {
		t.Errorf("after refusals: %v", s)
	}

	h.run(exitDone, "kmend list --watch --interval 100ms > /tmp/w & p=$!; until grep -q loaded /tmp/w; do sleep 0.1; done; kmend load /root/kmend/livepatch-one.ko; until grep -q enabled /tmp/w; do sleep 0.1; done; kill -INT $p; wait $p; echo code $?; cat /tmp/w",
		`^livepatch_one: loaded, transition`, `^code 0`, `^20\d\d-.*\nno live patch is loaded\n(.*\n)*20\d\d-.*\nNAME .*\nlivepatch_one +enabled +1 `)
	h.want("cmdline", h.shell(cmdlineNow), ` kmend$`)
	h.run(exitDone, "kmend load /root/kmend/livepatch-one.ko", `^livepatch_one: is loaded already`)
	h.run(exitRefused, "cp /root/kmend/livepatch-two.ko /root/b.ko; sed -i s/livepatch_two/livepatch_one/g /root/b.ko; kmend load /root/b.ko", `refused \(name-taken\)`)
	s := h.status()["livepatch_one"]
	f := host.Function{Name: "cmdline_proc_show", Sympos: 1, Live: true}
	if s.State != host.Enabled || len(s.Objects) != 1 || s.Objects[0].Name != "vmlinux" || !slices.Equal(s.Objects[0].Functions, []host.Function{f}) ||
		s.Path != "/root/kmend/livepatch-one.ko" || s.SinceFrom != "load" || s.Transition != nil || !strings.Contains(s.Taint, "K") {
		t.Errorf("%+v", s)
	}

	h.run(exitDone, "su -s /bin/sh nobody -c 'kmend status'", `^livepatch_one: enabled`, `^  from  /root/kmend/livepatch-one.ko`, `^  vmlinux:cmdline_proc_show: live$`)
	h.atDesk(exitDone, []string{two}, `^warning: livepatch_one, livepatch_two: both replace vmlinux:cmdline_proc_show: .* livepatch_one \(loaded from /root/kmend/livepatch-one\.ko\) is not called; .*\[overlap\]`, `^livepatch_two: no objection`)
	h.atDesk(exitDone, []string{one}, `^note: livepatch_one: it is loaded already.*\[already-loaded\]`)
	h.run(exitDone, "kmend load /root/kmend/livepatch-two.ko", `^livepatch_two: loaded`, `^warning: overlap: livepatch_one, livepatch_two: both replace vmlinux:cmdline_proc_show`)
	h.want("cmdline", h.shell(cmdlineNow), ` second$`)
	h.run(exitDone, "kmend list", `^livepatch_one +enabled +0 of 1 .*\nlivepatch_two +enabled +1 `)
	if f := h.status()["livepatch_one"].Objects[0].Functions[0]; f.Live || f.CoveredBy != "livepatch_two" {
		t.Errorf("covered: %+v", f)
	}
	h.run(exitDone, "kmend unload livepatch-two", `^livepatch_two: unloaded`)
	h.want("cmdline", h.shell(cmdlineNow), ` kmend$`)
	h.run(exitDone, "kmend unload livepatch_one.ko; kmend unload livepatch_one", `unloaded`, `is not loaded`)
	if out := h.shell(cmdlineNow); strings.Contains(out, "kmend") {
		t.Errorf("after unload: %s", out)
	}
	if err := h.g.Load(t.Context(), "loop", ""); err != nil {
		t.Fatal(err)
	}
	h.run(exitRefused, "kmend unload loop", `is no live patch`)

	h.installed()
	h.replaced(all)
	h.quiet()
	if err := h.g.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}

// installed: what is installed for this build of the kernel is loaded, and what
// is for another is not.
func (h *hosted) installed() {
	h.t.Helper()
	h.run(exitDone, "kmend install /root/kmend/livepatch-two.ko /root/kmend/other-build.ko", `^livepatch_two: installed`, `^livepatch_one: installed`, `there is no systemctl`)
	h.run(exitDone, "kmend list --installed", `^livepatch_two .*for this kernel`, `^livepatch_one .* 000000000000 `)
	h.run(exitDone, "kmend load --installed", `^livepatch_two: loaded`)
	if s := h.status(); len(s) != 1 || s["livepatch_two"].Path != "/var/lib/kmend/"+h.k.BuildID+"/livepatch_two.ko" {
		h.t.Errorf("%+v", s)
	}
	h.run(exitDone, "kmend load --installed", `is loaded already`)
	h.run(exitDone, "kmend unload livepatch_two")
	h.run(exitDone, "echo '{' > /var/lib/kmend/"+h.k.BuildID+"/state.json; kmend load --installed", `state.json cannot be used`, `livepatch_two: loaded`)
	h.run(exitDone, "kmend uninstall livepatch_two livepatch_one", `livepatch_two: uninstalled`, `it is loaded and stays so`, `livepatch_one: uninstalled`)
	h.run(exitDone, "kmend unload livepatch_two; kmend load --installed", `nothing is installed`)
}

// replaced: another tool's live patch takes the place of all before it. What it
// replaced is disabled, and can be loaded again, on top of it, until one of
// kmend's replaces both.
func (h *hosted) replaced(all string) {
	h.t.Helper()
	h.run(exitDone, "kmend load /root/kmend/livepatch-one.ko")
	if err := h.g.Load(h.t.Context(), "lp_replaces", ""); err != nil {
		h.t.Fatal(err)
	}
	h.session.transition("lp_replaces")
	h.shell("sleep 1")
	h.run(exitDone, "kmend list", `^livepatch_one +disabled +0 .*/livepatch-one.ko`, `^lp_replaces +enabled +1 .* or before +-`)
	h.run(exitDone, "kmend load /root/kmend/livepatch-one.ko", `^livepatch_one: loaded`)
	h.run(exitDone, "kmend list", `^lp_replaces +enabled +0 of 1 .*\nlivepatch_one +enabled +1 `)
	h.beside(all)
	h.run(exitDone, "kmend unload lp_replaces livepatch_one livepatch_all", `^lp_replaces: unloaded`, `^livepatch_one: unloaded`, `^livepatch_all: unloaded`)
}
