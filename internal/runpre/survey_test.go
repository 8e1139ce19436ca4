// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// TestSurvey measures on objects of a developer's choice: KMEND_RUNPRE_IMAGE is
// an uncompressed vmlinux, KMEND_RUNPRE_OBJECTS a file with one object a line,
// followed by the path of the .ko it is part of unless it is built in.
func TestSurvey(t *testing.T) {
	image, list := os.Getenv("KMEND_RUNPRE_IMAGE"), os.Getenv("KMEND_RUNPRE_OBJECTS")
	if image == "" || list == "" {
		t.Skip("set KMEND_RUNPRE_IMAGE and KMEND_RUNPRE_OBJECTS to measure")
	}
	img, err := kernel.OpenImage(image)
	if err != nil {
		t.Fatal(err)
	}
	lf, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer lf.Close()
	var sum survey
	for sc := bufio.NewScanner(lf); sc.Scan(); {
		sum.object(t, img, strings.Fields(sc.Text()))
	}
	var names []string
	for r, n := range sum.rules {
		names = append(names, fmt.Sprintf("%s %d functions", r, n))
	}
	sort.Strings(names)
	t.Logf("%d objects, %d functions (%d bytes): %d equal, %d mismatch (%d weak), %d missing, %d ambiguous; %v; %v, slowest object %v",
		sum.objects, sum.funcs, sum.bytes, sum.verdicts[Equal], sum.verdicts[Mismatch], sum.weak, sum.verdicts[Missing],
		sum.verdicts[Ambiguous], names, sum.spent, sum.slowest)
}

type survey struct {
	objects, funcs, weak int
	bytes                uint64
	verdicts             map[Verdict]int
	rules                map[Rule]int
	spent, slowest       time.Duration
}

func (s *survey) object(t *testing.T, img *kernel.Image, line []string) {
	if len(line) == 0 {
		return
	}
	f := readObject(t, line[0])
	start := time.Now()
	var m *UnitMatch
	var err error
	if len(line) > 1 {
		m, err = ModuleUnit(readObject(t, line[1]), f, nil)
	} else {
		m, err = VmlinuxUnit(img, f, nil)
	}
	if err != nil {
		t.Fatalf("%s: %v", line[0], err)
	}
	spent := time.Since(start)
	s.spent += spent
	s.slowest = max(s.slowest, spent)
	s.objects++
	if s.verdicts == nil {
		s.verdicts, s.rules = map[Verdict]int{}, map[Rule]int{}
	}
	for _, fn := range Functions(f) {
		r := m.Funcs[fn]
		s.funcs++
		s.bytes += fn.Size
		s.verdicts[r.Verdict]++
		for rule := range r.Normalised {
			s.rules[rule]++
		}
		if r.Verdict != Equal {
			if r.Weak && r.Verdict == Mismatch {
				s.weak++
			}
			t.Logf("%s %s (%s, weak %v): %s at %#x: %s", line[0], fn.Name, fn.Section.Name, r.Weak, r.Verdict, r.Offset, r.Why)
		}
	}
}

func readObject(t *testing.T, path string) *object.File {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(b)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}
