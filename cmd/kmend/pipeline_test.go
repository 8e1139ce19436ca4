// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
	"kmend/internal/plan"
	"kmend/internal/vm/vmtest"
)

type edit = kerneltest.Edit

func sub(file, from, to string) edit { return edit{File: file, Old: from, New: to} }

// fixFile writes a fix to a file of its own; its name is the patch's.
func fixFile(t *testing.T, k *kernel.Kernel, name string, edits ...edit) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".patch")
	if err := os.WriteFile(file, kerneltest.Diff(t, k, edits...), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// buildFix runs kmend build and returns the module and its plan.
func buildFix(t *testing.T, k *kernel.Kernel, name string, edits ...edit) (module string, p *plan.Plan) {
	t.Helper()
	return buildFixFrom(t, k, plan.WayBinary, name, edits...)
}

func buildFixFrom(t *testing.T, k *kernel.Kernel, way, name string, edits ...edit) (module string, p *plan.Plan) {
	t.Helper()
	dir := t.TempDir()
	if code, _, _ := kmend(t, "build", "-k", k.Name, "--from", way, "-o", dir, fixFile(t, k, name, edits...)); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	return filepath.Join(dir, "livepatch-"+name+".ko"), readPlan(t, dir)
}

func readPlan(t *testing.T, dir string) *plan.Plan {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	var p plan.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// testFix runs kmend test with a check, wants it passed, and returns what it
// printed.
func testFix(t *testing.T, k *kernel.Kernel, module, check string, more ...string) string {
	t.Helper()
	vmtest.NeedQEMU(t)
	code, out, _ := kmend(t, append([]string{"test", module, "-k", k.Name, "--check", check, "--agent", vmtest.Agent(t)}, more...)...)
	if code != exitDone || !strings.Contains(out, ": passed") {
		t.Errorf("exit code %d", code)
	}
	return out
}

// probe compiles the guest's helper.
func probe(t *testing.T, k *kernel.Kernel) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "probe")
	if text, err := exec.Command(k.Compiler, "-static", "-O1", "-o", out, "testdata/guest/probe.c").CombinedOutput(); err != nil {
		t.Fatalf("compile the guest's helper: %v\n%s", err, text)
	}
	return out
}

var newline = sub("fs/proc/cmdline.c", "\tseq_putc(m, '\\n');", "\tseq_puts(m, \" kmend\\n\");")

var sizelimit = sub("drivers/block/loop.c", `return sysfs_emit(buf, "%llu\n", (unsigned long long)lo->lo_sizelimit);`,
	`return sysfs_emit(buf, "%llu kmend\n", (unsigned long long)lo->lo_sizelimit);`)

// The same fix gives the same bytes, whoever builds it, where, with an empty
// cache or a full one, on one processor or more.
func TestSameBytes(t *testing.T) {
	k := kerneltest.Open(t)
	fix := fixFile(t, k, "same", newline, sizelimit, sub("fs/drop_caches.c", "if (!stfu) {", "if (!stfu && ret >= 0) {"))
	agree := ""
	for _, procs := range []string{"1", "2"} {
		cache := emptyCache(t, k)
		for range 2 {
			dir := filepath.Join(t.TempDir(), "some", "where-"+procs)
			cmd := self(t, "build", "-q", "-k", k.Name, "-o", dir, fix)
			cmd.Env = append(cmd.Env, "GOMAXPROCS="+procs, "XDG_CACHE_HOME="+cache)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			data, err := os.ReadFile(filepath.Join(dir, "livepatch-same.ko"))
			if err != nil {
				t.Fatal(err)
			}
			if agree == "" {
				agree = string(data)
			} else if agree != string(data) {
				t.Errorf("the module built in %s differs at byte %d of %d", dir, differ(agree, string(data)), len(data))
			}
		}
	}
}

// emptyCache is a cache directory with the kernel's record and nothing else.
func emptyCache(t *testing.T, k *kernel.Kernel) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(k.Dir, "kernel.json"))
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	dir := filepath.Join(cache, "kmend", "kernels", k.Name)
	record["dir"] = dir // the paths in it stay those of the kernel that was added
	if text, err = json.Marshal(record); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return cache
}

func differ(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// self is a command that runs kmend as a process of its own: TestMain makes the
// test's binary kmend when it is called so.
func self(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	link := filepath.Join(t.TempDir(), "kmend")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), link, args...)
	cmd.Env = os.Environ()
	return cmd
}

