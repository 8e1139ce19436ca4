// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kmend/internal/run"
)

//go:embed workload/workload.c
var workloadSource []byte

// operations are the names of what the workload does, in its order, beside the
// empty loop: docs/levels-tradeoff.md says what each of them is.
var operations = []string{"getpid", "stat", "open", "maps", "pipe", "file", "mmap", "signal", "switch", "fork"}

// emptyLoop is the workload's loop around nothing: what the loop itself takes.
const emptyLoop = "loop"

// buildWorkload compiles the workload into a directory: a static program that
// needs no C library.
func buildWorkload(ctx context.Context, cc, dir string) (program string, err error) {
	source := filepath.Join(dir, "workload.c")
	if err := os.WriteFile(source, workloadSource, 0o644); err != nil {
		return "", fmt.Errorf("build the workload: %w", err)
	}
	program = filepath.Join(dir, "workload")
	argv := append(strings.Fields(cc), "-O2", "-Wall", "-Werror", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
		"-static", "-nostdlib", "-o", program, source)
	if _, err := run.Run(ctx, run.Cmd{Argv: argv}); err != nil {
		return "", fmt.Errorf("build the workload: %w", err)
	}
	return program, nil
}

// maxBatches bounds what is read of one operation.
const maxBatches = 1000

// parseWorkload reads what the workload printed, and returns for each of
// operations the instructions that one of it takes: the median over batches,
// which leaves out those that an interrupt fell into, without the loop.
func parseWorkload(output string) ([]float64, error) {
	batches := map[string][]float64{}
	for line := range strings.Lines(output) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("read the workload's counts: %.100q is not a count", strings.TrimSpace(line))
		}
		n, err1 := strconv.ParseUint(f[1], 10, 32)
		took, err2 := strconv.ParseUint(f[2], 10, 53)
		if err1 != nil || err2 != nil || n == 0 || len(batches[f[0]]) >= maxBatches {
			return nil, fmt.Errorf("read the workload's counts: %.100q is not a count", strings.TrimSpace(line))
		}
		batches[f[0]] = append(batches[f[0]], float64(took)/float64(n))
	}
	loop := batches[emptyLoop]
	if len(loop) == 0 || len(batches) != 1+len(operations) {
		return nil, fmt.Errorf("read the workload's counts: %d operations, and %d counts of the empty loop; there are %d operations", len(batches)-1, len(loop), len(operations))
	}
	out := make([]float64, len(operations))
	for i, name := range operations {
		if len(batches[name]) == 0 {
			return nil, fmt.Errorf("read the workload's counts: none of %s", name)
		}
		if out[i] = median(batches[name]) - median(loop); out[i] <= 0 {
			return nil, fmt.Errorf("read the workload's counts: %s takes no longer than nothing: the guest's clock does not count instructions", name)
		}
	}
	return out, nil
}
