// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func hex(t *testing.T, s string) int64 {
	t.Helper()
	v, err := strconv.ParseInt(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMeasure(t *testing.T) {
	u, err := Measure(t.Context(), Config{
		Units: []string{"bug.c", "chain.c"}, Compile: gcc(t, nil), Compiler: gcc12(t), Levels: compiler.Levels, Jobs: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	if u.Asked != 2 || u.Counted != 1 || u.Functions != 10 || len(u.Levels) != 5 {
		t.Errorf("%d of %d units, %d functions, %d levels", u.Counted, u.Asked, u.Functions, len(u.Levels))
	}
	for _, l := range u.Levels {
		clones := 0
		if l.Level <= compiler.InlineClone {
			clones = 1
		}
		if l.Clones != clones {
			t.Errorf("%v: %d clones, want %d", l.Level, l.Clones, clones)
		}
		if l.CPUSeconds != 0 {
			t.Errorf("%v: a time, although none was asked for", l.Level)
		}
	}
	plain, none := u.Levels[0], u.Levels[4]
	if plain.Bodiless != 2 || none.Bodiless != 0 || plain.TextRatio != 1 || none.TextRatio <= 1 {
		t.Errorf("plain: %d without body, ratio %v; none: %d, %v", plain.Bodiless, plain.TextRatio, none.Bodiless, none.TextRatio)
	}
	if want := (Distribution{Any: .3, Mean: .5, P50: 0, P90: 2, P99: 2, Max: 2}); plain.Impacted != want {
		t.Errorf("plain: impacted %+v, want %+v", plain.Impacted, want)
	}
	var failed []string
	for _, f := range u.Failures {
		failed = append(failed, f.Unit+" "+f.Level.String())
		if !strings.HasPrefix(f.Reason, "bug.c: In function 'user': bug.c:3:") || !strings.HasSuffix(f.Reason, "BUILD_BUG failed") || !strings.Contains(f.Log, "BUILD_BUG") {
			t.Errorf("the reason is %q, the log %q", f.Reason, f.Log)
		}
	}
	if want := []string{"bug.c only-inline-static", "bug.c none"}; !slices.Equal(failed, want) {
		t.Errorf("failed %q, want %q", failed, want)
	}
}

func TestMeasureTakesTurns(t *testing.T) {
	var calls []string
	compile := gcc(t, func(unit string, flags []string) { calls = append(calls, strconv.Itoa(len(flags))) })
	u, err := Measure(t.Context(), Config{
		Units: []string{"chain.c"}, Compile: compile, Compiler: gcc12(t), Levels: []compiler.Level{compiler.Inline, compiler.InlineClone, compiler.Inline}, Jobs: 1, Rounds: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	// 0, 1 and 5 flags: plain, inline-clone, inline; each round begins with another.
	if got, want := strings.Join(calls, " "), "0 1 5 1 5 0 5 0 1"; got != want {
		t.Errorf("compiled at %s, want %s", got, want)
	}
	for _, l := range u.Levels {
		if l.CPUSeconds <= 0 || l.CPURatio <= 0 {
			t.Errorf("%v: %v s, ratio %v", l.Level, l.CPUSeconds, l.CPURatio)
		}
	}
}

func TestMeasureErrors(t *testing.T) {
	measure := func(unit string, rounds int, compile Compile) error {
		_, err := Measure(t.Context(), Config{Units: []string{unit}, Compile: compile, Compiler: gcc12(t), Levels: []compiler.Level{compiler.InlineClone}, Rounds: rounds})
		return err
	}
	var refused *kbuild.CompileError
	if err := measure("broken.c", 0, gcc(t, nil)); !errors.As(err, &refused) {
		t.Errorf("a unit that does not compile as it is: %v", err)
	}
	cached := func(ctx context.Context, unit string, flags []string) (*kbuild.Result, error) {
		return &kbuild.Result{Cached: true}, nil
	}
	if err := measure("chain.c", 1, cached); err == nil || !strings.Contains(err.Error(), "cache") {
		t.Errorf("a time for a cached result: %v", err)
	}
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Measure(dead, Config{Units: []string{"chain.c"}, Compile: gcc(t, nil), Compiler: gcc12(t)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestDistribution(t *testing.T) {
	if d := distribution(nil); d != (Distribution{}) {
		t.Errorf("of nothing: %+v", d)
	}
	n := make([]int, 100)
	for i := range n {
		n[i] = 99 - i // 0 to 99
	}
	if d, want := distribution(n), (Distribution{Any: .99, Mean: 49.5, P50: 49, P90: 89, P99: 98, Max: 99}); d != want {
		t.Errorf("0 to 99: %+v, want %+v", d, want)
	}
	if d, want := distribution([]int{3}), (Distribution{Any: 1, Mean: 3, P50: 3, P90: 3, P99: 3, Max: 3}); d != want {
		t.Errorf("3: %+v, want %+v", d, want)
	}
}

// TestStockUnits counts two files of the stock kernel.
func TestStockUnits(t *testing.T) {
	k := kerneltest.Open(t)
	if k.Name != kerneltest.DefaultName {
		t.Skipf("the golden file is for kernel %s, not %s", kerneltest.DefaultName, k.Name)
	}
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := tree.Commands(t.Context(), []string{"fs/proc/cmdline.c", "fs/proc/array.c"})
	if err != nil {
		t.Fatal(err)
	}
	cc, err := compiler.Identify(t.Context(), strings.Fields(k.Compiler))
	if err != nil {
		t.Fatal(err)
	}
	units, compile := InTree(tree, commands)
	u, err := Measure(t.Context(), Config{Units: units, Compile: compile, Compiler: cc, Levels: []compiler.Level{compiler.InlineClone}, Jobs: tree.Jobs.N()})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(u, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "stock.json", append(got, '\n'))
}
