// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kmend/internal/compiler"
	"kmend/internal/kernel"
	"kmend/internal/run"
	"kmend/internal/vm"
)

// Operation is what one of the workload's operations took.
type Operation struct {
	Name         string  `json:"name"`
	Instructions float64 `json:"instructions"` // executed for one of it, in the kernel and the few around the system calls: the median over boots
	Spread       float64 `json:"spread"`       // difference of the most and the least, as a share of instructions
	Ratio        float64 `json:"ratio"`        // to plain
}

// RunConfig says which kernels to build, boot and count.
type RunConfig struct {
	Kernel   *kernel.Kernel
	Compiler *compiler.Compiler // of Kernel
	Levels   []compiler.Level   // beside Plain
	Boots    int                // of each kernel; at least 1
	Jobs     int                // of make; 0: one for each CPU
	Agent    string             // see vm.Machine.Agent
	Progress func(phase string, done, total int64)
}

// Runtime is one kernel and what the workload took on it.
type Runtime struct {
	Level      compiler.Level `json:"level"`
	Flags      []string       `json:"flags"`
	Vmlinux    string         `json:"vmlinux,omitempty"`  // path of the image
	BuildID    string         `json:"build_id,omitempty"` // of the image, hex
	Text       int64          `json:"text_bytes,omitempty"`
	Without    []Failure      `json:"without"` // units that were compiled without the level, and why
	Boots      int            `json:"boots"`   // of the kernel, with the workload in each
	Operations []Operation    `json:"operations"`
	Ratio      float64        `json:"ratio"` // geometric mean over operations, to plain
	// Error says why there are no figures: the kernel does not build at this
	// level, or does not run.
	Error string `json:"error,omitempty"`
}

// Runtimes builds a small kernel from the kernel's source at each level, boots
// it and counts the instructions that a workload takes. A kernel that was built
// before is used again. Levels other than Plain may fail: see Runtime.Error.
func Runtimes(ctx context.Context, c RunConfig) ([]Runtime, error) {
	levels := withPlain(c.Levels)
	out := make([]Runtime, len(levels))
	for i, l := range levels {
		flags, err := c.Compiler.LevelFlags(ctx, l)
		if err != nil {
			return nil, err
		}
		out[i] = Runtime{Level: l, Flags: append([]string{}, flags...), Boots: c.Boots, Without: []Failure{}, Operations: []Operation{}}
	}
	cache, err := run.CacheDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kmend-workload-")
	if err != nil {
		return nil, fmt.Errorf("build the workload: %w", err)
	}
	defer os.RemoveAll(dir)
	program, err := buildWorkload(ctx, c.Kernel.Compiler, dir)
	if err != nil {
		return nil, err
	}
	for i := range out {
		r := &out[i]
		err := c.level(ctx, r, filepath.Join(cache, "levels", c.Kernel.Name, r.Level.String()), program)
		if err != nil && (ctx.Err() != nil || r.Level == compiler.Plain) {
			return nil, fmt.Errorf("level %v: %w", r.Level, err)
		}
		if err != nil {
			r.Error = err.Error()
			continue
		}
		var ratios []float64
		for k := range r.Operations {
			o := &r.Operations[k]
			o.Ratio = o.Instructions / out[0].Operations[k].Instructions
			ratios = append(ratios, o.Ratio)
		}
		r.Ratio = geometricMean(ratios)
	}
	return out, nil
}

// level builds, boots and counts at one level.
func (c RunConfig) level(ctx context.Context, r *Runtime, dir, program string) error {
	b := &build{kernel: c.Kernel, compiler: c.Compiler, level: r.Level, flags: r.Flags, dir: dir, jobs: c.Jobs, progress: c.Progress}
	built, err := b.make(ctx)
	if err != nil {
		return err
	}
	r.Vmlinux, r.BuildID, r.Text, r.Without = built.vmlinux, built.buildID, built.text, built.without
	phase := fmt.Sprintf("boot at level %v", r.Level)
	r.Operations, err = countInstructions(ctx, vm.Machine{Image: built.vmlinux, BuildID: built.buildID, Agent: c.Agent}, program, c.Boots, func(done int) {
		c.progress(phase, int64(done), int64(c.Boots))
	})
	return err
}

func (c RunConfig) progress(phase string, done, total int64) {
	if c.Progress != nil {
		c.Progress(phase, done, total)
	}
}

// guestProgram is where the workload lies in the guest.
const guestProgram = "/root/kmend-workload"

// countInstructions boots a machine and runs the workload in it, as often as
// asked for, and returns what each operation takes. In each guest the workload
// runs twice and the second run counts: the first fills the kernel's caches.
func countInstructions(ctx context.Context, m vm.Machine, program string, boots int, tick func(done int)) ([]Operation, error) {
	counts := make([][]float64, len(operations))
	for n := range boots {
		tick(n)
		runs, err := countRuns(ctx, m, program, 2)
		if err != nil {
			return nil, err
		}
		for i, v := range runs[1] {
			counts[i] = append(counts[i], v)
		}
	}
	tick(boots)
	out := make([]Operation, len(operations))
	for i, name := range operations {
		mid := median(counts[i])
		out[i] = Operation{Name: name, Instructions: mid, Spread: (slices.Max(counts[i]) - slices.Min(counts[i])) / mid}
	}
	return out, nil
}

// countRuns boots a machine and runs the workload there several times, and
// returns what each operation took in each run.
//
// Instructions are what QEMU's -icount counts: the guest's time stamp counter
// is that counter. Addresses in the guest's programs are not drawn at random
// (norandmaps).
func countRuns(ctx context.Context, m vm.Machine, program string, n int) (runs [][]float64, err error) {
	m.CountInstructions = true
	m.ExtraCommandLine = "norandmaps"
	m.Files = []vm.File{{Host: program, Guest: guestProgram}}
	m.BootTimeout = 10 * time.Minute
	g, err := vm.Boot(ctx, m)
	if err != nil {
		return nil, err
	}
	defer g.Close()
	for range n {
		r, err := g.Run(ctx, 5*time.Minute, guestProgram)
		if err != nil {
			return nil, err
		}
		if r.Exit != 0 || r.Cut {
			return nil, fmt.Errorf("run the workload in the guest: exit status %d: %.200s", r.Exit, r.Output)
		}
		took, err := parseWorkload(r.Output)
		if err != nil {
			return nil, err
		}
		runs = append(runs, took)
	}
	return runs, g.Finish(ctx)
}
