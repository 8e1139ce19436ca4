// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wantCode fails unless err is a refusal with this code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Code != code || r.Why == "" || r.Advice == "" {
		t.Errorf("got %v, want a refusal with the code %s", err, code)
	}
}

func states(t *testing.T, h *Host) map[string]string {
	t.Helper()
	s, err := h.Status()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range s.Patches {
		out[p.Name] = p.State
	}
	return out
}

func TestLoadAndUnload(t *testing.T) {
	h, _ := newFake(t)
	file := fix("livepatch_a").build(t, h)
	for _, want := range []string{DidLoad, WasLoaded} {
		o, err := h.Load(t.Context(), file, Options{})
		if err != nil || o.Outcome != want || o.Checked != ByModule {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	s, err := h.Status()
	if err != nil || len(s.Patches) != 1 || s.KernelID != testBuild {
		t.Fatalf("%+v, %v", s, err)
	}
	if p := s.Patches[0]; p.State != Enabled || p.Path != file || p.SinceFrom != "load" || len(p.SHA256) != 64 || !p.Objects[0].Functions[0].Live || len(p.Notes) != 0 {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{DidUnload, WasAbsent} {
		o, err := h.Unload(t.Context(), NameOf("livepatch-a.ko"), Options{})
		if err != nil || o.Outcome != want {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	if left, _ := os.ReadDir(h.path(loadedDir)); len(left) != 0 {
		t.Errorf("records left: %v", left)
	}
}

// What is loaded is what was checked, though the file is another one by then.
func TestModuleReplacedMeanwhile(t *testing.T) {
	h, f := newFake(t)
	file := fix("livepatch_a").build(t, h)
	m, err := h.ReadModule(file)
	if err != nil {
		t.Fatal(err)
	}
	evil := moduleText{name: "livepatch_evil", kernelID: testBuild}.build(t, h)
	if err := os.Rename(h.path(evil), h.path(file)); err != nil {
		t.Fatal(err)
	}
	if out, err := h.loadModules(t.Context(), []*Module{m}, Options{}); err != nil || out[0].Name != "livepatch_a" || f.has("sys/module/livepatch_evil") || !f.has("sys/module/livepatch_a") {
		t.Errorf("%v, %v", out, err)
	}
}

func TestRefusedModules(t *testing.T) {
	h, f := newFake(t)
	for _, c := range []struct {
		name   string
		module moduleText
		code   string
	}{
		{"another build", moduleText{name: "a", kernelID: otherKernel}, CodeOtherBuild},
		{"no build, unknown kernel", moduleText{name: "a"}, CodeUnknown},
		{"another release", moduleText{name: "a", kernelID: testBuild, release: "6.1.0-other"}, CodeRelease},
		{"a module is missing", moduleText{name: "a", kernelID: testBuild, depends: "b,c-d"}, CodeNeeds},
		{"no livepatch", moduleText{name: "a", kernelID: testBuild, noLivepatch: true}, CodeNotModule},
		{"a name that is a path", moduleText{name: "../a", kernelID: testBuild, salt: "x"}, CodeNotModule},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.Load(t.Context(), c.module.build(t, h), Options{})
			wantCode(t, err, c.code)
		})
	}
	f.insert("b", "", "")
	f.insert("c_d", "", "")
	if o, err := h.Load(t.Context(), moduleText{name: "a", kernelID: testBuild, depends: "b,c-d"}.build(t, h), Options{}); err != nil {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := h.Unload(t.Context(), "a", Options{}); err != nil {
		t.Error(err)
	}
	file := fix("livepatch_a").build(t, h)
	f.set("sys/module/module/parameters/sig_enforce", "Y\n")
	_, err := h.Load(t.Context(), file, Options{})
	wantCode(t, err, CodeUnsigned)
	f.set("sys/module/module/parameters/sig_enforce", "N\n")
	f.set("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
	_, err = h.Load(t.Context(), file, Options{})
	wantCode(t, err, CodeUnsigned)
	f.set("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
	f.set("proc/sys/kernel/ftrace_enabled", "0\n")
	_, err = h.Load(t.Context(), file, Options{})
	wantCode(t, err, CodeFtraceOff)
	f.set("proc/sys/kernel/ftrace_enabled", "1\n")
	if s := states(t, h); len(s) != 0 {
		t.Errorf("loaded: %v", s)
	}

	// Nothing is loaded if one of several is refused.
	_, err = h.LoadAll(t.Context(), []string{file, moduleText{name: "b", kernelID: otherKernel}.build(t, h)}, Options{})
	wantCode(t, err, CodeOtherBuild)
	if s := states(t, h); len(s) != 0 {
		t.Errorf("loaded: %v", s)
	}
}

func TestNameTaken(t *testing.T) {
	h, f := newFake(t)
	one := fix("livepatch_a").build(t, h)
	two := moduleText{name: "livepatch_a", kernelID: testBuild, salt: "2"}.build(t, h)
	if _, err := h.Load(t.Context(), one, Options{}); err != nil {
		t.Fatal(err)
	}
	_, err := h.Load(t.Context(), two, Options{})
	wantCode(t, err, CodeNameTaken)
	// Without a record the build id decides, as of a module loaded by hand.
	if err := os.RemoveAll(h.path(loadedDir)); err != nil {
		t.Fatal(err)
	}
	_, err = h.Load(t.Context(), two, Options{})
	wantCode(t, err, CodeNameTaken)
	if o, err := h.Load(t.Context(), one, Options{}); err != nil || o.Outcome != WasLoaded {
		t.Errorf("%+v, %v", o, err)
	}
	// And with neither it is not guessed.
	if err := os.RemoveAll(f.path("sys/module/livepatch_a/notes")); err != nil {
		t.Fatal(err)
	}
	_, err = h.Load(t.Context(), one, Options{})
	wantCode(t, err, CodeNameTaken)
	// A module that is no live patch is never touched.
	f.insert("loop", "", "")
	_, err = h.Load(t.Context(), fix("loop").build(t, h), Options{})
	wantCode(t, err, CodeNameTaken)
	_, err = h.Unload(t.Context(), "loop", Options{})
	wantCode(t, err, CodeNotModule)
	if !f.has("sys/module/loop") {
		t.Error("the module is gone")
	}
}

// The record of another boot, or of a module that is not there, says nothing.
func TestStaleRecords(t *testing.T) {
	h, f := newFake(t)
	file := fix("livepatch_a").build(t, h)
	if _, err := h.Load(t.Context(), file, Options{}); err != nil {
		t.Fatal(err)
	}
	f.set("proc/sys/kernel/random/boot_id", "boot-2\n")
	if s, err := h.Status("livepatch_a"); err != nil || s.Patches[0].Path != "" || s.Patches[0].SinceFrom != "sysfs" {
		t.Errorf("%+v, %v", s, err)
	}
	f.set("run/kmend/loaded/livepatch_a.json", "{ damaged")
	s, err := h.Status("livepatch_a")
	if err != nil || len(s.Patches[0].Notes) != 1 || !strings.Contains(s.Patches[0].Notes[0], "is damaged: remove it") {
		t.Errorf("%+v, %v", s, err)
	}
	if o, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil || o.Outcome != DidUnload {
		t.Errorf("%+v, %v", o, err)
	}
	if f.has("run/kmend/loaded/livepatch_a.json") {
		t.Error("the damaged record is still there")
	}
}

// Where the record should be there is something that is no file: it is not read,
// which of a pipe would not end, and does not keep a live patch in.
func TestRecordIsNoFile(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
		"link": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"dir":  func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			h, f := newFake(t)
			file := fix("livepatch_a").build(t, h)
			loadNow(t, h, file)
			record := f.path("run/kmend/loaded/livepatch_a.json")
			if err := errors.Join(os.Remove(record), make(record)); err != nil {
				t.Fatal(err)
			}
			s, err := h.Status("livepatch_a")
			if err != nil || len(s.Patches[0].Notes) != 1 || !strings.Contains(s.Patches[0].Notes[0], "is damaged: remove it") {
				t.Errorf("%+v, %v", s, err)
			}
			if o, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil || o.Outcome != DidUnload || f.has("run/kmend/loaded/livepatch_a.json") {
				t.Errorf("%+v, %v", o, err)
			}
			if name != "dir" {
				return
			}
			if err := os.MkdirAll(record, 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Load(t.Context(), file, Options{}); err == nil || !strings.Contains(err.Error(), "livepatch_a.json: it is a directory: remove it") || f.has("sys/module/livepatch_a") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestStallRollsBack(t *testing.T) {
	h, f := newFake(t)
	f.stick("1")
	f.task(7, "cat", "0", "[<0>] do_it+0x8a/0xd0\n[<0>] vfs_read+0x1/0x2\n", false)
	f.task(8, "kworker/0:1", "0", "[<0>] worker_thread+0x8a/0xd0\n", true)
	f.task(9, "done", "1", "", false)
	var seen []Transition
	_, err := h.Load(t.Context(), fix("livepatch_a").build(t, h), Options{Timeout: 5 * time.Second, Progress: func(tr Transition) { seen = append(seen, tr) }})
	var stall *StallError
	if !errors.As(err, &stall) || !stall.RolledBack || stall.Waiting != 2 || stall.Total != 3 || !stall.Patching {
		t.Fatalf("%v", err)
	}
	if a, b := stall.Tasks[0], stall.Tasks[1]; a.Function != "vmlinux:do_it" || a.Kthread || !b.Kthread || b.Function != "" {
		t.Errorf("%+v", stall.Tasks)
	}
	for _, w := range []string{"after 5s", "disabled again and unloaded", "cat (pid 7): it is in the old code of vmlinux:do_it", "kernel thread", "vfs_read+0x1/0x2"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in %v", w, err)
		}
	}
	if len(seen) < 3 || seen[0].Waiting != 2 || seen[0].Elapsed < time.Second {
		t.Errorf("progress: %+v", seen)
	}
	if s := states(t, h); len(s) != 0 || f.has("sys/module/livepatch_a") || f.has("run/kmend/loaded/livepatch_a.json") {
		t.Errorf("left: %v", s)
	}
}

func TestStallOfTheWayOut(t *testing.T) {
	h, f := newFake(t)
	if _, err := h.Load(t.Context(), fix("livepatch_a").build(t, h), Options{}); err != nil {
		t.Fatal(err)
	}
	f.stick("0")
	f.task(7, "cat", "1", "[<0>] do_it+0x8a/0xd0 [livepatch_a]\n", false)
	_, err := h.Unload(t.Context(), "livepatch_a", Options{Timeout: time.Second})
	var stall *StallError
	if !errors.As(err, &stall) || !stall.RolledBack || stall.Patching || stall.Tasks[0].Function != "vmlinux:do_it" || !strings.Contains(err.Error(), "enabled again") {
		t.Fatalf("%v", err)
	}
	if s := states(t, h); s["livepatch_a"] != Enabled {
		t.Errorf("%v", s)
	}
	// Who is not root is not told that nobody holds it up.
	f.set("sys/kernel/livepatch/livepatch_a/transition", "1\n")
	f.user = true
	if s, err := h.Status(); err != nil || !s.Patches[0].Transition.Partial || strings.Contains(strings.Join(s.Patches[0].Transition.Explain(), ""), "no thread") {
		t.Errorf("%+v, %v", s, err)
	}
	f.user = false
	f.set("sys/kernel/livepatch/livepatch_a/transition", "0\n")
	o, err := h.Unload(t.Context(), "livepatch_a", Options{Timeout: time.Second, Force: true})
	if err != nil || o.Outcome != DidUnload {
		t.Errorf("forced: %+v, %v", o, err)
	}
}

func TestForce(t *testing.T) {
	h, f := newFake(t)
	f.stick("1")
	var said []string
	h.Notice = func(s string) { said = append(said, s) }
	o, err := h.Load(t.Context(), fix("livepatch_a").build(t, h), Options{Timeout: time.Second, Force: true})
	if err != nil || !o.Forced || o.Outcome != DidLoad || !strings.Contains(strings.Join(said, "\n"), ForceWarning) {
		t.Fatalf("%+v, %v, %q", o, err, said)
	}
	if s, err := h.Status(); err != nil || !s.Patches[0].Forced {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestInterruptRollsBack(t *testing.T) {
	for _, stuck := range []string{"1", ""} {
		h, f := newFake(t)
		f.stick("1")
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		f.tick = func() {
			if n++; n == 10 {
				cancel()
			}
			if n > 10 {
				f.stick(stuck)
			}
		}
		_, err := h.Load(ctx, fix("livepatch_a").build(t, h), Options{})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "disabled again and unloaded") {
			t.Errorf("%v", err)
		}
		if s := states(t, h); len(s) != 0 || f.has("sys/module/livepatch_a") {
			t.Errorf("left: %v", s)
		}
	}
}

func TestPinned(t *testing.T) {
	h, f := newFake(t)
	file := fix("livepatch_a").build(t, h)
	if _, err := h.Load(t.Context(), file, Options{}); err != nil {
		t.Fatal(err)
	}
	f.busy = -1
	o, err := h.Unload(t.Context(), "livepatch_a", Options{})
	if err != nil || o.Outcome != DidDisable || len(o.Warnings) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	if s := states(t, h); s["livepatch_a"] != Disabled {
		t.Errorf("%v", s)
	}
	_, err = h.Load(t.Context(), file, Options{})
	wantCode(t, err, CodePinned)
	// What held it lets go: then it is removed and loaded afresh.
	f.busy = 0
	if o, err := h.Load(t.Context(), file, Options{}); err != nil || o.Outcome != DidLoad {
		t.Errorf("%+v, %v", o, err)
	}
}

// Another live patch in transition is waited for, within the time.
func TestOtherInTransition(t *testing.T) {
	h, f := newFake(t)
	if _, err := h.Load(t.Context(), fix("livepatch_a").build(t, h), Options{}); err != nil {
		t.Fatal(err)
	}
	f.set("sys/kernel/livepatch/livepatch_a/transition", "1\n")
	f.stick("1")
	b := fix("livepatch_b").build(t, h)
	_, err := h.Load(t.Context(), b, Options{Timeout: time.Second})
	wantCode(t, err, CodeTransition)
	f.stick("")
	if o, err := h.Load(t.Context(), b, Options{Timeout: time.Second}); err != nil || o.Outcome != DidLoad {
		t.Errorf("%+v, %v", o, err)
	}
	// Both replace do_it: the later one is live.
	s, err := h.Status()
	if err != nil || len(s.Patches) != 2 || s.Patches[0].Objects[0].Functions[0].CoveredBy != "livepatch_b" || s.Patches[0].Objects[0].Functions[0].Live || !s.Patches[1].Objects[0].Functions[0].Live {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestKernelRefuses(t *testing.T) {
	h, f := newFake(t)
	file := fix("livepatch_a").build(t, h)
	f.init, f.log = unix.EKEYREJECTED, []string{"Loading of module with unavailable key is rejected"}
	_, err := h.Load(t.Context(), file, Options{})
	if !errors.Is(err, unix.EKEYREJECTED) || !strings.Contains(err.Error(), "a key that the kernel does not trust") || !strings.Contains(err.Error(), "unavailable key is rejected") {
		t.Errorf("%v", err)
	}
	if f.has("run/kmend/loaded/livepatch_a.json") {
		t.Error("a record of what was not loaded")
	}
}

// A module that loads and does not become a live patch is taken out again.
func TestNeverEnabled(t *testing.T) {
	h, f := newFake(t)
	f.idle = true
	_, err := h.Load(t.Context(), fix("livepatch_a").build(t, h), Options{})
	if err == nil || !strings.Contains(err.Error(), "no enabled live patch of that name") || f.has("sys/module/livepatch_a") || f.has("run/kmend/loaded/livepatch_a.json") {
		t.Errorf("%v", err)
	}
}

func TestNotRoot(t *testing.T) {
	h, f := newFake(t)
	f.user = true
	for what, do := range map[string]func() error{
		"load":      func() error { _, err := h.Load(t.Context(), "/x", Options{}); return err },
		"unload":    func() error { _, err := h.Unload(t.Context(), "x", Options{}); return err },
		"install":   func() error { _, err := h.Install(t.Context(), []string{"/x"}); return err },
		"uninstall": func() error { _, err := h.Uninstall(t.Context(), "x", ""); return err },
		"boot":      func() error { _, err := h.LoadInstalled(t.Context(), Options{}); return err },
	} {
		if err := do(); !errors.As(err, new(*NotRootError)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if f.has("run/kmend") {
		t.Error("something was done")
	}
	if _, err := h.Status(); err != nil {
		t.Errorf("status: %v", err)
	}
}

func TestNoLivepatchSupport(t *testing.T) {
	h, f := newFake(t)
	if err := os.Remove(f.path("sys/kernel/livepatch")); err != nil {
		t.Fatal(err)
	}
	_, err := h.Status()
	wantCode(t, err, CodeNoLivepatch)
	_, err = h.Load(t.Context(), fix("livepatch_a").build(t, h), Options{})
	wantCode(t, err, CodeNoLivepatch)
}

// One kmend waits for the other, and says for whom.
func TestLock(t *testing.T) {
	h, _ := newFake(t)
	unlock, err := h.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h2, f2 := hostAt(h.Root)
	var said []string
	h2.Notice = func(s string) { said = append(said, s) }
	_, err = h2.lock(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another one (process ") || len(said) != 1 || !strings.Contains(said[0], filepath.Base(os.Args[0])) {
		t.Errorf("%v, %q", err, said)
	}
	f2.tick = unlock
	again, err := h2.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// The directory must be ours.
func TestForeignRunDir(t *testing.T) {
	h, f := newFake(t)
	if err := os.Symlink("/tmp", f.path("run/kmend")); err != nil {
		t.Fatal(err)
	}
	_, err := h.lock(t.Context())
	wantCode(t, err, CodePath)
}

// While its module's init runs, a patch is not enabled yet, and on its way in.
func TestStateWhileLoading(t *testing.T) {
	h, f := newFake(t)
	loadNow(t, h, fix("livepatch_a").build(t, h))
	for _, c := range []struct{ init, enabled, transition, want string }{
		{"coming", "0", "1", Patching}, {"live", "1", "1", Patching}, {"live", "1", "0", Enabled}, {"live", "0", "1", Unpatching}, {"live", "0", "0", Disabled},
	} {
		f.set("sys/module/livepatch_a/initstate", c.init+"\n")
		f.set("sys/kernel/livepatch/livepatch_a/enabled", c.enabled+"\n")
		f.set("sys/kernel/livepatch/livepatch_a/transition", c.transition+"\n")
		if got := states(t, h)["livepatch_a"]; got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestStateOrder(t *testing.T) {
	h, f := newFake(t)
	var want []string
	for _, name := range []string{"livepatch_z", "livepatch_a", "livepatch_m"} {
		if _, err := h.Load(t.Context(), fix(name).build(t, h), Options{}); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	f.insert("loop", "", "")
	s, err := h.Status()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range s.Patches {
		got = append(got, p.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
