// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/kerneltest"
	"kmend/internal/vm/vmtest"
)

func prove(t *testing.T, livepatch string, change func(*Config)) *Report {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{
		Machine:   testMachine(t),
		Livepatch: filepath.Join(testModules(t), livepatch+".ko"),
		KernelLog: filepath.Join(dir, "kernel.log"),
	}
	cfg.Machine.Console = filepath.Join(dir, "console.log")
	if change != nil {
		change(&cfg)
	}
	r, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.MarshalIndent(r, "", " ")
	t.Logf("%s", b)
	return r
}

var cmdline = []FunctionID{{Object: "vmlinux", Name: "cmdline_proc_show"}}

const cmdlineCheck = "cat /proc/cmdline; grep -q 'live patched' /proc/cmdline"

func wantVerdict(t *testing.T, r *Report, want Verdict, codes ...Code) {
	t.Helper()
	if r.Verdict != want {
		t.Errorf("verdict %s, want %s", r.Verdict, want)
	}
	var got []Code
	for _, reason := range r.Reasons {
		got = append(got, reason.Code)
	}
	for _, c := range codes {
		if !slices.Contains(got, c) {
			t.Errorf("no reason with the code %s in %v", c, r.Reasons)
		}
	}
	if len(codes) == 0 && len(got) > 0 {
		t.Errorf("unexpected reasons: %v", r.Reasons)
	}
}

func TestProveImage(t *testing.T) {
	t.Parallel()
	var phases []string
	r := prove(t, "lp_cmdline", func(c *Config) {
		c.Functions, c.Check = cmdline, cmdlineCheck
		c.Progress = func(p string) { phases = append(phases, p) }
	})
	wantVerdict(t, r, Passed)
	if len(r.Warnings) > 0 {
		t.Errorf("warnings: %q", r.Warnings)
	}
	if f := r.Functions; len(f) != 1 || !f[0].Patched || !f[0].Handler || f[0].Sympos != 1 {
		t.Errorf("functions: %+v", f)
	}
	var exits []int
	for _, c := range r.Checks {
		exits = append(exits, c.Exit)
		if strings.Contains(c.Output, "live patched") != c.Patched {
			t.Errorf("%s: output %q", c.Phase, c.Output)
		}
	}
	if !slices.Equal(exits, []int{1, 0, 1}) {
		t.Errorf("exits of the check: %v", exits)
	}
	if len(r.Transitions) != 2 || !r.Transitions[0].Done || !r.Transitions[1].Done {
		t.Errorf("transitions: %+v", r.Transitions)
	}
	if r.Taint.Before != "" || r.Taint.After != "OEK" {
		t.Errorf("taint: %+v", r.Taint)
	}
	if len(phases) != len(r.Phases) || phases[0] != "boot" {
		t.Errorf("phases told %q, reported %v", phases, r.Phases)
	}
	for _, file := range []string{r.Console, r.KernelLog} {
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(b), "starting patching transition") || !strings.Contains(string(b), "kmend: check while patched") {
			t.Errorf("%s: %v, %d bytes, without the livepatch's lines", file, err, len(b))
		}
	}
}

func TestProveWithoutShell(t *testing.T) {
	t.Parallel()
	r := prove(t, "lp_cmdline", func(c *Config) { c.Machine.CPUs = 2 })
	wantVerdict(t, r, Passed) // and a warning: nobody said what it must replace
	if len(r.Warnings) != 1 || len(r.Checks) != 0 || len(r.Functions) != 1 {
		t.Errorf("warnings %q, checks %v, functions %v", r.Warnings, r.Checks, r.Functions)
	}
}

// A bzImage has KASLR; an EPYC gets other return thunks than qemu64.
func TestProveOtherMachine(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a second way to boot is left out with -short")
	}
	r := prove(t, "lp_cmdline", func(c *Config) {
		c.Functions, c.Check = cmdline, cmdlineCheck
		c.Machine.Image = kerneltest.Open(t).Bzimage
		c.Machine.CPUModel = "EPYC"
	})
	wantVerdict(t, r, Passed)
}