// One livepatch for the kernel and a module; the module comes first or last.
func TestModuleOfBothOrders(t *testing.T) {
	k := kerneltest.Open(t)
	module, p := buildFix(t, k, "both", newline, sizelimit)
	if len(p.Objects) != 2 || p.Objects[0].Name != "vmlinux" || p.Objects[1].Name != "loop" {
		t.Errorf("objects %+v", p.Objects)
	}
	// The module may be there or not; when it is, its function must be as the
	// kernel's is.
	const check = `grep kmend /proc/cmdline; patched=$?
dd if=/dev/zero of=/tmp/img bs=1k count=8 2>/dev/null
losetup /dev/loop0 /tmp/img || exit 9
grep kmend /sys/block/loop0/loop/sizelimit; also=$?
losetup -d /dev/loop0
[ $patched = $also ] || exit 8
exit $patched`
	out := testFix(t, k, module, check)
	for _, want := range []string{"vmlinux cmdline_proc_show: patched", "loop loop_attr_do_show_sizelimit: patched", "when loaded before the live patch, and when loaded after it"} {
		if !strings.Contains(out, want) {
			t.Errorf("the answer has no %q", want)
		}
	}
}

// The address of a new function stays in a variable: whoever calls it may do so
// when the patch is disabled, so the module must stay.
func TestPinned(t *testing.T) {
	k := kerneltest.Open(t)
	module, p := buildFix(t, k, "pinned",
		sub("fs/proc/cmdline.c", "static int cmdline_proc_show", "static noinline int more(int x)\n{\n\treturn x * 7;\n}\n\nstatic int (*volatile kept)(int);\n\nstatic int cmdline_proc_show"),
		sub("fs/proc/cmdline.c", "\tseq_putc(m, '\\n');", "\tkept = more;\n\tseq_printf(m, \" kmend%d\\n\", kept(6));"))
	if len(p.Pins) == 0 || !strings.Contains(strings.Join(p.Pins, " "), "more") {
		t.Errorf("the plan has no pin for more: %q", p.Pins)
	}
	testFix(t, k, module, "grep kmend42 /proc/cmdline")
}

// The tracepoint of a module cannot be kept in the patched function. The plan
// says so, and the function works without it.
func TestModuleTracepoint(t *testing.T) {
	k := kerneltest.Open(t)
	module, p := buildFix(t, k, "tracepoint",
		sub("net/sunrpc/cache.c", "\tspin_lock(&cache_list_lock);\n\n\t/* find a suitable table", "\tpr_info(\"kmend cleans\\n\");\n\tspin_lock(&cache_list_lock);\n\n\t/* find a suitable table"))
	var dropped []plan.Dropped
	for _, u := range p.Units {
		dropped = append(dropped, u.Dropped...)
	}
	warned := false
	for _, w := range p.Warnings {
		warned = warned || w.Code == "tracepoint-off" && strings.Contains(w.Text, "sunrpc")
	}
	if len(dropped) == 0 || !warned {
		t.Errorf("dropped %+v, warnings %+v", dropped, p.Warnings)
	}
	testFix(t, k, module, `dmesg -c > /dev/null; echo $(($(date +%s) + 1)) > /proc/net/rpc/auth.unix.ip/flush; dmesg | grep "kmend cleans"`)
}

// A special section entry that would have to name a symbol of a module.
func TestModuleSpecial(t *testing.T) {
	k := kerneltest.Open(t)
	dir := t.TempDir()
	fix := fixFile(t, k, "special",
		sub("drivers/block/loop.c", "static ssize_t loop_attr_sizelimit_show", "#include <asm/alternative.h>\nstatic ssize_t loop_attr_sizelimit_show"),
		sub("drivers/block/loop.c", `return sysfs_emit(buf, "%llu\n", (unsigned long long)lo->lo_sizelimit);`,
			`asm volatile(ALTERNATIVE("call %P[a]", "call %P[b]", X86_FEATURE_ALWAYS) : ASM_CALL_CONSTRAINT : [a] "i" (loop_set_size), [b] "i" (__loop_update_dio) : "memory");
	return sysfs_emit(buf, "%llu\n", (unsigned long long)lo->lo_sizelimit);`))
	code, out, _ := kmend(t, "build", "-k", k.Name, "-o", dir, fix)
	if code != exitRefused || !strings.Contains(out, plan.CodeModuleSpecial) || !strings.Contains(out, "loop") {
		t.Errorf("exit code %d", code)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
