// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/levels"
)

func levelsAnswer() *levelsDocument {
	failure := levels.Failure{Unit: "mm/shmem.c", Level: compiler.None, Reason: "mm/shmem.c:1:2: error: \x1b[1mBUILD_BUG"}
	operations := func(factor float64) []levels.Operation {
		return []levels.Operation{
			{Name: "getpid", Instructions: 200 * factor, Ratio: factor},
			{Name: "fork", Instructions: 50000 * factor, Spread: .00125, Ratio: factor},
		}
	}
	return &levelsDocument{
		Version: 1, Kernel: "6.1.0-50-amd64", Compiler: "gcc-12 12.2.0",
		Units: &levels.Units{
			Asked: 3, Counted: 2, Functions: 40, Rounds: 3, Failures: []levels.Failure{failure},
			Levels: []levels.Level{
				{Level: compiler.Plain, Text: 1000, TextRatio: 1, Bodies: 30, Bodiless: 10, CPUSeconds: 2, CPURatio: 1, Impacted: levels.Distribution{Any: .5, Mean: .75, P90: 2, P99: 3, Max: 4}},
				{Level: compiler.None, Text: 1200, TextRatio: 1.2, Bodies: 90, CPUSeconds: 2.1, CPURatio: 1.05},
			},
		},
		Runtimes: []levels.Runtime{
			{Level: compiler.Plain, Text: 4000, Boots: 3, Operations: operations(1), Ratio: 1},
			{Level: compiler.Inline, Text: 4100, Boots: 3, Operations: operations(1.1), Ratio: 1.1, Without: []levels.Failure{failure}},
			{Level: compiler.None, Boots: 3, Error: "boot the kernel: the guest ended"},
		},
	}
}

func TestPrintLevels(t *testing.T) {
	var out bytes.Buffer
	a := &app{Out: &out}
	if err := a.printLevels(levelsAnswer()); err != nil {
		t.Fatal(err)
	}
	want := `6.1.0-50-amd64, gcc-12 12.2.0

2 of 3 units, 40 functions
level  text   ratio  bodies  no body  clones     any   mean  p50  p90  p99  max     cpu  ratio
plain  1000  1.0000      30       10       0  50.0 %  0.750    0    2    3    4  2.00 s  1.000
none   1200  1.2000      90        0       0   0.0 %  0.000    0    0    0    0  2.10 s  1.050
mm/shmem.c does not compile at none: mm/shmem.c:1:2: error: ^[[1mBUILD_BUG

instructions for one operation, in a small kernel built at each level
operation           plain  inline  ratio
getpid                200     220  1.100
fork                50000   55000  1.100
geometric mean                     1.100
text of the kernel   4000    4100  1.025
largest difference between any of 3 boots: 0.125 %
mm/shmem.c is compiled as plain at none: mm/shmem.c:1:2: error: ^[[1mBUILD_BUG
no kernel at none: boot the kernel: the guest ended
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestNothingToCompare: an answer without figures says so and is a failure.
func TestNothingToCompare(t *testing.T) {
	doc := levelsAnswer()
	doc.Units.Counted, doc.Runtimes = 0, nil
	var out bytes.Buffer
	if err := (&app{Out: &out}).printLevels(doc); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "no unit compiles at every level") || !strings.Contains(s, "BUILD_BUG") || strings.Contains(s, "plain") {
		t.Errorf("printed:\n%s", s)
	}
	if code, _ := exitCode(unmeasured(doc)); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	doc = levelsAnswer()
	if code, _ := exitCode(unmeasured(doc)); code != exitFailed {
		t.Errorf("a kernel is missing: exit code %d, want %d", code, exitFailed)
	}
	doc.Runtimes = doc.Runtimes[:2]
	if err := unmeasured(doc); err != nil {
		t.Errorf("a whole answer: %v", err)
	}
}

func TestWritePicture(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.svg")
	if err := writePicture(file, levelsAnswer()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil || !bytes.HasPrefix(data, []byte("<svg ")) {
		t.Errorf("the picture: %.40q, %v", data, err)
	}
	if err := writePicture(filepath.Join(file, "below"), levelsAnswer()); err == nil {
		t.Error("written below a file")
	}
}