func TestProveModules(t *testing.T) {
	t.Parallel()
	r := prove(t, "lp_modules", func(c *Config) {
		c.Loads = testLoads(t, "pktgen", "coretemp")
		c.Functions = []FunctionID{{"pktgen", "pgctrl_show", 0}, {"coretemp", "show_label", 1}}
		c.Check = "cat /proc/net/pktgen/pgctrl; grep -q 'live patched' /proc/net/pktgen/pgctrl"
	})
	wantVerdict(t, r, Passed)
	want := []Target{
		{Name: "pktgen", Baseline: "loaded", First: true, Coming: "loaded", Applied: true},
		{Name: "coretemp", Baseline: "no such device", Coming: "no such device", Applied: true},
	}
	if !slices.Equal(r.Targets, want) {
		t.Errorf("targets %+v\nwant %+v", r.Targets, want)
	}
	if len(r.Functions) != 2 || !r.Functions[1].Patched || r.Machine.Boots != 1 {
		t.Errorf("functions %+v, %d boots", r.Functions, r.Machine.Boots)
	}
	if len(r.Checks) != 3 { // not with the livepatch first: coretemp is never there
		t.Errorf("checks: %+v", r.Checks)
	}
	if !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "coretemp does not start") }) {
		t.Errorf("warnings: %q", r.Warnings)
	}
}

func TestProvePinned(t *testing.T) {
	t.Parallel()
	r := prove(t, "lp_pinned", func(c *Config) { c.Functions, c.Pinned = cmdline, true })
	wantVerdict(t, r, Passed)
	r = prove(t, "lp_cmdline", func(c *Config) { c.Functions, c.Pinned = cmdline, true })
	wantVerdict(t, r, Failed, CodeNotPinned)
	r = prove(t, "lp_pinned", func(c *Config) { c.Functions = cmdline })
	wantVerdict(t, r, Failed, CodeUnload)
}

// What stays loaded makes a second boot necessary for the second order.
func TestProveInTwoBoots(t *testing.T) {
	t.Parallel()
	t.Run("pinned", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_modules_pinned", func(c *Config) { c.Loads, c.Pinned = testLoads(t, "pktgen", "coretemp"), true })
		wantVerdict(t, r, Passed)
		if r.Machine.Boots != 2 || !r.Targets[0].First || !r.Targets[0].Applied || !r.Targets[1].Applied {
			t.Errorf("%d boots, targets %+v", r.Machine.Boots, r.Targets)
		}
		if b, err := os.ReadFile(r.Console); err != nil || strings.Count(string(b), "kmend: load the livepatch") != 2 {
			t.Errorf("the console log has not both boots: %v", err)
		}
	})
	t.Run("module without exit", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_fixed", func(c *Config) { c.Loads = testLoads(t, "vrf") })
		wantVerdict(t, r, Passed)
		want := []Target{{Name: "vrf", Baseline: "loaded", First: true, Coming: "loaded", Applied: true, Fixed: true}}
		if r.Machine.Boots != 2 || !slices.Equal(r.Targets, want) {
			t.Errorf("%d boots, targets %+v", r.Machine.Boots, r.Targets)
		}
	})
}

// A check that makes the unpatched kernel warn: what the kernel says without
// the livepatch, before it, is not held against it after it.
func TestProveWithCheckThatTaints(t *testing.T) {
	t.Parallel()
	r := prove(t, "lp_cmdline", func(c *Config) {
		c.Functions = cmdline
		c.Check = "grep -q 'live patched' /proc/cmdline && exit 0; echo w > /proc/sysrq-trigger; echo 128 > /proc/sys/kernel/tainted; exit 1"
	})
	wantVerdict(t, r, Passed)
	if r.Taint.Before != "D" || r.Taint.Unexpected != "" {
		t.Errorf("taint: %+v", r.Taint)
	}
}

