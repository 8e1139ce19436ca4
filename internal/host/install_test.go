// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kmend/packaging"
)

const testDir = installDir + "/" + testBuild

func install(t *testing.T, h *Host, files ...string) []*Outcome {
	t.Helper()
	out, err := h.Install(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func installedNames(t *testing.T, h *Host) (names []string) {
	t.Helper()
	all, err := h.Installed()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all.Builds {
		for _, m := range b.Modules {
			name := m.Name
			if m.Trouble != "" {
				name += ": " + m.Trouble
			}
			names = append(names, name)
		}
	}
	return names
}

func TestInstall(t *testing.T) {
	h, f := newFake(t)
	f.set("usr/bin/kmend", "")
	f.set("usr/bin/systemctl", "")
	if err := os.MkdirAll(f.path("run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, a := fix("livepatch_b").build(t, h), fix("livepatch_a").build(t, h)
	other := moduleText{name: "livepatch_c", kernelID: otherKernel, release: "7.0"}.build(t, h)
	for i, want := range [][]string{{DidInstall, DidInstall, DidInstall}, {WasInstalled, WasInstalled, WasInstalled}} {
		out := install(t, h, b, a, other)
		for j, o := range out {
			if o.Outcome != want[j] || len(o.Warnings) > 0 {
				t.Errorf("%d: %+v", i, o)
			}
		}
	}
	enable := "/usr/bin/systemctl enable --quiet kmend.service"
	if !slices.Equal(f.ran, []string{"/usr/bin/systemctl daemon-reload", enable, enable}) || f.get("etc/systemd/system/kmend.service") != strings.TrimSpace(packaging.Unit) {
		t.Errorf("ran %q", f.ran)
	}
	if got := installedNames(t, h); !slices.Equal(got, []string{"livepatch_b", "livepatch_a", "livepatch_c"}) {
		t.Errorf("%q", got)
	}
	// In the order of the installation, and nothing for another kernel.
	out, err := h.LoadInstalled(t.Context(), Options{})
	if err != nil || len(out) != 2 || out[0].Name != "livepatch_b" || out[1].Name != "livepatch_a" {
		t.Errorf("%v, %v", out, err)
	}
	// Another file of the name takes its place.
	if out := install(t, h, moduleText{name: "livepatch_b", kernelID: testBuild, salt: "2"}.build(t, h)); out[0].Outcome != DidUpdate {
		t.Errorf("%+v", out[0])
	}
	if got := installedNames(t, h); !slices.Equal(got, []string{"livepatch_b", "livepatch_a", "livepatch_c"}) {
		t.Errorf("%q", got)
	}
	// At boot it is not loaded over what is loaded; the others are not kept from it.
	out, err = h.LoadInstalled(t.Context(), Options{})
	wantCode(t, err, CodeNameTaken)
	if len(out) != 1 || out[0].Name != "livepatch_a" {
		t.Errorf("%v", out)
	}
	out, err = h.Uninstall(t.Context(), "livepatch_b", "")
	if err != nil || len(out) != 1 || out[0].Outcome != DidUninstall || len(out[0].Warnings) != 1 || f.has(testDir+"/livepatch_b.ko") {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := h.Uninstall(t.Context(), "livepatch_c", testBuild); err != nil || out[0].Outcome != NotInstalled {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := h.Uninstall(t.Context(), "livepatch_c", otherKernel); err != nil || out[0].Outcome != DidUninstall || f.has(installDir+"/"+otherKernel) || !f.has(testDir) {
		t.Errorf("%+v, %v", out, err)
	}
}

// A unit that is there is left alone; what is missing is said.
func TestUnit(t *testing.T) {
	h, f := newFake(t)
	file := fix("livepatch_a").build(t, h)
	out := install(t, h, file)
	if text := strings.Join(out[0].Warnings, "\n"); !strings.Contains(text, "/usr/bin/kmend") || !strings.Contains(text, "there is no systemctl") {
		t.Errorf("%q", out[0].Warnings)
	}
	f.set("usr/bin/systemctl", "")
	f.set("usr/lib/systemd/system/kmend.service", "from the package")
	install(t, h, file)
	if f.has("etc/systemd/system/kmend.service") || len(f.ran) != 1 {
		t.Errorf("ran %q", f.ran)
	}
}

func TestDamagedInstallation(t *testing.T) {
	a := func(t *testing.T) (*Host, *fake) {
		h, f := newFake(t)
		install(t, h, fix("livepatch_a").build(t, h), fix("livepatch_b").build(t, h))
		return h, f
	}
	state := testDir + "/state.json"
	for name, c := range map[string]struct {
		damage func(h *Host, f *fake)
		loaded int
		words  []string // of errors and notes
	}{
		"state cut":       {func(_ *Host, f *fake) { f.set(state, f.get(state)[:50]) }, 2, []string{"state.json cannot be used (it is damaged", "modules were read from the directory"}},
		"state gone":      {func(_ *Host, f *fake) { _ = os.Remove(f.path(state)) }, 2, []string{"it is not there"}},
		"state of others": {func(_ *Host, f *fake) { _ = os.Chmod(f.path(state), 0o666) }, 2, []string{"can be written by others"}},
		"state with another build": {func(_ *Host, f *fake) { f.set(state, strings.Replace(f.get(state), testBuild, otherKernel, 1)) }, 2,
			[]string{"for the build"}},
		"module changed":  {func(_ *Host, f *fake) { f.set(testDir+"/livepatch_a.ko", f.get("root/livepatch_b.ko")) }, 1, []string{"is not what was installed"}},
		"module gone":     {func(_ *Host, f *fake) { _ = os.Remove(f.path(testDir, "livepatch_a.ko")) }, 1, []string{"no such file"}},
		"module writable": {func(_ *Host, f *fake) { _ = os.Chmod(f.path(testDir, "livepatch_b.ko"), 0o666) }, 1, []string{"can be written by others"}},
		"module too many": {func(_ *Host, f *fake) { f.set(testDir+"/livepatch_x.ko", f.get("root/livepatch_b.ko")) }, 2, []string{"was not put there by kmend install"}},
		"nothing good": {func(_ *Host, f *fake) {
			f.set(state, "")
			f.set(testDir+"/livepatch_a.ko", "no module")
			f.set(testDir+"/livepatch_x.ko", f.get("root/livepatch_b.ko"))
		}, 1, []string{"not-a-livepatch", "livepatch_x.ko is module livepatch_b"}},
	} {
		t.Run(name, func(t *testing.T) {
			h, f := a(t)
			c.damage(h, f)
			var said []string
			h.Notice = func(s string) { said = append(said, s) }
			out, err := h.LoadInstalled(t.Context(), Options{})
			if err != nil {
				said = append(said, err.Error())
			}
			if len(out) != c.loaded {
				t.Errorf("loaded %v", out)
			}
			for _, w := range c.words {
				if !strings.Contains(strings.Join(said, "\n"), w) {
					t.Errorf("no %q in %q", w, said)
				}
			}
			// Installing again mends it.
			install(t, h, "/root/livepatch_a.ko", "/root/livepatch_b.ko")
			for _, got := range installedNames(t, h) {
				if strings.Contains(got, "livepatch_a:") || strings.Contains(got, "livepatch_b:") {
					t.Errorf("after installing again: %s", got)
				}
			}
		})
	}
}

// On a full disk nothing is half there: not installed, and not loaded.
func TestFullDisk(t *testing.T) {
	full := func(t *testing.T, h *Host, dir, size string) {
		t.Helper()
		if err := unix.Mount("tmpfs", h.path(dir), "tmpfs", 0, "size="+size); err != nil {
			t.Skipf("a file system of its own takes root's rights: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(h.path(dir), unix.MNT_DETACH) })
		if err := os.Chmod(h.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("install", func(t *testing.T) {
		warned := 0
		for pages, done := 1, false; !done; pages++ {
			h, _ := newFake(t)
			full(t, h, "/var/lib", fmt.Sprintf("%dk", 4*pages))
			out, err := h.Install(t.Context(), []string{fix("livepatch_a").build(t, h)})
			if err != nil && !errors.Is(err, unix.ENOSPC) || pages > 20 {
				t.Fatalf("%d pages: %v", pages, err)
			}
			noLeftovers(t, h)
			// What is said is what a boot finds.
			if boot, bootErr := h.LoadInstalled(t.Context(), Options{}); bootErr != nil || (len(boot) == 1) != (err == nil) {
				t.Errorf("%d pages: %v; at boot: %v, %v", pages, err, boot, bootErr)
			}
			if done = err == nil; done && strings.Contains(strings.Join(out[0].Warnings, "\n"), "is loaded at boot all the same") {
				done = false
				warned++
			}
		}
		if warned == 0 {
			t.Error("the disk was never full after the module was in its place")
		}
	})
	t.Run("load", func(t *testing.T) {
		h, f := newFake(t)
		full(t, h, "/run", "16k")
		file := fix("livepatch_a").build(t, h)
		if err := os.WriteFile(h.path("/run/filler"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("%v", err)
		}
		_, err := h.Load(t.Context(), file, Options{})
		if !errors.Is(err, unix.ENOSPC) || f.has("sys/module/livepatch_a") {
			t.Errorf("%v", err)
		}
	})
	// What is remembered of a load must not keep the live patch in.
	t.Run("unload", func(t *testing.T) {
		h, f := newFake(t)
		full(t, h, "/run", "16k")
		loadNow(t, h, fix("livepatch_a").build(t, h))
		if err := os.WriteFile(h.path("/run/filler"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("%v", err)
		}
		var said []string
		h.Notice = func(s string) { said = append(said, s) }
		f.stick("0")
		_, err := h.Unload(t.Context(), "livepatch_a", Options{Timeout: time.Second})
		var stall *StallError
		if !errors.As(err, &stall) || !stall.RolledBack || states(t, h)["livepatch_a"] != Enabled {
			t.Errorf("%v", err)
		}
		f.stick("")
		if o, err := h.Unload(t.Context(), "livepatch_a", Options{}); err != nil || o.Outcome != DidUnload || f.has("sys/module/livepatch_a") {
			t.Errorf("%+v, %v", o, err)
		}
		if text := strings.Join(said, "\n"); !strings.Contains(text, "remember module livepatch_a: ") || !strings.Contains(text, "no space left") {
			t.Errorf("said: %q", said)
		}
		noLeftovers(t, h)
	})
}

// The unit is one that systemd takes without a complaint.
func TestUnitFile(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not there: apt-get install systemd")
	}
	dir := t.TempDir()
	// It also looks whether the program is there.
	text := strings.ReplaceAll(packaging.Unit, unitProgram+" ", "/bin/true ")
	if text == packaging.Unit {
		t.Fatalf("the unit does not run %s", unitProgram)
	}
	put(t, dir+"/"+unitName, text, false)
	out, err := exec.Command(analyze, "verify", "--man=no", dir+"/"+unitName).CombinedOutput()
	if err != nil || strings.Contains(string(out), unitName) {
		t.Errorf("%v\n%s", err, out)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"kernel_build_id":"00112233","modules":[{"name":"a","sha256":"` + strings.Repeat("0", 64) + `"}]}`))
	f.Add([]byte(`{"version":1,"modules":[{"name":"../a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseState(data, "00112233")
		if err != nil {
			return
		}
		for _, m := range b.Modules {
			if plainName(m.Name) == "" || len(m.SHA256) != 64 || m.Trouble != "" {
				t.Errorf("%+v", m)
			}
		}
	})
}
