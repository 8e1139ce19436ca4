// SPDX-License-Identifier: Apache-2.0

package ctext_test

import (
	"context"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kmend/internal/ctext"
	"kmend/internal/kbuild"
)

// BenchmarkUnit reads and expands units of the stock kernel: small, common, and
// large.
func BenchmarkUnit(b *testing.B) {
	tree, _ := open(b, 1)
	ctx := context.Background()
	cs, err := tree.Commands(ctx, []string{"fs/proc/cmdline.c", "net/ipv4/tcp_ipv4.c", "mm/memory.c", "drivers/gpu/drm/i915/gt/intel_engine_cs.c"})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range cs {
		text, err := tree.Preprocess(ctx, kbuild.Job{Command: c}, "-fdirectives-only")
		if err != nil {
			b.Fatal(err)
		}
		name := filepath.Base(c.Source)
		b.Run("read/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := ctext.Read(text); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("both/"+name, func(b *testing.B) {
			b.ReportAllocs()
			tokens, n, start := 0, 0, cpu(b)
			for b.Loop() {
				x := expand(b, c.Source, text)
				tokens = len(x.Tokens)
				n++
			}
			b.ReportMetric(float64(cpu(b)-start)/1e6/float64(n), "cpu-ms/op")
			b.ReportMetric(float64(tokens), "tokens")
		})
	}
}

// cpu is the processor time of the process so far, in ns, the collector's
// included.
func cpu(b *testing.B) int64 {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
