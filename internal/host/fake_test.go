// SPDX-License-Identifier: Apache-2.0

package host

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/kernel"
	"kmend/internal/klp"
	"kmend/internal/verify"
)

const (
	testBuild   = "00112233445566778899aabbccddeeff00112233" // of the kernel that the fake runs
	otherKernel = "ffffffffffffffffffffffffffffffffffffffff"
	testRelease = "6.1.0-test"
)

// fake is a kernel whose whole state is a directory, so that a process that is
// killed and the next one see the same. It does to the files what Linux does
// (kernel/livepatch/core.c), as far as this package looks at them.
type fake struct {
	root    string
	now     time.Time
	ran     []string // what Run was asked for
	log     []string // what the kernel says
	init    error    // what InitModule answers, if not nil
	busy    int      // how often DeleteModule answers EAGAIN; below 0: always
	tick    func()   // called at each Sleep
	user    bool     // not root
	idle    bool     // modules do not enable themselves
	release string   // testRelease if empty
	// facts let it see which functions modules replace; without, it is do_it.
	facts *klp.Facts
}

func newFake(t testing.TB) (*Host, *fake) {
	t.Helper()
	root := t.TempDir()
	id, err := hex.DecodeString(testBuild)
	if err != nil {
		t.Fatal(err)
	}
	note := append([]byte("\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00"), id...)
	for name, text := range map[string]string{
		"sys/kernel/notes": string(note), "sys/kernel/livepatch/": "", "sys/module/": "", "proc/modules": "", "proc/sys/kernel/tainted": "0\n",
		"proc/sys/kernel/ftrace_enabled": "1\n", "proc/sys/kernel/random/boot_id": "boot-1\n", "root/": "", "run/": "", "var/lib/": "",
	} {
		put(t, filepath.Join(root, name), text, strings.HasSuffix(name, "/"))
	}
	return hostAt(root)
}

