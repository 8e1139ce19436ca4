// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/vm"
	"kmend/internal/vm/vmtest"
	"kmend/internal/vm/wire"
)

// The kernel's own tests of live patches, in its source.
const (
	selftestScripts = "tools/testing/selftests/livepatch"
	selftestModules = "lib/livepatch"
)

// TestKernelSelftests runs the kernel's own livepatch selftests while kmends
// watch: the tests must pass, and the watchers must say nothing that the kernel
// log does not bear out. With one CPU a transition takes milliseconds, with two a
// second or more. By default one of the scripts runs on each; all of them run on
// both with KMEND_TEST_SELFTESTS=all, and some with their names in it.
func TestKernelSelftests(t *testing.T) {
	k := kerneltest.Open(t)
	vmtest.NeedQEMU(t)
	scripts := map[int][]string{1: {"test-state.sh"}, 2: {"test-livepatch.sh"}}
	if which := os.Getenv("KMEND_TEST_SELFTESTS"); which != "" {
		some := strings.Fields(which)
		if which == "all" {
			some = selftestNames(t, k)
		}
		scripts = map[int][]string{1: some, 2: some}
	}
	stage := stageSelftests(t, k)
	for cpus := 1; cpus <= 2; cpus++ {
		t.Run(fmt.Sprintf("cpus=%d", cpus), func(t *testing.T) { selftests(t, k, stage, cpus, scripts[cpus]) })
	}
}

// selftestNames are all scripts.
func selftestNames(t *testing.T, k *kernel.Kernel) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(k.SourceDir, selftestScripts, "test-*.sh"))
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts in %s, %v", k.SourceDir, err)
	}
	for _, s := range all {
		names = append(names, filepath.Base(s))
	}
	return names
}

var warningRE = regexp.MustCompile(`BUG:|WARNING:|Oops|general protection|hung_task|blocked for more than`)

