// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// TestKernelAgrees loads mutants into the stock kernel: it must refuse those
// that verify says it refuses, and take in silence those that only verify
// notices. Those that would crash it are left out.
func TestKernelAgrees(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	silent := map[string]bool{"klp-rela-flags/livepatch": true, "klp-rela-object": true, "object-vmlinux": true, "klp-symbol-plain": true, "vermagic": true, "kernel-build-id": true,
		"object-name/slash": true, "object-name/dash": true, "object-unknown/built-in": true, "kernel-build-unknown": true}
	refused := []string{"modinfo/livepatch", "function-missing", "function-ambiguous", "function-position", "function-kind", "function-init", "no-fentry",
		"klp-name-form", "klp-symbol-missing", "klp-symbol-ambiguous", "klp-symbol-position", "klp-rela-ordinary", "klp-vmlinux-symbol",
		"export-unknown", "export-crc", "relocation", "symbol/common", "object-name/empty", "object-name/long", "signature-form"}
	data := good(t, k)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	pktgen, err := k.Module("pktgen")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	loads := map[string]bool{} // → is it taken
	modules := []vm.Module{{Name: "pktgen", Path: pktgen.Path}}
	put := func(name string, image []byte, taken bool) {
		file := strings.NewReplacer("/", "_", "-", "_").Replace(name)
		path := filepath.Join(dir, file+".ko")
		if err := os.WriteFile(path, image, 0o644); err != nil {
			t.Fatal(err)
		}
		modules = append(modules, vm.Module{Name: file, Path: path})
		loads[file] = taken
	}
	put("good", data, true)
	for _, x := range slices.Concat(mutants(), oddities()) {
		for _, prefix := range refused {
			if strings.HasPrefix(x.name, prefix) {
				put(x.name, x.apply(t, k, data, facts), false)
				break
			}
		}
		if silent[x.name] {
			put(x.name, x.apply(t, k, data, facts), true)
		}
	}
	if len(loads) < 30 {
		t.Fatalf("only %d modules to load", len(loads))
	}
	g, err := vm.Boot(t.Context(), vm.Machine{Image: k.Vmlinux, BuildID: k.BuildID, Agent: vmtest.Agent(t), Modules: modules})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx := t.Context()
	if err := g.Load(ctx, "pktgen", ""); err != nil {
		t.Fatal(err)
	}
	const name = "livepatch_good"
	for _, m := range modules[1:] {
		err := g.Load(ctx, m.Name, "")
		if taken := err == nil; taken != loads[m.Name] {
			t.Errorf("%s: taken by the kernel: %t (%v), expected %t", m.Name, taken, err, loads[m.Name])
		}
		if err != nil {
			continue
		}
		if done, _, err := g.WaitTransition(ctx, name, 20*time.Second); err != nil || !done {
			t.Fatalf("%s: patching: done %t, %v", m.Name, done, err)
		}
		if err := g.WriteFile(ctx, "/sys/kernel/livepatch/"+name+"/enabled", []byte("0"), 0o644); err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		if done, _, err := g.WaitTransition(ctx, name, 20*time.Second); err != nil || !done {
			t.Fatalf("%s: unpatching: done %t, %v", m.Name, done, err)
		}
		if err := g.Unload(ctx, name, 10*time.Second); err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
	}
}
