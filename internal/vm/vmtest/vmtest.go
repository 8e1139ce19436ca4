// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"kmend/internal/kernel"
	"kmend/internal/kerneltest"
)

// Agent returns a static program for vm.Machine.Agent: a test's own binary
// cannot be the guest's init. It is built once a process, with the go command
// that runs the tests.
func Agent(t testing.TB) string {
	t.Helper()
	path, err := agent()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Kmend is Agent with all of kmend in it: as the guest's init it is the agent,
// and under any other name it is the program (ln -s /init /bin/kmend).
func Kmend(t testing.TB) string {
	t.Helper()
	path, err := whole()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	agent = sync.OnceValues(func() (string, error) { return build("kmend-agent", "kmend/internal/vm/agent/kmend-agent") })
	whole = sync.OnceValues(func() (string, error) { return build("kmend-whole", "kmend/cmd/kmend") })
)

// build compiles a program of this module for a guest.
func build(name, pkg string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the test agent: %w", err)
	}
	dir := filepath.Join(cache, "kmend", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a place for the test agent: %w", err)
	}
	tree, err := sourceTree()
	if err != nil {
		return "", fmt.Errorf("find the source of the test agent: %w", err)
	}
	// Another work tree has another program; its tests may run at the same time.
	path := filepath.Join(dir, fmt.Sprintf("%s-%x", name, sha256.Sum256([]byte(tree)))[:len(name)+9])
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(temp)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", temp, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test agent: %w\n%s", err, out)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("build the test agent: %w", err)
	}
	return path, nil
}

// sourceTree is the directory of the go.mod that the test belongs to.
func sourceTree() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			return dir, err
		}
	}
}

// NeedQEMU skips a test without QEMU, or fails it where such tests are required:
// see kerneltest.Missing.
func NeedQEMU(t testing.TB) {
	t.Helper()
	for _, tool := range []string{"qemu-system-x86_64", "/bin/busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			kerneltest.Missing(t, "%s is missing: apt-get install --no-install-recommends qemu-system-x86 busybox-static", tool)
		}
	}
}

// BuildModules compiles the kernel modules in a directory of C files with a
// Kbuild against the headers of a kernel, as anybody outside kmend would, and
// returns the directory with the .ko files. The result is kept for later runs.
func BuildModules(t testing.TB, k *kernel.Kernel, sources string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	dir, err := buildModules(t.Context(), k, sources)
	if err != nil {
		t.Fatalf("build test modules: %v", err)
	}
	return dir
}

var building sync.Mutex

func buildModules(ctx context.Context, k *kernel.Kernel, sources string) (string, error) {
	files, err := filepath.Glob(filepath.Join(sources, "*"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("no sources in %s", sources)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, k.BuildID, k.HeadersDir, k.Compiler)
	for _, f := range files { // Glob sorts
		data, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n%s", filepath.Base(f), len(data), data)
	}
	dir := filepath.Join(cache, "kmend", "test", fmt.Sprintf("modules-%x", hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	temp := fmt.Sprintf("%s.%d", dir, os.Getpid())
	defer os.RemoveAll(temp)
	if err := os.CopyFS(temp, os.DirFS(sources)); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "make", "-C", k.HeadersDir, "M="+temp, "CC="+k.Compiler, "modules").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make: %w\n%s", err, out)
	}
	if err := os.Rename(temp, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil { // else another process was faster
			return "", err
		}
	}
	return dir, nil
}
