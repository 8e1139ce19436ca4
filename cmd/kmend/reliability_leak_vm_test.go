// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
)

// sampled is what is looked at between cycles, all with the same crowd running:
// what the kernel allocates for a live patch must be given back. Where bound is
// not 0 the figure may not grow by that much a cycle.
var sampled = []struct {
	title, command string
	bound          float64
}{
	{"SUnreclaim, kB", `awk '/^SUnreclaim/ {print $2}' /proc/meminfo`, 1},
	{"VmallocUsed, kB", `awk '/^VmallocUsed/ {print $2}' /proc/meminfo`, 1},
	{"Percpu, kB", `awk '/^Percpu/ {print $2}' /proc/meminfo`, 1},
	{"areas in vmallocinfo", `wc -l < /proc/vmallocinfo`, 0.1},
	{"kernfs nodes", `awk '/^kernfs_node_cache/ {print $2}' /proc/slabinfo`, 1},
	{"objects of kmalloc-*", `awk '/^kmalloc-[0-9]/ {n += $2} END {print n}' /proc/slabinfo`, 1},
	{"MemFree, kB", `awk '/^MemFree/ {print $2}' /proc/meminfo`, 0},
	{"modules", `wc -l < /proc/modules`, 0.01},
	{"functions under ftrace", `wc -l < /sys/kernel/tracing/enabled_functions`, 0.01},
	{"files of kmend", `find /run/kmend -type f | wc -l`, 0.01},
}

// sample is what was seen after some cycles.
type sample struct {
	cycle  float64
	values []float64
}

// sample waits until the kernel has freed what it frees late (RCU), and looks.
func (c *cycler) sample() {
	c.t.Helper()
	var script strings.Builder
	script.WriteString("echo 2 > /proc/sys/vm/drop_caches; sleep 1\n")
	for _, s := range sampled {
		script.WriteString(s.command + "\n")
	}
	out := c.must(script.String())
	s := sample{cycle: float64(c.done)}
	for line := range strings.Lines(out) {
		var v float64
		if _, err := fmt.Sscan(line, &v); err != nil {
			c.t.Fatalf("sample: %v in %s", err, out)
		}
		s.values = append(s.values, v)
	}
	if len(s.values) != len(sampled) {
		c.t.Fatalf("sample: %d figures in %s", len(s.values), out)
	}
	c.samples = append(c.samples, s)
}

// slope is the growth a cycle of the figure i, by least squares. The first fifth
// of the samples is left out: caches fill.
func slope(samples []sample, i int) float64 {
	samples = samples[len(samples)/5:]
	var n, x, y, xx, xy float64
	for _, s := range samples {
		n, x, y = n+1, x+s.cycle, y+s.values[i]
		xx, xy = xx+s.cycle*s.cycle, xy+s.cycle*s.values[i]
	}
	if d := n*xx - x*x; d != 0 {
		return (n*xy - x*y) / d
	}
	return 0
}

// judge holds the slopes against their bounds, if there were cycles enough to
// tell a leak from noise.
func (c *cycler) judge() {
	c.t.Helper()
	const enough = 250 // with two CPUs the slabs were still filling up after 100
	if c.done < enough {
		return
	}
	for i, what := range sampled {
		if s := slope(c.samples, i); what.bound != 0 && s > what.bound {
			c.t.Errorf("%s grow by %.3f a cycle, more than %v: a leak", what.title, s, what.bound)
		}
	}
}

func TestSlope(t *testing.T) {
	var leak, noise []sample
	for i := range 50 {
		x := float64(i * 10)
		leak = append(leak, sample{x, []float64{1000 + 2*x + float64(i*7%5)}})
		noise = append(noise, sample{x, []float64{1000 + float64(i*7%50)}})
	}
	if s := slope(leak, 0); s < 1.99 || s > 2.01 {
		t.Errorf("a leak of 2 a cycle: %f", s)
	}
	if s := slope(noise, 0); s > 0.05 || s < -0.05 {
		t.Errorf("noise: %f", s)
	}
}
