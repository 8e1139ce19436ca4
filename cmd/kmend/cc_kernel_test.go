// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"kmend/internal/driver"
	"kmend/internal/kbuild"
	"kmend/internal/kerneltest"
)

// ccCommand is kmend cc as a process of its own, through a link of its name.
func ccCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = ccName // TestMain makes it main
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	return cmd
}

// kbuildCommand is what kbuild runs for one source, without the names of its
// output and of the file of dependencies.
func kbuildCommand(t *testing.T, source string) (dir string, gcc []string) {
	t.Helper()
	k := kerneltest.Open(t)
	tree, err := kbuild.Open(k)
	if err != nil {
		t.Fatal(err)
	}
	commands, err := tree.Commands(t.Context(), []string{source})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(commands[0].Gcc); i++ {
		switch a := commands[0].Gcc[i]; {
		case a == "-o":
			i++
		case len(a) < 8 || a[:8] != "-Wp,-MMD":
			gcc = append(gcc, a)
		}
	}
	return k.ObjDir, gcc
}

// TestCCKernelUnit: a unit of the stock kernel by kbuild's own command. The
// compiler uses in one function that another always writes what it is given
// (-fipa-modref), which no dump of clones shows.
func TestCCKernelUnit(t *testing.T) {
	dir, gcc := kbuildCommand(t, "kernel/events/callchain.c")
	version, err := ccCommand(t, dir, "--version").Output()
	if err != nil || !bytes.HasPrefix(version, []byte(gcc[0]+" ")) {
		t.Errorf("in the O= directory kmend cc is %.60q, %v; want %s", version, err, gcc[0])
	}
	out := t.TempDir()
	plain, ours := filepath.Join(out, "plain.o"), filepath.Join(out, "ours.o")
	cmd := exec.Command(gcc[0], append(gcc[1:], "-o", plain)...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	list := func(option string) driver.Record {
		text, err := ccCommand(t, dir, append(gcc[1:], "-o", ours, option)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		var rec driver.Record
		if err := json.Unmarshal(text, &rec); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		want, err := os.ReadFile(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(ours); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: another object, %v", option, err)
		}
		return rec
	}
	user := func(rec driver.Record) bool {
		return slices.ContainsFunc(rec.Functions, func(f driver.Function) bool {
			return slices.ContainsFunc(f.Impacted, func(i driver.Impacted) bool { return i.Symbol == "get_perf_callchain" })
		})
	}
	if rec := list("-flive-patch-list=get_callchain_entry,json"); user(rec) {
		t.Errorf("without facts: %+v: this test cannot fail", rec)
	}
	if rec := list("-flive-patch-list=get_callchain_entry,facts,json"); !user(rec) {
		t.Errorf("with facts: %+v, want get_perf_callchain", rec)
	}
}
