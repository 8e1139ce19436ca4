// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kmend/internal/kerneltest"
	"kmend/internal/vm/vmtest"
)

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestVerify: exit codes and answers for livepatches that kbuild made, good,
// compressed, changed and several.
func TestVerify(t *testing.T) {
	k := kerneltest.Open(t)
	dir := vmtest.BuildModules(t, k, "../../internal/vm/testdata/modules")
	path := filepath.Join(dir, "lp_cmdline.ko")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Replace(data, []byte("vermagic="+k.Release), []byte("vermagic=5"+k.Release[1:]), 1)
	pktgen := writeFile(t, "pktgen.ko", kerneltest.ModuleData(t, k, "pktgen"))
	fifo := filepath.Join(t.TempDir(), "fifo.ko")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		words []string
	}{
		{"good", []string{path}, exitDone, []string{"vmlinux cmdline_proc_show: 0xffffffff", "becomes livepatch_cmdline_proc_show", "no klp relocations", "[unsigned]", "lp_cmdline: no objection"}},
		{"compressed", []string{writeFile(t, "lp_cmdline.ko.gz", gzipped(t, data))}, exitDone, []string{"lp_cmdline: no objection"}},
		{"another release", []string{writeFile(t, "wrong.ko", wrong)}, exitRefused, []string{"objection: vermagic: it is ", "build it for this kernel [vermagic]", "lp_cmdline: 1 objection"}},
		{"two", []string{path, filepath.Join(dir, "lp_modules.ko")}, exitDone, []string{"loaded in this order:", "do not touch each other", "2 modules: no objection"}},
		{"one function", []string{path, filepath.Join(dir, "lp_pinned.ko")}, exitDone, []string{"warning: lp_cmdline, lp_pinned: both replace vmlinux:cmdline_proc_show", "[overlap]"}},
		{"the same twice", []string{path, path}, exitRefused, []string{"[same-module]", "2 modules: 1 objection"}},
		{"no livepatch", []string{pktgen}, exitFailed, []string{"pktgen.ko", "nothing in it says that it is one"}},
		{"no module", []string{writeFile(t, "text.ko", []byte("no module\n"))}, exitFailed, []string{"text.ko", "not an ELF file"}},
		{"half", []string{writeFile(t, "half.ko", data[:len(data)/2])}, exitFailed, []string{"half.ko"}},
		{"empty", []string{writeFile(t, "empty.ko", nil)}, exitFailed, []string{"empty.ko"}},
		{"directory", []string{t.TempDir()}, exitFailed, []string{"is no file"}},
		{"pipe", []string{fifo}, exitFailed, []string{"is no file"}},
		{"missing", []string{"nothing.ko"}, exitFailed, []string{"nothing.ko"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := kmend(t, append([]string{"verify", "-k", k.Name}, c.args...)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, w := range c.words {
				if !strings.Contains(out+errs, w) {
					t.Errorf("the answer has no %q", w)
				}
			}
		})
	}
	code, out, _ := kmend(t, "verify", "--json", "-k", k.Name, path)
	var answer verifyAnswer
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != exitDone {
		t.Fatalf("exit code %d: %v", code, err)
	}
	if answer.Version != 1 || answer.BuildID != k.BuildID || len(answer.Modules) != 1 || answer.Modules[0].Size != len(data) || answer.Modules[0].Report.Module.Objects[0].Funcs[0].Old.Object != "vmlinux" {
		t.Errorf("answer %+v", answer)
	}
}
