// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkCommands looks commands up: first with nothing remembered, then with
// the environment captured, then remembered.
func BenchmarkCommands(b *testing.B) {
	sources := []string{"fs/proc/cmdline.c", "net/ipv4/tcp_ipv4.c", "kernel/bpf/verifier.c"}
	tr := tree(b)
	one := func(b *testing.B, prepare func()) {
		for b.Loop() {
			b.StopTimer()
			prepare()
			b.StartTimer()
			commands(b, tr, sources...)
		}
	}
	b.Run("first", func(b *testing.B) { one(b, func() { os.RemoveAll(tr.cfg.StateDir) }) })
	b.Run("captured", func(b *testing.B) {
		one(b, func() {
			dirs, _ := filepath.Glob(filepath.Join(tr.cfg.StateDir, "commands-*"))
			for _, d := range dirs {
				os.RemoveAll(d)
			}
		})
	})
	b.Run("remembered", func(b *testing.B) { one(b, func() {}) })
}

// BenchmarkCompilePair compiles before and after at the same time, uncached.
func BenchmarkCompilePair(b *testing.B) {
	tr := tree(b)
	for _, c := range commands(b, tr, "fs/proc/cmdline.c", "net/ipv4/tcp_ipv4.c", "kernel/bpf/verifier.c") {
		b.Run(filepath.Base(c.Source), func(b *testing.B) {
			var cpu time.Duration
			n := 0
			for b.Loop() {
				x, y, err := tr.CompilePair(context.Background(), Job{Command: c})
				if err != nil {
					b.Fatal(err)
				}
				for _, s := range append(x.Steps, y.Steps...) {
					cpu += s.CPU
				}
				n++
			}
			b.ReportMetric(cpu.Seconds()/float64(n), "cpu-s/op")
		})
	}
}
