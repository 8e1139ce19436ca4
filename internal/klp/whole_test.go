// SPDX-License-Identifier: Apache-2.0

package klp_test

import (
	"slices"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/klp/klptest"
	"kmend/internal/special"
	"kmend/internal/vm"
)

// traceable lists the functions of a source that can be replaced in vmlinux:
// those with an entry in __mcount_loc and a unique name.
func traceable(t *testing.T, k *kernel.Kernel, src klptest.Source) []string {
	t.Helper()
	im, err := k.Image()
	if err != nil {
		t.Fatal(err)
	}
	f := klptest.Compile(t, k, src)
	entries, err := special.Split(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range f.Symbols {
		if s.Section == nil || !s.IsFunc() || strings.HasPrefix(s.Section.Name, ".init") || len(im.Symbols().Lookup(s.Name)) != 1 {
			continue
		}
		if slices.ContainsFunc(entries, func(e special.Entry) bool {
			return e.Format.Name == special.McountLoc && e.Code == s.Section && e.At == s.Value
		}) {
			out = append(out, s.Name)
		}
	}
	return out
}

// TestWholeFilesReplaced replaces every function of two files with itself, as
// compiled here, and lets the kernel live with it: any reference gone astray
// would show.
func TestWholeFilesReplaced(t *testing.T) {
	t.Parallel()
	k := kerneltest.Open(t)
	var patches []klptest.Patch
	var functions []vm.FunctionID
	for _, path := range []string{"fs/seq_file.c", "fs/proc/array.c"} {
		src := klptest.Source{Path: path}
		funcs := traceable(t, k, src)
		if len(funcs) < 10 {
			t.Fatalf("only %q of %s can be replaced", funcs, path)
		}
		patches = append(patches, klptest.Patch{Object: "vmlinux", Funcs: funcs, Source: src})
		for _, f := range funcs {
			functions = append(functions, vm.FunctionID{Object: "vmlinux", Name: f})
		}
	}
	path, _ := writeFor(t, k, klptest.Spec(t, k, "livepatch_whole", patches...))
	t.Logf("%d functions", len(functions))
	prove(t, k, vm.Config{Livepatch: path, Functions: functions,
		Check: "test -d /sys/kernel/livepatch/livepatch_whole || exit 1; cat /proc/self/status /proc/self/stat /proc/self/statm /proc/self/maps /proc/mounts > /tmp/o || exit 2; grep -q VmRSS /tmp/o && grep -q '^Name:.*cat' /tmp/o"})
}