func TestProveFailures(t *testing.T) {
	t.Parallel()
	t.Run("warning", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_warns", func(c *Config) { c.Functions, c.Check = cmdline, cmdlineCheck })
		wantVerdict(t, r, Failed, CodeKernelLog, CodeTaint)
		if r.Taint.Unexpected != "W" {
			t.Errorf("taint: %+v", r.Taint)
		}
	})
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_panics", func(c *Config) { c.Functions, c.Check = cmdline, cmdlineCheck })
		wantVerdict(t, r, Failed, CodeGuestDied)
		if !strings.Contains(r.Reasons[0].Text, "the new function panics") {
			t.Errorf("reason: %v", r.Reasons)
		}
		if b, _ := os.ReadFile(r.KernelLog); !strings.Contains(string(b), "the new function panics") {
			t.Errorf("the kernel log has not the panic:\n%s", b)
		}
	})
	t.Run("stuck", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_stuck", func(c *Config) { c.TransitionTimeout = 6 * time.Second })
		wantVerdict(t, r, Failed, CodeTransition)
		last := r.Transitions[len(r.Transitions)-1]
		if len(last.Blockers) != 1 || !strings.HasPrefix(last.Blockers[0].Comm, "kswapd") || !last.Blockers[0].Kthread ||
			!strings.Contains(last.Blockers[0].Stack, "kswapd+0x") {
			t.Errorf("blockers: %+v", last.Blockers)
		}
		if !slices.ContainsFunc(r.Log, func(l LogEntry) bool { return strings.Contains(l.Text, "is sleeping on function kswapd") }) {
			t.Errorf("the kernel log does not say who blocks: %v", r.Log)
		}
	})
	t.Run("wrong functions", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) {
			c.Functions = []FunctionID{{"vmlinux", "version_proc_show", 0}}
		})
		wantVerdict(t, r, Failed, CodeFunctions)
		if len(r.Reasons) != 2 {
			t.Errorf("reasons: %v", r.Reasons)
		}
	})
	t.Run("check fails", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) { c.Functions, c.Check = cmdline, "echo no; exit 3" })
		wantVerdict(t, r, Failed, CodeCheck)
	})
	t.Run("target not given", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_modules", nil)
		wantVerdict(t, r, Incomplete, CodeTargetUnseen)
	})
	t.Run("unsigned refused", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) { c.Machine.ExtraCommandLine = "module.sig_enforce=1" })
		wantVerdict(t, r, Failed, CodeLoad)
	})
	t.Run("taint", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) {
			c.Functions = cmdline
			c.Check = "grep -q 'live patched' /proc/cmdline || exit 1; echo 128 > /proc/sys/kernel/tainted"
		})
		wantVerdict(t, r, Failed, CodeTaint)
	})
	t.Run("not restored", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) {
			c.Functions = cmdline
			c.Check = "grep -q 'live patched' /proc/cmdline && touch /tmp/seen; test -e /tmp/seen"
		})
		wantVerdict(t, r, Failed, CodeNotRestored)
	})
	t.Run("wrong build id", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) { c.Machine.BuildID = strings.Repeat("0", 40) })
		wantVerdict(t, r, Failed, CodeBuildID)
	})
	t.Run("no time", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) { c.Timeout = 300 * time.Millisecond })
		wantVerdict(t, r, Failed, CodeTimeout)
	})
	t.Run("check never ends", func(t *testing.T) {
		t.Parallel()
		r := prove(t, "lp_cmdline", func(c *Config) { c.Check, c.CheckTimeout = "sleep 1000", time.Second })
		wantVerdict(t, r, Failed, CodeCheck)
	})
}

