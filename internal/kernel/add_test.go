// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv("KERNEL_TEST_HELPER") == "add" {
		helperAdd()
		return
	}
	os.Exit(m.Run())
}

// fake is a provider whose kernel is a few empty files.
type fake struct {
	calls atomic.Int32
	work  func(ctx context.Context, a *adder) error
}

func (f *fake) entryName(context.Context) (string, error) { return "1.2.3-fake", nil }

func (f *fake) fill(ctx context.Context, a *adder) (*Kernel, error) {
	f.calls.Add(1)
	k := &Kernel{
		Release: "1.2.3-fake", BuildID: "00", SourceDir: filepath.Join(a.dir, "src"), ObjDir: filepath.Join(a.dir, "obj"),
		Vmlinux: filepath.Join(a.dir, "vmlinux"), Symvers: filepath.Join(a.dir, "Module.symvers"), ModulesDir: filepath.Join(a.dir, "modules"),
	}
	for _, d := range []string{k.SourceDir, k.ObjDir, k.ModulesDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	for _, p := range []string{k.Vmlinux, k.Symvers, k.ConfigFile()} {
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			return nil, err
		}
	}
	if f.work != nil {
		return k, f.work(ctx, a)
	}
	return k, nil
}

func (f *fake) add(ctx context.Context, opt AddOptions) (*Kernel, error) {
	return add(ctx, f, "debian", "debian:1.2.3-fake", opt)
}

// emptyStore gives the test a store of its own and returns its directory.
func emptyStore(t *testing.T) string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir, err := storeDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func noKernels(t *testing.T) {
	t.Helper()
	if all, err := List(); err != nil || len(all) != 0 {
		t.Errorf("List = %v, %v", all, err)
	}
	var nf *NotFoundError
	if _, err := Open("1.2.3-fake"); !errors.As(err, &nf) {
		t.Errorf("Open: %v", err)
	}
}

