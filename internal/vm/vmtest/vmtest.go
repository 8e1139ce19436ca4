// SPDX-License-Identifier: Apache-2.0

// Package vmtest lets tests boot guests. It knows how to get an agent and
// whether QEMU is there; it must not be imported by the program.
package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
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

var agent = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the test agent: %w", err)
	}
	dir := filepath.Join(cache, "kmend", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a place for the test agent: %w", err)
	}
	path := filepath.Join(dir, "kmend-agent")
	temp := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(temp)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", temp, "kmend/internal/vm/agent/kmend-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test agent: %w\n%s", err, out)
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("build the test agent: %w", err)
	}
	return path, nil
})

// NeedQEMU skips a test without QEMU, or fails it where the kernel tests are
// required (CI, KMEND_REQUIRE_KERNEL).
func NeedQEMU(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err == nil {
		return
	}
	const cure = "qemu-system-x86_64 is missing: apt-get install --no-install-recommends qemu-system-x86 busybox-static"
	if os.Getenv("CI") != "" || os.Getenv("KMEND_REQUIRE_KERNEL") != "" {
		t.Fatal(cure)
	}
	t.Skip(cure)
}