// A guest that panics ends QEMU with status 0; that must never look like success.
func TestGuestPanic(t *testing.T) {
	t.Parallel()
	m := testMachine(t)
	m.Shell = true
	g, err := Boot(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = g.Shell(t.Context(), time.Minute, "echo c > /proc/sysrq-trigger")
	var gone *GuestError
	if !errors.As(err, &gone) || gone.Timeout || !strings.Contains(gone.Cause, "sysrq triggered crash") {
		t.Errorf("error: %v", err)
	}
	if err := g.Finish(t.Context()); err == nil {
		t.Error("a dead guest finished")
	}
}

func TestGuestOperations(t *testing.T) {
	t.Parallel()
	m := testMachine(t)
	m.Shell = true
	file := filepath.Join(t.TempDir(), "x.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho hello $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.Files = []File{{Host: file, Guest: "/opt/x.sh"}}
	for _, l := range testLoads(t, "pktgen") {
		m.Modules = append(m.Modules, l.Module)
	}
	g, err := Boot(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx := t.Context()

	if res, err := g.Run(ctx, time.Minute, "/opt/x.sh", "you"); err != nil || res.Exit != 0 || res.Output != "hello you\n" {
		t.Errorf("run: %+v, %v", res, err)
	}
	if res, err := g.Shell(ctx, time.Minute, "kill -9 $$"); err != nil || res.Exit != 137 || res.Signal != 9 {
		t.Errorf("killed: %+v, %v", res, err)
	}
	if res, err := g.Shell(ctx, time.Second, "sleep 100"); err != nil || !res.TimedOut || res.Exit == 0 {
		t.Errorf("timeout: %+v, %v", res, err)
	}
	if res, err := g.Shell(ctx, time.Minute, "sleep 100 & echo $!"); err != nil || res.Exit != 0 || res.Elapsed > 30*time.Second {
		t.Errorf("background: %+v, %v", res, err)
	}
	if res, err := g.Shell(ctx, time.Minute, "head -c 200000 /dev/zero"); err != nil || len(res.Output) != 64<<10 || !res.Cut {
		t.Errorf("long output: %d bytes, %v", len(res.Output), err)
	}
	if _, err := g.Run(ctx, time.Minute, "/no/such"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing program: %v", err)
	}
	big := strings.Repeat("0123456789abcdef", 5000)
	if err := g.WriteFile(ctx, "/tmp/big", []byte(big), 0o600); err != nil {
		t.Error(err)
	}
	if b, err := g.ReadFile(ctx, "/tmp/big"); err != nil || string(b) != big {
		t.Errorf("read back %d bytes: %v", len(b), err)
	}
	if err := g.Load(ctx, "pktgen", ""); err != nil {
		t.Error(err)
	}
	if err := g.Load(ctx, "pktgen", ""); !errors.Is(err, unix.EEXIST) {
		t.Errorf("second load: %v", err)
	}
	if names, err := g.List(ctx, "/sys/module/pktgen"); err != nil || !slices.Contains(names, "refcnt") {
		t.Errorf("list: %q, %v", names, err)
	}
	if err := g.Unload(ctx, "pktgen", 0); err != nil {
		t.Error(err)
	}
	if err := g.Mark(ctx, "a mark"); err != nil {
		t.Error(err)
	}
	records, lost, err := g.Log(ctx)
	if err != nil || lost != 0 || len(records) < 100 || records[len(records)-1].Text != "kmend: a mark" || records[len(records)-1].Kernel() {
		t.Errorf("log: %d records, %d lost, %v", len(records), lost, err)
	}
	if err := g.Finish(ctx); err != nil {
		t.Error(err)
	}
}

// Modules come with what they need: nf_conntrack wants libcrc32c, and that only
// asks in a softdep for something that provides "crypto-crc32c".
func TestKernelLoads(t *testing.T) {
	t.Parallel()
	m := testMachine(t)
	loads := testLoads(t, "nf-conntrack", "btrfs")
	var names []string
	for _, l := range loads {
		names = append(names, l.Name)
		if l.Target != (l.Name == "nf_conntrack" || l.Name == "btrfs") {
			t.Errorf("%s: target %v", l.Name, l.Target)
		}
		m.Modules = append(m.Modules, l.Module)
	}
	if i, j := slices.Index(names, "crc32c_generic"), slices.Index(names, "libcrc32c"); i < 0 || j < i {
		t.Errorf("loads: %q", names)
	}
	g, err := Boot(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, l := range loads {
		// A softdep may want a processor that the guest has not.
		if err := g.Load(t.Context(), l.Name, ""); err != nil && (l.Target || !errors.Is(err, unix.ENODEV)) {
			t.Error(err)
		}
	}
}

func TestCancel(t *testing.T) {
	m := testMachine(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	begin := time.Now()
	if _, err := Boot(ctx, m); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("cancelled after %v", d)
	}
}

func TestMissingQEMU(t *testing.T) {
	m := testMachine(t)
	t.Setenv("PATH", "")
	_, err := Boot(t.Context(), m)
	var missing *MissingToolError
	if !errors.As(err, &missing) || missing.Package != "qemu-system-x86" {
		t.Errorf("error: %v", err)
	}
}

func testMachine(t testing.TB) Machine {
	t.Helper()
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	m, err := ForKernel(k, false)
	if err != nil {
		t.Fatal(err)
	}
	m.Agent = vmtest.Agent(t)
	return m
}

func testModules(t testing.TB) string {
	t.Helper()
	return vmtest.BuildModules(t, kerneltest.Open(t), "testdata/modules")
}

func testLoads(t testing.TB, names ...string) []Load {
	t.Helper()
	loads, err := KernelLoads(kerneltest.Open(t), names, nil, filepath.Join(testModules(t), "lp_cmdline.ko"))
	if err != nil {
		t.Fatal(err)
	}
	return loads
}
