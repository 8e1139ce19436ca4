// SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kmend/internal/kerneltest"
	"kmend/internal/klp"
	"kmend/internal/verify"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// TestLookupCost measures, in a guest whose clock counts instructions, what
// klp relocations cost while a module loads, and holds it against what verify
// predicts. It takes minutes, so it must be asked for.
func TestLookupCost(t *testing.T) {
	if os.Getenv("KMEND_TEST_LOOKUP_COST") == "" {
		t.Skip("a measurement of minutes: set KMEND_TEST_LOOKUP_COST=1")
	}
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	facts, err := klp.FactsOf(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "finit")
	if out, err := exec.Command(k.Compiler, "-O2", "-nostdlib", "-static", "-fno-stack-protector", "-o", program, "testdata/finit.c").CombinedOutput(); err != nil {
		t.Fatalf("compile finit.c: %v\n%s", err, out)
	}
	counts := []int{1, 101, 201}
	files := []vm.File{{Host: program, Guest: "/root/finit"}}
	var loads []verify.Load
	for i, n := range counts {
		x := mutant{change: func(m *mod) { m.manyReferences(n) }}
		data := x.apply(t, k, good(t, k), facts)
		loads = append(loads, check(t, k, data).Load)
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, vm.File{Host: path, Guest: fmt.Sprintf("/root/%d", i)})
	}
	g, err := vm.Boot(t.Context(), vm.Machine{Image: k.Vmlinux, BuildID: k.BuildID, Agent: vmtest.Agent(t), Files: files, CountInstructions: true, BootTimeout: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	ctx := t.Context()
	const name = "livepatch_good"
	var took []float64 // instructions
	for i := range counts {
		r, err := g.Run(ctx, 5*time.Minute, "/root/finit", fmt.Sprintf("/root/%d", i))
		if err != nil || r.Exit != 0 {
			t.Fatalf("load: %v, %+v", err, r)
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(string(r.Output)), 64)
		if err != nil {
			t.Fatal(err)
		}
		took = append(took, n)
		if done, _, err := g.WaitTransition(ctx, name, 5*time.Minute); err != nil || !done {
			t.Fatalf("patching: done %t, %v", done, err)
		}
		if err := g.WriteFile(ctx, "/sys/kernel/livepatch/"+name+"/enabled", []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
		if done, _, err := g.WaitTransition(ctx, name, 5*time.Minute); err != nil || !done {
			t.Fatalf("unpatching: done %t, %v", done, err)
		}
		if err := g.Unload(ctx, name, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	for i := range took {
		t.Logf("%d klp relocations: %.1f million instructions, %.2f s predicted", counts[i], took[i]/1e6, loads[i].Seconds)
	}
	for i := 1; i < len(took); i++ {
		more := took[i] - took[0]
		t.Logf("%.1f instructions a symbol, %.2f million a walk", more/float64(loads[i].Symbols-loads[0].Symbols), more/1e6/float64(counts[i]-counts[0]))
		if p := loads[i].Seconds * 1e9 / took[i]; p < 0.5 || p > 2 {
			t.Errorf("the prediction is %.2f times what it takes", p)
		}
	}
}
