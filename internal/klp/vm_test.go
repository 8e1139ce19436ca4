// SPDX-License-Identifier: Apache-2.0

package klp_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/klp/klptest"
	"kmend/internal/object"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

func readText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func factsOf(t *testing.T, k *kernel.Kernel) *klp.Facts {
	t.Helper()
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	return facts
}

// writeFor writes the module of a spec and reads it back.
func writeFor(t *testing.T, k *kernel.Kernel, spec klp.Spec) (path string, f *object.File) {
	t.Helper()
	data, stats, err := klp.Write(spec, factsOf(t, k))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d bytes, %d sections, %d klp relocations %v", spec.Name, stats.Size, stats.Sections, stats.KlpRelocs, stats.KlpByObject)
	if f, err = object.Read(data); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "livepatch-"+spec.Name+".ko")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path, f
}

// prove runs the whole proof and wants it passed without a word.
func prove(t *testing.T, k *kernel.Kernel, cfg vm.Config) *vm.Report {
	t.Helper()
	vmtest.NeedQEMU(t)
	cfg.Machine.Image, cfg.Machine.BuildID, cfg.Machine.Agent = k.Vmlinux, k.BuildID, vmtest.Agent(t)
	r, err := vm.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warnings := slices.DeleteFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "before the livepatch was loaded") })
	if r.Verdict != vm.Passed || len(warnings) > 0 {
		t.Errorf("verdict %s: %+v\nwarnings %q\nlog %+v", r.Verdict, r.Reasons, r.Warnings, r.Log)
	}
	return r
}

func specialSpec(t *testing.T, k *kernel.Kernel) klp.Spec {
	return klptest.Spec(t, k, "livepatch_special", klptest.Patch{Object: "vmlinux", Funcs: []string{"cmdline_proc_show"},
		Source: klptest.Source{Path: "fs/proc/cmdline.c", Text: readText(t, "testdata/special.c")}})
}

// TestSpecialSectionsLoad loads a function with entries in every special
// section into the stock kernel and lets it run.
func TestSpecialSectionsLoad(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	path, f := writeFor(t, k, specialSpec(t, k))
	for _, name := range []string{".altinstructions", ".altinstr_replacement", ".altinstr_aux", ".parainstructions", ".smp_locks", "__bug_table", "__ex_table", "__jump_table",
		".static_call_sites", ".retpoline_sites", ".return_sites", ".orc_unwind", ".orc_unwind_ip", "__mcount_loc", "__dyndbg", ".data.once", ".rodata", ".rodata.str1.1", ".bss"} {
		if s := f.Section(name); s == nil || s.Size == 0 {
			t.Errorf("the module has nothing in %s: the test tests too little", name)
		}
	}
	for _, cpu := range []string{"qemu64", "EPYC"} { // EPYC: returns are really patched
		t.Run(cpu, func(t *testing.T) {
			prove(t, k, vm.Config{Livepatch: path, Machine: vm.Machine{CPUModel: cpu},
				Functions: []vm.FunctionID{{Object: "vmlinux", Name: "cmdline_proc_show"}},
				Check:     "for i in 1 2; do read x < /proc/cmdline; echo \"$x\"; case $x in *fault=-14*one*all-special*tail=0*) ;; *) exit 1;; esac; done"})
		})
	}
}

