// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// testModule copies one of the hand-written livepatches of package vm to a
// directory of its own.
func testModule(t *testing.T, name string) (*kernel.Kernel, string) {
	t.Helper()
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	built := vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules")
	data, err := os.ReadFile(filepath.Join(built, name+".ko"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "some.ko")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return k, file
}

func kmend(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	t.Logf("kmend %s: exit %d\n%s%s", strings.Join(args, " "), code, o.String(), e.String())
	return code, o.String(), e.String()
}

func TestVMPassed(t *testing.T) {
	k, file := testModule(t, "lp_cmdline")
	check := filepath.Join(t.TempDir(), "check.sh")
	if err := os.WriteFile(check, []byte("cat /proc/cmdline; grep -q 'live patched' /proc/cmdline\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, _ := kmend(t, "test", file, "-k", k.Name, "--check", "@"+check, "--agent", vmtest.Agent(t))
	if code != exitDone {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"lp_cmdline: passed", "vmlinux cmdline_proc_show: patched", "check while patched: exit 0", "check after: exit 1", "this has been live patched", "some.console.log"} {
		if !strings.Contains(out, want) {
			t.Errorf("the answer has no %q", want)
		}
	}
	if _, err := os.Stat(strings.TrimSuffix(file, ".ko") + ".kernel.log"); err != nil {
		t.Error(err)
	}
}

func TestVMFailed(t *testing.T) {
	k, file := testModule(t, "lp_cmdline")
	code, out, _ := kmend(t, "test", file, "-k", k.Name, "--json", "--check", "false", "--agent", vmtest.Agent(t))
	var r vm.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if code != exitFailed || r.Verdict != vm.Failed || len(r.Reasons) != 1 || r.Reasons[0].Code != vm.CodeCheck {
		t.Errorf("exit code %d, verdict %s, reasons %v", code, r.Verdict, r.Reasons)
	}
}

// The plan beside a module says what must be replaced; a plan of another module
// is not used.
func TestVMPlan(t *testing.T) {
	k, file := testModule(t, "lp_cmdline")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := plan.Plan{
		Version: plan.FormatVersion,
		Kernel:  plan.Kernel{Name: k.Name, BuildID: k.BuildID},
		Objects: []plan.Object{{Name: "vmlinux", Functions: []plan.Function{{Name: "version_proc_show"}}}},
		Module:  &plan.Module{SHA256: fmt.Sprintf("%x", sha256.Sum256(data))},
	}
	write := func() {
		t.Helper()
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), "plan.json"), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if code, out, _ := kmend(t, "test", file, "--agent", vmtest.Agent(t)); code != exitFailed || !strings.Contains(out, "does not replace version_proc_show") {
		t.Errorf("exit code %d", code)
	}
	p.Kernel.BuildID = "00"
	write()
	if code, _, errs := kmend(t, "test", file, "-k", k.Name); code != exitFailed || !strings.Contains(errs, "its plan is for the kernel with build id 00") {
		t.Errorf("exit code %d", code)
	}
	p.Module.SHA256 = "0"
	write()
	if code, _, errs := kmend(t, "test", file, "-k", k.Name, "--plan", filepath.Join(filepath.Dir(file), "plan.json")); code != exitFailed || !strings.Contains(errs, "it is not about") {
		t.Errorf("exit code %d", code)
	}
}

func TestVMErrors(t *testing.T) {
	k, file := testModule(t, "lp_cmdline")
	t.Run("no QEMU", func(t *testing.T) {
		agent := vmtest.Agent(t)
		t.Setenv("PATH", "")
		if code, _, errs := kmend(t, "test", file, "-k", k.Name, "--agent", agent); code != exitFailed || !strings.Contains(errs, "apt-get install --no-install-recommends qemu-system-x86") {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("no module", func(t *testing.T) {
		text := filepath.Join(t.TempDir(), "x.ko")
		if err := os.WriteFile(text, []byte("no module"), 0o644); err != nil {
			t.Fatal(err)
		}
		if code, _, _ := kmend(t, "test", text, "-k", k.Name); code != exitFailed {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("missing file", func(t *testing.T) {
		if code, _, errs := kmend(t, "test", file, "-k", k.Name, "--file", "/no/such", "--agent", vmtest.Agent(t)); code != exitFailed || !strings.Contains(errs, "/no/such") {
			t.Errorf("exit code %d", code)
		}
	})
}
