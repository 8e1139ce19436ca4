// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kmend/internal/kernel"
	"kmend/internal/klp"
	"kmend/internal/plan"
	"kmend/internal/verify"
	"kmend/internal/vm"
)

// testOptions are the flags of kmend test.
type testOptions struct {
	kernel, check, plan, console, kernelLog string
	files, modules                          []string
	pinned, kaslr                           bool
	timeout, transition                     time.Duration
	machine                                 vm.Machine
}

// newTestCmd is "kmend test": does the livepatch work in its kernel?
func newTestCmd(a *app) *cobra.Command {
	var opt testOptions
	c := &cobra.Command{
		Use:   "test MODULE.ko",
		Short: "Boot the kernel in a virtual machine and prove the live patch there",
		Long: `test boots the kernel, unmodified, in QEMU (emulated in software; neither root
nor KVM is needed) and does there what would be done on a host: it loads the
modules that the live patch changes, loads the live patch, waits until all
threads run the new code, reads back from the kernel what is patched, disables
the live patch and unloads it. Where it changes modules, that is done in the
other order, too: the live patch first. A WARN, BUG or Oops in the kernel log,
a taint that loading a live patch does not explain, a thread that keeps the old
code, a function that is missing: each fails the test.

--check CMD is a command for the guest's shell (busybox, as root, in /root). It
exits with 0 when the fix is in effect. It is run before, while the live patch
is in effect (must be 0 there) and after (must be as before). --check @FILE runs
a script of this machine. --file puts further files into the guest; programs
must be linked statically. The kernel's modules that are there lie in /lib/kmend
(more of them: --load).

Which functions must be replaced, and whether the module must refuse to be
unloaded, is read from the plan that lies beside the module, or that --plan
names; without a plan the functions are read from the module.

Console and kernel log of the guest are kept beside the module.`,
		Example: `  kmend test livepatch-fix.ko
  kmend test livepatch-fix.ko -k 6.1.0-50-amd64 --check 'grep -q fixed /proc/version'
  kmend test livepatch-fix.ko --check @reproduce.sh --file ./exploit:/root/exploit
  kmend test livepatch-fix.ko --cpus 2 --kaslr --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.test(c.Context(), args[0], opt) },
	}
	f := c.Flags()
	f.StringVarP(&opt.kernel, "kernel", "k", "", "kernel to boot (default: the plan's, else as for build)")
	f.StringVar(&opt.check, "check", "", "shell command, or @SCRIPT, that exits with 0 when the fix is in effect")
	f.StringArrayVar(&opt.files, "file", nil, "put a file or directory into the guest, as `HOST[:GUEST]` (default: into /root)")
	f.StringArrayVar(&opt.modules, "load", nil, "load this `MODULE` of the kernel, too")
	f.StringVar(&opt.plan, "plan", "", "the live patch's plan (default: plan.json beside the module, if it is its)")
	f.BoolVar(&opt.pinned, "pinned", false, "the module must refuse to be unloaded (default: what the plan says)")
	f.StringVar(&opt.console, "console", "", "file for the console (default: MODULE.console.log)")
	f.StringVar(&opt.kernelLog, "kernel-log", "", "file for the kernel log (default: MODULE.kernel.log)")
	f.DurationVar(&opt.timeout, "timeout", 5*time.Minute, "time for everything")
	f.DurationVar(&opt.transition, "transition-timeout", time.Minute, "time for all threads to switch")
	f.IntVar(&opt.machine.CPUs, "cpus", 1, "CPUs of the guest; with one a transition takes milliseconds")
	f.IntVar(&opt.machine.MemoryMB, "memory", 512, "memory of the guest in MiB")
	f.StringVar(&opt.machine.CPUModel, "cpu", "qemu64", "CPU model of the guest, as QEMU names it")
	f.StringVar(&opt.machine.ExtraCommandLine, "append", "", "more for the kernel's command line")
	f.BoolVar(&opt.kaslr, "kaslr", false, "boot the compressed image, which places the kernel at random (slower)")
	f.StringVar(&opt.machine.Agent, "agent", "", "program to run as the guest's init")
	_ = f.MarkHidden("agent")
	return c
}

func (a *app) test(ctx context.Context, module string, opt testOptions) error {
	cfg, err := a.testConfig(module, opt)
	if err != nil {
		return err
	}
	report, err := vm.Run(ctx, *cfg)
	a.Progress.Done()
	if err != nil {
		return err
	}
	if a.JSON {
		err = a.PrintJSON(report)
	} else {
		a.printReport(report)
	}
	if err == nil && report.Verdict != vm.Passed {
		return &exitError{exitFailed, nil}
	}
	return err
}

// testConfig finds out what to prove.
func (a *app) testConfig(module string, opt testOptions) (*vm.Config, error) {
	data, err := os.ReadFile(module)
	if err != nil {
		return nil, fmt.Errorf("read the live patch: %w", err)
	}
	p, err := planOf(module, data, opt.plan)
	if err != nil {
		return nil, err
	}
	if opt.kernel == "" && p != nil {
		opt.kernel = p.Kernel.Name
	}
	k, err := kernel.Open(opt.kernel)
	if err != nil {
		return nil, err
	}
	if p != nil && p.Kernel.BuildID != k.BuildID {
		return nil, fmt.Errorf("test %s on kernel %s: its plan is for the kernel with build id %s, and %s has %s: name the kernel it was built for with -k", module, k.Name, p.Kernel.BuildID, k.Name, k.BuildID)
	}
	a.Progress.Update("read the live patch", 0, 0)
	functions, targets, err := replaced(module, data, k, p)
	if err != nil {
		return nil, err
	}
	machine, err := vm.ForKernel(k, opt.kaslr)
	if err != nil {
		return nil, err
	}
	image, buildID := machine.Image, machine.BuildID
	machine = opt.machine
	machine.Image, machine.BuildID = image, buildID
	base := strings.TrimSuffix(module, ".ko")
	cfg := &vm.Config{
		Livepatch: module, Functions: functions, Pinned: opt.pinned || p != nil && len(p.Pins) > 0,
		Timeout: opt.timeout, TransitionTimeout: opt.transition,
		KernelLog: orDefault(opt.kernelLog, base+".kernel.log"),
		Progress:  func(phase string) { a.Progress.Update(phase, 0, 0) },
	}
	machine.Console = orDefault(opt.console, base+".console.log")
	if cfg.Check, err = checkCommand(&machine, opt); err != nil {
		return nil, err
	}
	if cfg.Loads, err = vm.KernelLoads(k, targets, opt.modules, module); err != nil {
		return nil, err
	}
	cfg.Machine = machine
	return cfg, nil
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// checkCommand returns the command for the guest's shell, and puts files there.
func checkCommand(m *vm.Machine, opt testOptions) (string, error) {
	for _, f := range opt.files {
		host, guest, _ := strings.Cut(f, ":")
		if host == "" {
			return "", usageErrorf("--file %q: give HOST or HOST:GUEST", f)
		}
		m.Files = append(m.Files, vm.File{Host: host, Guest: guest})
	}
	script, ok := strings.CutPrefix(opt.check, "@")
	if !ok {
		return opt.check, nil
	}
	if _, err := os.Stat(script); err != nil {
		return "", fmt.Errorf("read the check: %w", err)
	}
	const inGuest = "/root/.check"
	m.Files = append(m.Files, vm.File{Host: script, Guest: inGuest})
	return "exec sh " + inGuest, nil
}

// planOf reads the plan that is named, or the one beside the module if it is
// about this very module; nil if there is none.
func planOf(module string, data []byte, name string) (*plan.Plan, error) {
	given := name != ""
	if !given {
		name = filepath.Join(filepath.Dir(module), "plan.json")
	}
	text, err := os.ReadFile(name)
	if !given && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil || p.Version != plan.FormatVersion {
		return nil, fmt.Errorf("read the plan %s: not a plan of version %d: %v", name, plan.FormatVersion, err)
	}
	sum := sha256.Sum256(data)
	if p.Module == nil || p.Module.SHA256 != hex.EncodeToString(sum[:]) {
		if given {
			return nil, fmt.Errorf("use the plan %s: it is not about %s, which has the SHA-256 %x", name, module, sum)
		}
		return nil, nil
	}
	return &p, nil
}

// replaced lists what the live patch must replace, and the modules among the
// objects.
func replaced(module string, data []byte, k *kernel.Kernel, p *plan.Plan) (functions []vm.FunctionID, targets []string, err error) {
	target := func(object string) {
		if object != klp.Vmlinux {
			targets = append(targets, object)
		}
	}
	if p != nil {
		for _, o := range p.Objects {
			target(o.Name)
			for _, f := range o.Functions {
				functions = append(functions, vm.FunctionID{Object: o.Name, Name: f.Name, Sympos: f.Sympos})
			}
		}
	} else {
		facts, err := klp.FactsOf(k)
		if err != nil {
			return nil, nil, err
		}
		m, err := verify.Inspect(data, facts)
		if err != nil {
			return nil, nil, fmt.Errorf("test %s: %w", module, err)
		}
		for _, o := range m.Objects {
			target(o.Name)
			for _, f := range o.Funcs {
				functions = append(functions, vm.FunctionID{Object: o.Name, Name: f.OldName, Sympos: int(f.Sympos)})
			}
		}
	}
	if len(functions) == 0 {
		return nil, nil, fmt.Errorf("test %s: it replaces no function", module)
	}
	return functions, targets, nil
}