// TestModuleObjectLoads patches a module, with references to its unexported
// symbols that are applied when the module is there, before and after.
func TestModuleObjectLoads(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	spec := klptest.Spec(t, k, "livepatch_two",
		klptest.Patch{Object: "vmlinux", Funcs: []string{"cmdline_proc_show"}, Source: klptest.Source{Path: "fs/proc/cmdline.c",
			Text: klptest.Text(t, k, "fs/proc/cmdline.c", `seq_putc(m, '\n')`, `seq_puts(m, " live patched\n")`)}},
		klptest.Patch{Object: "pktgen", Funcs: []string{"pgctrl_show"}, Source: klptest.Source{Path: "net/core/pktgen.c", Module: true,
			Text: klptest.Text(t, k, "net/core/pktgen.c", "seq_puts(seq, version);",
				`seq_printf(seq, "live patched %d %s %p\n", pg_net_id > 0, version, pktgen_run_all_threads);`)}})
	path, f := writeFor(t, k, spec)
	var late []string
	for _, s := range f.Sections {
		for _, x := range s.Extra {
			if strings.HasPrefix(x.Name, ".klp.rela.pktgen.") {
				for _, r := range x.Relocs {
					late = append(late, r.Sym.Name)
				}
			}
		}
	}
	for _, want := range []string{".klp.sym.pktgen.pg_net_id,0", ".klp.sym.pktgen.pktgen_thread_lock,0"} {
		if !slices.Contains(late, want) {
			t.Errorf("%s is not among the late relocations %q", want, late)
		}
	}
	m, err := k.Module("pktgen")
	if err != nil {
		t.Fatal(err)
	}
	r := prove(t, k, vm.Config{Livepatch: path, Loads: []vm.Load{{Module: vm.Module{Name: "pktgen", Path: m.Path}, Target: true}},
		Functions: []vm.FunctionID{{Object: "vmlinux", Name: "cmdline_proc_show"}, {Object: "pktgen", Name: "pgctrl_show"}},
		Check:     "grep -q 'live patched 1' /proc/net/pktgen/pgctrl && grep 'live patched' /proc/cmdline"})
	for _, target := range r.Targets {
		if !target.Applied || !target.First {
			t.Errorf("module %s: %+v", target.Name, target)
		}
	}
}

func TestPinnedModuleStays(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	spec := specialSpec(t, k)
	spec.Pin = true
	path, _ := writeFor(t, k, spec)
	prove(t, k, vm.Config{Livepatch: path, Pinned: true, Functions: []vm.FunctionID{{Object: "vmlinux", Name: "cmdline_proc_show"}}})
}

// TestSleeperKeepsTheModule is the reason for the order of code in a module: a
// task sleeps in a helper that was jumped to, so no replaced function is on its
// stack by name. The kernel must see it all the same and wait, or the module
// would be unloaded under it.
func TestSleeperKeepsTheModule(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	spec := klptest.Spec(t, k, "livepatch_sleeper", klptest.Patch{Object: "vmlinux", Funcs: []string{"cmdline_proc_show"},
		Source: klptest.Source{Path: "fs/proc/cmdline.c", Text: readText(t, "testdata/sleeper.c")}})
	path, f := writeFor(t, k, spec)
	jumps := false
	for _, r := range f.Section(".text").Relocs {
		jumps = jumps || r.Sym.IsSection() && r.Sym.Section.IsExec() && f.Section(".text").Data[r.Offset-1] == 0xe9
	}
	if !jumps {
		t.Fatal("the compiler made no tail call: the test tests nothing")
	}
	g, err := vm.Boot(t.Context(), vm.Machine{Image: k.Vmlinux, BuildID: k.BuildID, Agent: vmtest.Agent(t), Shell: true,
		Modules: []vm.Module{{Name: spec.Name, Path: path}}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Load(t.Context(), spec.Name, ""); err != nil {
		t.Fatal(err)
	}
	if done, _, err := g.WaitTransition(t.Context(), spec.Name, 10*time.Second); err != nil || !done {
		t.Fatalf("patching: done %t, %v", done, err)
	}
	const script = `cat /proc/cmdline > /tmp/out & sleep 1
d=/sys/kernel/livepatch/livepatch_sleeper
echo 0 > $d/enabled; sleep 1; echo early=$(cat $d/transition)
wait; n=0; while [ -e $d ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
rmmod livepatch_sleeper && cat /tmp/out /proc/cmdline`
	r, err := g.Shell(t.Context(), time.Minute, "mkdir -p /tmp; "+script)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 0 || !strings.Contains(r.Output, "early=1\nslept\nconsole=") {
		t.Errorf("exit %d, output %q: while a task sleeps in the helper the transition must wait, and be done after", r.Exit, r.Output)
	}
	records, _, err := g.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if strings.Contains(rec.Text, "BUG") || strings.Contains(rec.Text, "WARNING") || strings.Contains(rec.Text, "Oops") {
			t.Errorf("kernel log: %s", rec.Text)
		}
	}
}