// hostAt is the host of a directory that newFake laid out.
func hostAt(root string) (*Host, *fake) {
	f := &fake{root: root, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	return At(root, f), f
}

func put(t testing.TB, path, text string, dir bool) {
	t.Helper()
	if dir {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *fake) path(parts ...string) string {
	return filepath.Join(append([]string{f.root}, parts...)...)
}

func (f *fake) set(path, text string) {
	if err := os.MkdirAll(filepath.Dir(f.path(path)), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(f.path(path), []byte(text), 0o644); err != nil {
		panic(err)
	}
}

// runs makes the fake one that runs a kernel: /sys/kernel/notes has its build id.
func (f *fake) runs(t testing.TB, k *kernel.Kernel) {
	t.Helper()
	id, err := hex.DecodeString(k.BuildID)
	if err != nil {
		t.Fatal(err)
	}
	f.set("sys/kernel/notes", "\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00"+string(id))
	f.release = k.Release
}

func (f *fake) get(path string) string {
	b, _ := os.ReadFile(f.path(path))
	return strings.TrimSpace(string(b))
}

func (f *fake) has(path string) bool {
	_, err := os.Lstat(f.path(path))
	return err == nil
}

// stick makes transitions in a direction (1: patching) never end; "" frees them.
func (f *fake) stick(direction string) { f.set("stuck", direction) }

func (f *fake) InitModule(image []byte) error {
	if f.init != nil {
		return f.init
	}
	m, err := verify.Inspect(image, f.facts)
	if err != nil {
		return unix.ENOEXEC
	}
	if f.has("sys/module/" + m.Name) {
		return unix.EEXIST
	}
	f.insert(m.Name, "OEK", m.BuildID)
	if f.idle {
		f.set("sys/module/"+m.Name+"/refcnt", "0\n")
		return nil
	}
	live := "sys/kernel/livepatch/" + m.Name
	f.set(live+"/enabled", "1\n")
	f.set(live+"/transition", "1\n")
	f.set(live+"/force", "")
	if m.Replace {
		f.set("replaces/"+m.Name, "")
	}
	if f.facts == nil {
		m.Objects = []verify.Object{{Name: "vmlinux", Funcs: []verify.Func{{OldName: "do_it"}}}}
	}
	for _, o := range m.Objects {
		f.set(live+"/"+o.Name+"/patched", "1\n")
		for _, fn := range o.Funcs {
			if err := os.MkdirAll(f.path(live, o.Name, fmt.Sprintf("%s,%d", fn.OldName, max(fn.Sympos, 1))), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fake) insert(name, taint, id string) {
	mod := "sys/module/" + name
	f.set(mod+"/initstate", "live\n")
	f.set(mod+"/taint", taint+"\n")
	f.set(mod+"/refcnt", "1\n")
	if raw, err := hex.DecodeString(id); err == nil && id != "" {
		f.set(mod+"/notes/.note.gnu.build-id", "\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00"+string(raw))
	}
	f.set("proc/modules", name+" 16384 1 - Live 0x0 (OEK)\n"+f.get("proc/modules")+"\n")
}

func (f *fake) DeleteModule(name string) error {
	switch {
	case !f.has("sys/module/" + name):
		return unix.ENOENT
	case f.busy != 0 || f.has("sys/kernel/livepatch/"+name):
		f.busy--
		return unix.EAGAIN
	}
	var left []string
	for line := range strings.Lines(f.get("proc/modules")) {
		if !strings.HasPrefix(line, name+" ") {
			left = append(left, strings.TrimSpace(line))
		}
	}
	f.set("proc/modules", strings.Join(left, "\n"))
	return os.RemoveAll(f.path("sys/module", name))
}

func (f *fake) Write(path, value string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	file.Close()
	dir := strings.TrimPrefix(filepath.Dir(path), f.root)
	switch filepath.Base(path) {
	case "enabled":
		if f.get(dir+"/enabled") == value || f.get(dir+"/transition") == "0" && value == "1" {
			return unix.EINVAL
		}
		f.set(dir+"/enabled", value+"\n")
		f.set(dir+"/transition", "1\n")
	case "force":
		f.end(dir)
	}
	return nil
}

// end is the end of a transition.
func (f *fake) end(dir string) {
	if f.get(dir+"/enabled") == "1" {
		f.set(dir+"/transition", "0\n")
		if f.has("replaces/" + filepath.Base(dir)) {
			f.replaced(filepath.Base(dir))
		}
		return
	}
	os.RemoveAll(f.path(dir))
	f.set("sys/module/"+filepath.Base(dir)+"/refcnt", "0\n")
}

// replaced takes out all live patches but one (klp_unpatch_replaced_patches).
func (f *fake) replaced(by string) {
	dirs, _ := os.ReadDir(f.path("sys/kernel/livepatch"))
	for _, d := range dirs {
		if d.Name() != by {
			os.RemoveAll(f.path("sys/kernel/livepatch", d.Name()))
			f.set("sys/module/"+d.Name()+"/refcnt", "0\n")
		}
	}
}

func (f *fake) Sleep(ctx context.Context, d time.Duration) error {
	if f.tick != nil {
		f.tick()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.now = f.now.Add(d)
	dirs, _ := os.ReadDir(f.path("sys/kernel/livepatch"))
	for _, d := range dirs {
		dir := "sys/kernel/livepatch/" + d.Name()
		if f.get(dir+"/transition") == "1" && f.get(dir+"/enabled") != f.get("stuck") {
			f.end(dir)
		}
	}
	return nil
}

func (f *fake) Now() time.Time           { return f.now }
func (f *fake) IsRoot() bool             { return !f.user }
func (f *fake) Release() (string, error) { return cmp.Or(f.release, testRelease), nil }
func (f *fake) Log() func() []string     { return func() []string { return f.log } }

func (f *fake) Run(_ context.Context, argv ...string) (string, error) {
	f.ran = append(f.ran, strings.Join(argv, " "))
	return "", nil
}

// task adds a thread.
func (f *fake) task(pid int, comm, patchState, stack string, kthread bool) {
	dir := fmt.Sprintf("proc/%d/task/%d", pid, pid)
	flags := 0x400000
	if kthread {
		flags = 0x208040
	}
	f.set(dir+"/patch_state", patchState+"\n")
	f.set(dir+"/comm", comm+"\n")
	f.set(dir+"/stat", fmt.Sprintf("%d (%s) S 2 0 0 0 -1 %d 0 0", pid, comm, flags))
	f.set(dir+"/wchan", "0")
	f.set(dir+"/stack", stack)
}

// moduleText is a livepatch module as far as it describes itself.
type moduleText struct {
	name, kernelID, release string
	salt                    string // makes another module of it
	depends                 string
	noLivepatch             bool
}

// build assembles a module with the compiler and puts it into /root of the fake.
func (m moduleText) build(t testing.TB, h *Host) string {
	t.Helper()
	if m.release == "" {
		m.release = testRelease
	}
	tags := []string{"license=GPL", "name=" + m.name, "vermagic=" + m.release + " SMP", "salt=" + m.salt, "depends=" + m.depends}
	if !m.noLivepatch {
		tags = append(tags, "livepatch=Y")
	}
	if m.kernelID != "" {
		tags = append(tags, "kmend.build_id="+m.kernelID)
	}
	var b strings.Builder
	b.WriteString(".section .modinfo,\"a\"\n")
	for _, tag := range tags {
		fmt.Fprintf(&b, ".asciz %q\n", tag)
	}
	// The note's build id depends on what makes modules differ.
	b.WriteString(".globl init_module\n.text\ninit_module: ret\n.section .gnu.linkonce.this_module,\"aw\"\n.zero 64\n.section .note.gnu.build-id,\"a\",@note\n.long 4, 20, 3\n.asciz \"GNU\"\n")
	id := fmt.Sprintf("%-20.20s", m.salt+m.name)
	fmt.Fprintf(&b, ".ascii %q\n", id)
	file := "/root/" + filepath.Base(m.name) + m.salt + ".ko"
	put(t, h.path(file), assemble(t, b.String()), false)
	return file
}

var assembled sync.Map // object files by source

func assemble(t testing.TB, text string) string {
	t.Helper()
	if object, ok := assembled.Load(text); ok {
		return object.(string)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "m.S"), text, false)
	if out, err := exec.Command("gcc-12", "-c", "-o", filepath.Join(dir, "m.o"), filepath.Join(dir, "m.S")).CombinedOutput(); err != nil {
		t.Fatalf("assemble a module: %v\n%s", err, out)
	}
	object, err := os.ReadFile(filepath.Join(dir, "m.o"))
	if err != nil {
		t.Fatal(err)
	}
	assembled.Store(text, string(object))
	return string(object)
}

func fix(name string) moduleText { return moduleText{name: name, kernelID: testBuild} }