func TestAddOpenRemove(t *testing.T) {
	store := emptyStore(t)
	noKernels(t)
	f := &fake{}
	k, err := f.add(t.Context(), AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !k.Fresh || k.Name != "1.2.3-fake" || k.Dir != filepath.Join(store, k.Name) || k.Provider != "debian" {
		t.Errorf("%+v", k)
	}
	again, err := f.add(t.Context(), AddOptions{})
	if err != nil || again.Fresh || f.calls.Load() != 1 {
		t.Errorf("second add: %v, made %d times", err, f.calls.Load())
	}
	if k, err = f.add(t.Context(), AddOptions{Force: true}); err != nil || !k.Fresh || f.calls.Load() != 2 {
		t.Errorf("forced add: %v, made %d times", err, f.calls.Load())
	}
	for _, name := range []string{"1.2.3-fake", ""} {
		if got, err := Open(name); err != nil || got.Name != "1.2.3-fake" {
			t.Errorf("Open(%q) = %v, %v", name, got, err)
		}
	}
	if n, err := k.DiskUse(t.Context()); err != nil || n == 0 {
		t.Errorf("disk use %d, %v", n, err)
	}
	if _, err := Open("1.2.4-fake"); err == nil || !strings.Contains(err.Error(), "did you mean 1.2.3-fake") {
		t.Errorf("a near name: %v", err)
	}
	if _, err := Open("../x"); err == nil {
		t.Error("a path as a name: no error")
	}
	if _, err := add(t.Context(), f, "tree", "tree:/x", AddOptions{}); err == nil || !strings.Contains(err.Error(), "taken by debian:1.2.3-fake") {
		t.Errorf("a tree under a taken name: %v", err)
	}
	if k, err = f.add(t.Context(), AddOptions{Name: "other"}); err != nil || k.Name != "other" {
		t.Errorf("under another name: %v %v", k, err)
	}
	if _, err := Open(""); err == nil || !strings.Contains(err.Error(), "1.2.3-fake, other") {
		t.Errorf("no name and two kernels: %v", err)
	}
	for _, name := range []string{"other", "1.2.3-fake"} {
		if err := Remove(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	noKernels(t)
	if err := Remove(t.Context(), "other"); err == nil {
		t.Error("removed twice")
	}
	left, err := filepath.Glob(filepath.Join(store, ".trash*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestAddFails(t *testing.T) {
	store := emptyStore(t)
	boom := errors.New("boom")
	f := &fake{work: func(ctx context.Context, a *adder) error {
		if err := a.step().run(ctx, command{argv: []string{"sh", "-c", "echo it says why >&2; exit 3"}}); err == nil || !strings.Contains(err.Error(), "it says why") {
			return fmt.Errorf("unexpected: %v", err)
		}
		return boom
	}}
	var log bytes.Buffer
	_, err := f.add(t.Context(), AddOptions{Log: &log})
	if !errors.Is(err, boom) || !strings.HasPrefix(err.Error(), "add kernel debian:1.2.3-fake: boom (log: ") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(log.String(), "it says why") {
		t.Errorf("log %q", log.String())
	}
	if _, err := os.Stat(filepath.Join(store, "1.2.3-fake")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	noKernels(t)
}

// TestAddCancelled: children die with their group, nothing is left.
func TestAddCancelled(t *testing.T) {
	store := emptyStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	pidFile := filepath.Join(t.TempDir(), "pid")
	f := &fake{work: func(ctx context.Context, a *adder) error {
		go func() {
			for range 500 {
				if b, err := os.ReadFile(pidFile); err == nil && len(b) > 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		}()
		return a.step().run(ctx, command{argv: []string{"sh", "-c", "sleep 1000 & echo $! > " + pidFile + "; wait"}})
	}}
	if _, err := f.add(ctx, AddOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	waitGone(t, pidFile)
	entries, err := os.ReadDir(store)
	if err != nil || len(entries) != 1 || entries[0].Name() != ".1.2.3-fake.lock" {
		t.Errorf("left in the store: %v %v", entries, err)
	}
	noKernels(t)
}

func waitGone(t *testing.T, pidFile string) {
	t.Helper()
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for range 500 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

// TestTwoAdds: the second waits, says so, and finds what the first has made.
func TestTwoAdds(t *testing.T) {
	emptyStore(t)
	f := &fake{}
	var wg sync.WaitGroup
	started := make(chan struct{})
	go2 := make(chan struct{})
	f.work = func(context.Context, *adder) error {
		close(started)
		<-go2
		return nil
	}
	fresh := make([]bool, 2)
	runAdd := func(i int, opt AddOptions) {
		defer wg.Done()
		k, err := f.add(t.Context(), opt)
		if err != nil {
			t.Error(err)
			return
		}
		fresh[i] = k.Fresh
	}
	wg.Add(2)
	go runAdd(0, AddOptions{})
	<-started
	noKernels(t) // invisible while it is made
	var once sync.Once
	go runAdd(1, AddOptions{Force: true, Progress: func(phase string, _, _ int64) {
		if phase == PhaseWait {
			once.Do(func() { close(go2) })
		}
	}})
	wg.Wait()
	if f.calls.Load() != 1 || !fresh[0] || fresh[1] {
		t.Errorf("made %d times, fresh %v", f.calls.Load(), fresh)
	}
}

// helperAdd is another process that is killed in the middle of an add, while a
// child of it works on and pays no heed to SIGTERM.
func helperAdd() {
	f := &fake{work: func(ctx context.Context, a *adder) error {
		script := `trap "" TERM; echo $$ > "$PIDFILE"; while [ ! -e "$PIDFILE.end" ]; do sleep 0.05; done; echo late > obj/late`
		return a.step().run(ctx, command{argv: []string{"sh", "-c", script}, dir: a.dir, env: []string{"PIDFILE=" + os.Getenv("PIDFILE")}})
	}}
	_, err := f.add(context.Background(), AddOptions{})
	fmt.Println("helper ends:", err)
}

// TestAddKilled: SIGKILL in the middle leaves nothing that can be seen; while a
// child still writes, the next add waits; then it clears up and makes the
// kernel.
func TestAddKilled(t *testing.T) {
	store := emptyStore(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "KERNEL_TEST_HELPER=add", "PIDFILE="+pidFile)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if b, err := os.ReadFile(pidFile); err == nil && len(b) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	half := filepath.Join(store, "1.2.3-fake")
	if _, err := os.Stat(filepath.Join(half, "vmlinux")); err != nil {
		t.Fatalf("the test is wrong, nothing was half-made: %v", err)
	}
	noKernels(t)
	f := &fake{}
	waited := make(chan struct{})
	var once sync.Once
	done := make(chan error)
	go func() {
		_, err := f.add(t.Context(), AddOptions{Progress: func(phase string, _, _ int64) {
			if phase == PhaseWait {
				once.Do(func() { close(waited) })
			}
		}})
		done <- err
	}()
	select {
	case <-waited:
	case err := <-done:
		t.Fatalf("did not wait for the orphan: %v", err)
	}
	if err := os.WriteFile(pidFile+".end", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	waitGone(t, pidFile)
	if _, err := os.Stat(filepath.Join(half, "obj/late")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the killed add had made is in the new entry: %v", err)
	}
	if k, err := Open("1.2.3-fake"); err != nil || f.calls.Load() != 1 {
		t.Errorf("%v %v", k, err)
	}
}

func TestDamagedRecord(t *testing.T) {
	store := emptyStore(t)
	f := &fake{}
	k, err := f.add(t.Context(), AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(k.Dir, recordName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"{":                        "kmend kernel remove 1.2.3-fake",
		`{"version_of_format": 7}`: "format 7",
		string(bytes.ReplaceAll(good, []byte(store), []byte("/elsewhere"))): "cannot be moved",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(k.Name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v, want %q", err, want)
		}
		if _, err := List(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("List: %v, want %q", err, want)
		}
	}
	if err := os.WriteFile(path, good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(k.Vmlinux); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(k.Name); err == nil || !strings.Contains(err.Error(), "add --force debian:1.2.3-fake") {
		t.Errorf("without its image: %v", err)
	}
	if k, err := f.add(t.Context(), AddOptions{Force: true}); err != nil || !k.Fresh {
		t.Errorf("made anew: %v", err)
	}
}

func TestReadOnlyStore(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may write anywhere; a file in the way is an error for root too.
		dir := t.TempDir()
		t.Setenv("XDG_CACHE_HOME", dir)
		if err := os.WriteFile(filepath.Join(dir, "kmend"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	} else {
		dir := filepath.Join(t.TempDir(), "ro")
		if err := os.Mkdir(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Setenv("XDG_CACHE_HOME", dir)
	}
	_, err := (&fake{}).add(t.Context(), AddOptions{})
	if err == nil || !strings.Contains(err.Error(), "kmend/kernels") && !strings.Contains(err.Error(), "make the kernel store") {
		t.Errorf("%v", err)
	}
}

func TestSpecs(t *testing.T) {
	for _, spec := range []string{"", "debian", "debian:", "debain:6.1", "6.1.0-50-amd64"} {
		_, err := Add(t.Context(), spec, AddOptions{})
		if !errors.As(err, new(*SpecError)) {
			t.Errorf("%q: %v", spec, err)
		}
	}
	emptyStore(t)
	if _, err := Add(t.Context(), "tree:/nonexistent", AddOptions{}); err == nil || !strings.Contains(err.Error(), "not the O= directory") {
		t.Errorf("no tree: %v", err)
	}
}
