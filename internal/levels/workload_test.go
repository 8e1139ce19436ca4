// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/run"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
)

// TestWorkloadDoesAllOperations runs the workload here: what it counts is time
// then, but it does and prints all that it should.
func TestWorkloadDoesAllOperations(t *testing.T) {
	program, err := buildWorkload(t.Context(), "gcc-12", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.Run(t.Context(), run.Cmd{Argv: []string{program}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(out.Stdout)) {
		names = append(names, strings.Fields(line)[0])
	}
	if got, want := slices.Compact(names), append([]string{emptyLoop}, operations...); !slices.Equal(got, want) {
		t.Errorf("operations %q, want %q", got, want)
	}
}

// workloadText is what the workload prints when every operation takes a
// thousand times its place in the list, and the loop 6.
func workloadText() string {
	var b strings.Builder
	for i, name := range append([]string{emptyLoop}, operations...) {
		for _, extra := range []int{0, 0, 70000} { // an interrupt in one batch
			fmt.Fprintf(&b, "%s 10 %d\n", name, 10*(1000*i+6)+extra)
		}
	}
	return b.String()
}

func TestParseWorkload(t *testing.T) {
	got, err := parseWorkload(workloadText())
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if v != float64(1000*(i+1)) {
			t.Errorf("%s takes %v, want %d", operations[i], v, 1000*(i+1))
		}
	}
	good := workloadText()
	for name, text := range map[string]string{
		"nothing":             "",
		"an error":            "error: mmap: errno 12\n",
		"a missing operation": strings.ReplaceAll(good, "fork", "stat"),
		"no empty loop":       strings.ReplaceAll(good, "loop", "stat"),
		"another operation":   good + "dance 1 1\n",
		"no iterations":       good + "fork 0 1\n",
		"a negative count":    good + "fork 1 -1\n",
		"no time passes":      strings.ReplaceAll(good, "loop 10 60", "loop 10 60000"),
		"too many batches":    good + strings.Repeat("fork 10 10\n", maxBatches),
	} {
		if v, err := parseWorkload(text); err == nil {
			t.Errorf("%s: taken as %v", name, v)
		}
	}
}

func FuzzParseWorkload(f *testing.F) {
	f.Add(workloadText())
	f.Add("fork 1 1")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseWorkload(text)
		if err == nil && (len(v) != len(operations) || slices.Min(v) <= 0) {
			t.Errorf("counts %v", v)
		}
	})
}

// tolerance is how far two runs of the workload in one guest may differ. System
// calls that allocate nothing take the very same number of instructions; for
// the others it matters what the allocators have at hand.
func tolerance(operation string) float64 {
	switch operation {
	case "getpid", "stat", "pipe", "signal":
		return .001
	}
	return .05
}

// TestInstructionsRepeat boots the stock kernel with its instructions counted
// and runs the workload until two runs can be compared.
func TestInstructionsRepeat(t *testing.T) {
	vmtest.NeedQEMU(t)
	m, err := vm.ForKernel(kerneltest.Open(t), false)
	if err != nil {
		t.Fatal(err)
	}
	m.Agent = vmtest.Agent(t)
	program, err := buildWorkload(t.Context(), "gcc-12", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	runs, err := countRuns(t.Context(), m, program, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range operations {
		a, b := runs[1][i], runs[2][i]
		t.Logf("%-8s %12.2f %12.2f %+.4f %%", name, a, b, 100*(b/a-1))
		if math.Abs(b/a-1) > tolerance(name) {
			t.Errorf("%s takes %.2f instructions, then %.2f", name, a, b)
		}
	}
	// Not times of any kind: a getpid takes some hundred instructions, a fork
	// some ten thousand.
	getpid, fork := runs[2][0], runs[2][len(operations)-1]
	if getpid < 50 || getpid > 2000 || fork < 10_000 || fork > 1_000_000 {
		t.Errorf("getpid takes %.0f instructions, fork %.0f", getpid, fork)
	}
}
