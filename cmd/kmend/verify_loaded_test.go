// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kmend/internal/host"
	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/vm/vmtest"
)

// statusFile is an answer of kmend status --json on another machine.
func statusFile(t *testing.T, id string, patches ...host.Patch) string {
	t.Helper()
	data, err := json.Marshal(host.Status{Version: 1, Release: "6.1.0", KernelID: id, Patches: append([]host.Patch{}, patches...)})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "status.json", data)
}

// TestVerifyLoadedFrom: modules are held against what another machine has loaded.
func TestVerifyLoadedFrom(t *testing.T) {
	k := kerneltest.Open(t)
	dir := vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules")
	path, all := filepath.Join(dir, "lp_cmdline.ko"), filepath.Join(dir, "lp_replaces.ko")
	show := host.Patch{Name: "lp_other", State: host.Enabled, Users: 1, Path: "/root/other\x1b.ko", SHA256: strings.Repeat("0", 64), Objects: []host.Object{{Name: "vmlinux", Patched: true,
		Functions: []host.Function{{Name: "cmdline_proc_show", Sympos: 1, Live: true}, {Name: "version_proc_show", Sympos: 1, Live: true}}}}}
	name := func(name string) host.Patch { p := show; p.Name, p.Path = name, ""; return p }
	moving := show
	moving.State, moving.Transition = host.Patching, &host.Transition{Patching: true, Waiting: 1, Tasks: []host.Task{{PID: 7, Comm: "cat", Function: "vmlinux:pipe_read"}}}
	some := statusFile(t, k.BuildID, show)
	fifo := filepath.Join(t.TempDir(), "fifo.json")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		words []string
	}{
		{"nothing", []string{"--loaded-from", statusFile(t, k.BuildID), path}, exitDone, []string{"no live patch is loaded, by ", "lp_cmdline: no objection"}},
		{"overlap", []string{"--loaded-from", some, path}, exitDone, []string{"loaded already, by ", "lp_other: enabled, 2 functions, from /root/other^[.ko\n", "loaded after that:\nwarning: lp_other, lp_cmdline: both replace vmlinux:cmdline_proc_show", "[overlap]"}},
		{"replace", []string{"--loaded-from", some, all}, exitDone, []string{"then run without a fix: vmlinux:version_proc_show", "[fix-dropped]", "[disables-loaded]", "[states-unknown]"}},
		{"two", []string{"--loaded-from", some, path, all}, exitDone, []string{"loaded after that, in this order:", "[overlap]", "[fix-dropped]", "2 modules: no objection"}},
		{"in transition", []string{"--loaded-from", statusFile(t, k.BuildID, moving), path}, exitDone, []string{"lp_other: patching", "warning: lp_other: it is in transition", "it waits for cat (pid 7) in vmlinux:pipe_read", "[in-transition]"}},
		{"name taken", []string{"--loaded-from", statusFile(t, k.BuildID, name("lp_cmdline")), path}, exitRefused, []string{"objection: lp_cmdline: ", "[same-module]", "1 objection"}},
		{"another build", []string{"--loaded-from", statusFile(t, "00112233", show), path}, exitRefused, []string{"status.json: refused (other-kernel-build)", k.BuildID, "00112233"}},
		{"no answer", []string{"--loaded-from", path, path}, exitFailed, []string{"lp_cmdline.ko: read what is loaded: ", "kmend status --json"}},
		{"pipe", []string{"--loaded-from", fifo, path}, exitFailed, []string{"is no file"}},
		{"missing", []string{"--loaded-from", "nothing.json", path}, exitFailed, []string{"nothing.json"}},
		{"both", []string{"--loaded", "--loaded-from", some, path}, exitUsage, []string{"loaded loaded-from"}},
		{"contradiction", []string{"--loaded=false", "--loaded-from", some, path}, exitUsage, []string{"loaded loaded-from"}},
		{"left out", []string{"--loaded=false", path}, exitDone, []string{"lp_cmdline: no objection"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := kmend(t, append([]string{"verify", "-k", k.Name}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, w := range c.words {
				if !strings.Contains(out+errs, w) {
					t.Errorf("the answer has no %q", w)
				}
			}
		})
	}

	if got := complete(t, "verify", "--loaded-from", ""); !slices.Equal(got, []string{"json"}) {
		t.Errorf("--loaded-from completes to %q", got)
	}
	in, err := os.Open(some)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := self(t, "verify", "--json", "-k", k.Name, "--loaded-from", "-", path)
	cmd.Stdin = in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var answer verifyAnswer
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	if l := answer.Loaded; l == nil || l.From != "-" || l.KernelID != k.BuildID || l.Release != "6.1.0" || len(l.Patches) != 1 || l.Patches[0].Name != "lp_other" || len(answer.Together) != 1 {
		t.Errorf("loaded %+v, together %+v", l, answer.Together)
	}
}

// TestVerifyWithoutTheKernel: on a machine that runs another kernel nothing is
// looked at, unless it is asked for: that is refused.
func TestVerifyWithoutTheKernel(t *testing.T) {
	k := kerneltest.Open(t)
	if id, err := kernel.RunningBuildID(); err == nil && id == k.BuildID {
		t.Skip("this machine runs the test kernel; TestHostVerifyLoaded is about that")
	}
	path := filepath.Join(vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules"), "lp_cmdline.ko")
	code, out, _ := kmend(t, "verify", "--json", "-k", k.Name, path)
	if code != exitDone || !strings.Contains(out, `"loaded": null`) {
		t.Errorf("exit code %d", code)
	}
	if _, out, _ := kmend(t, "verify", "-k", k.Name, path); strings.Contains(out, "loaded") && strings.Contains(out, "this machine") {
		t.Error("it speaks of what is loaded here")
	}
	if code, _, errs := kmend(t, "verify", "-k", k.Name, "--loaded", path); code != exitRefused || !strings.Contains(errs, "refused (") {
		t.Errorf("--loaded: exit code %d, %s", code, errs)
	}
}