func selftests(t *testing.T, k *kernel.Kernel, stage string, cpus int, scripts []string) {
	h := bootHost(t, k, func(m *vm.Machine) {
		m.CPUs, m.MemoryMB, m.ExtraCommandLine = cpus, 1024, "log_buf_len=8M"
		m.Files = append(m.Files, rootFiles(t, stage)...)
		// Then the guest does not notice how busy this machine is.
		m.CountInstructions = cpus == 1
	})
	h.shell("ln -s /proc/self/fd /dev/fd") // for bash's <(…)
	begin := time.Now()
	r, err := h.g.Run(t.Context(), 30*time.Minute, slices.Concat([]string{"/bin/bash", "/root/selftests/watch-selftests.sh"}, scripts)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v wall, exit %d\n%s", time.Since(begin).Round(time.Second), r.Exit, r.Output)
	want := `\A`
	for _, s := range scripts {
		want += `(TEST: .* \.\.\. ok\n)+` + regexp.QuoteMeta(s) + `: exit 0 after \d+ ms\n`
	}
	// The watchers lived until they were told to end, and complained of nothing.
	want += `watcher \w+: exit 0\nwatcher \w+: exit 0\n(kmend: interrupted, clearing up .*\n){2}\z`
	if r.Exit != 0 || !regexp.MustCompile(want).MatchString(r.Output) {
		t.Errorf("exit %d, and not all is well in the output", r.Exit)
	}

	records, lost, err := h.g.Log(t.Context())
	if err != nil || lost > 0 {
		t.Fatalf("%d records of the kernel log lost, %v", lost, err)
	}
	for _, r := range records {
		switch {
		case warningRE.MatchString(r.Text):
			t.Errorf("kernel log: %s", r.Text)
		case r.Text == "livepatch: signaling remaining tasks":
			t.Errorf("this machine is too busy for several CPUs: a transition that test-callbacks.sh holds up took more than 15 seconds, and the kernel said so, which the script does not expect")
		}
	}
	c := follow(records)
	t.Logf("clocks: the guest's drift by %d µs", c.drift)
	list, err := listed(h.unzipped("/tmp/w/list.gz"))
	if err != nil {
		t.Errorf("list --watch --json: %v", err)
	}
	status, err := watched(h.unzipped("/tmp/w/status.gz"))
	if err != nil {
		t.Errorf("status --watch: %v", err)
	}
	once, err := asked(h.unzipped("/tmp/w/once.gz"))
	if err != nil {
		t.Errorf("%v", err)
	}
	seen := c.judge(t, "list --watch --json", list)
	c.judge(t, "status --watch", status)
	c.judge(t, "list, status", once)
	c.complete(t, list, seen, cpus)
	c.explained(t, list)
	steady(t, h.unzipped("/tmp/w/memory.gz"))
	h.keep(records)
	if err := h.g.Finish(t.Context()); err != nil {
		t.Error(err)
	}
}

// keep leaves what was said in a directory, for who looks into a failure.
func (h *hosted) keep(records []wire.Record) {
	h.t.Helper()
	dir := os.Getenv("KMEND_TEST_SELFTESTS_KEEP")
	if dir == "" {
		return
	}
	dir = filepath.Join(dir, filepath.Base(h.t.Name()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	var log bytes.Buffer
	for _, r := range records {
		fmt.Fprintf(&log, "%d %d %s\n", r.Micros, r.Priority, r.Text)
	}
	put(h.t, filepath.Join(dir, "log"), log.Bytes())
	for _, n := range []string{"list", "status", "once", "memory"} {
		put(h.t, filepath.Join(dir, n), []byte(h.unzipped("/tmp/w/"+n+".gz")))
	}
}

// unzipped is a file of the guest that is compressed there.
func (h *hosted) unzipped(path string) string {
	h.t.Helper()
	data, err := h.g.ReadFile(h.t.Context(), path)
	if err != nil {
		h.t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		h.t.Fatalf("%s: %v", path, err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		h.t.Fatalf("%s: %v", path, err)
	}
	return string(text)
}

// stageSelftests makes what a guest needs of this machine and of the kernel's
// source: the scripts, what they call, and their modules where modprobe looks.
func stageSelftests(t *testing.T, k *kernel.Kernel) string {
	t.Helper()
	stage, modules := t.TempDir(), t.TempDir()
	vmtest.Programs(t, stage, "bash coreutils diffutils grep kmod mawk procps sed util-linux",
		"/bin/bash", "/bin/stat", "awk", "cat", "comm", "diff", "dirname", "dmesg", "grep", "id", "mkfifo", "mktemp", "modinfo", "modprobe", "rm", "rmmod", "sed", "sleep", "sysctl", "touch")
	sources, err := filepath.Glob(filepath.Join(k.SourceDir, selftestModules, "*.c"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no modules in %s, %v", k.SourceDir, err)
	}
	kbuild := "obj-m :="
	for _, s := range sources {
		data, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(modules, filepath.Base(s)), data)
		kbuild += " " + strings.TrimSuffix(filepath.Base(s), ".c") + ".o"
	}
	put(t, filepath.Join(modules, "Kbuild"), []byte(kbuild+"\n"))
	built, err := filepath.Glob(filepath.Join(vmtest.BuildModules(t, k, modules), "*.ko"))
	if err != nil || len(built) != len(sources) {
		t.Fatalf("%d modules of %d sources, %v", len(built), len(sources), err)
	}

	extra := filepath.Join(stage, "lib/modules", k.Release, "extra")
	if err := os.MkdirAll(extra, 0o755); err != nil {
		t.Fatal(err)
	}
	// Debug information would only make the guest's files larger.
	for _, m := range built {
		if out, err := exec.Command("strip", "--strip-debug", "-o", filepath.Join(extra, filepath.Base(m)), m).CombinedOutput(); err != nil {
			t.Fatalf("strip %s: %v\n%s", m, err, out)
		}
	}
	if out, err := exec.Command("depmod", "-b", stage, k.Release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v\n%s", err, out)
	}
	dir := filepath.Join(stage, "root/selftests")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(k.SourceDir, selftestScripts))); err != nil {
		t.Fatal(err)
	}
	watch, err := os.ReadFile("testdata/guest/watch-selftests.sh")
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "watch-selftests.sh"), watch)
	return stage
}

func put(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// rootFiles puts what lies in a directory into a guest's root directory.
func rootFiles(t *testing.T, dir string) (files []vm.File) {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		files = append(files, vm.File{Host: filepath.Join(dir, n.Name()), Guest: "/" + n.Name()})
	}
	return files
}
