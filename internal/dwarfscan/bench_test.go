// SPDX-License-Identifier: Apache-2.0

package dwarfscan

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchFile is the file of $KMEND_TEST_DWARF, or one made here: 60 units with
// 200 functions that each hold six copies.
func benchFile(b *testing.B) string {
	if name := os.Getenv(testFile); name != "" {
		return name
	}
	dir := writeSources(b)
	var text strings.Builder
	text.WriteString("#include \"inc/leaf.h\"\n")
	for i := range 200 {
		fmt.Fprintf(&text, "struct s%d { int a, b[%d]; struct s%d *next; }; int f%d(struct s%d *p) { return twig(p->a) + leaf(p->b[1]) + twig(p->next->a) + lf(3); }\n", i, i+2, i, i, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "big.c"), []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	object(b, dir, "gcc-12", "big.c", "-g")
	command(b, dir, append([]string{"ld", "-r", "--allow-multiple-definition", "-o", "all.o"}, slices.Repeat([]string{"big.c.o"}, 60)...)...)
	return filepath.Join(dir, "all.o")
}

// cpu is what this process has used, in user and system mode.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// report adds the processor time of a round, and the most memory that the
// process had so far: run one benchmark alone to compare that.
func report(b *testing.B, start time.Duration, copies int) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric((cpu(b)-start).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(r.Maxrss)/1024, "max-rss-MB")
	b.ReportMetric(float64(copies), "copies")
}

// BenchmarkScan reads everything, names and files included.
func BenchmarkScan(b *testing.B) {
	name := benchFile(b)
	b.ReportAllocs()
	start, copies := cpu(b), 0
	for b.Loop() {
		f, err := Open(name)
		if err != nil {
			b.Fatal(err)
		}
		copies = 0
		if err := f.Scan(b.Context(), func(u *Unit) error { copies += u.Copies; return nil }); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, start, copies)
}

// BenchmarkDebugDwarf only walks the entries with the standard library, and
// follows no reference.
func BenchmarkDebugDwarf(b *testing.B) {
	name := benchFile(b)
	b.ReportAllocs()
	start, copies := cpu(b), 0
	for b.Loop() {
		f, err := elf.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		d, err := f.DWARF()
		if err != nil {
			b.Fatal(err)
		}
		copies = 0
		for r := d.Reader(); ; {
			e, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			if e == nil {
				break
			}
			if e.Tag == dwarf.TagInlinedSubroutine {
				copies++
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, start, copies)
}
