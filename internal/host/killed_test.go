// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// With $KMEND_HOST_CHILD="ROOT|OPERATION|N" the test binary is a process that
// does one operation on the host in a directory, and is killed before its Nth
// step.
const childEnv = "KMEND_HOST_CHILD"

func TestMain(m *testing.M) {
	if order := os.Getenv(childEnv); order != "" {
		os.Exit(child(order))
	}
	os.Exit(m.Run())
}

const finished = 42 // the child's exit code when it was not killed

func child(order string) int {
	parts := strings.SplitN(order, "|", 3)
	h, f := hostAt(parts[0])
	left, err := strconv.Atoi(parts[2])
	if err != nil {
		return 2
	}
	h.fault = func(string) {
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // it takes a moment
		}
	}
	f.tick = func() { h.fault("wait") } // in the middle of a transition, too
	if err := operations[parts[1]].do(context.Background(), h); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return finished
}

// operation is something that is killed: what was there before it, what it does,
// and what must be true afterwards, if it was killed, and in the end.
type operation struct {
	before func(t *testing.T, h *Host)
	do     func(ctx context.Context, h *Host) error
	// sane is asked after a kill, with a new process's eyes.
	sane func(t *testing.T, h *Host)
	// after is asked when the operation was done again to its end.
	after func(t *testing.T, h *Host)
}

var operations = map[string]operation{
	"load": {
		before: func(t *testing.T, h *Host) { fix("livepatch_a").build(t, h) },
		do: func(ctx context.Context, h *Host) error {
			_, err := h.Load(ctx, "/root/livepatch_a.ko", Options{})
			return err
		},
		sane:  anyOf("", Patching, Enabled),
		after: anyOf(Enabled),
	},
	"unload": {
		before: func(t *testing.T, h *Host) { loadNow(t, h, fix("livepatch_a").build(t, h)) },
		do: func(ctx context.Context, h *Host) error {
			_, err := h.Unload(ctx, "livepatch_a", Options{})
			return err
		},
		sane:  anyOf(Enabled, Unpatching, Disabled, ""),
		after: anyOf(""),
	},
	"load-after-broken-unload": {
		before: func(t *testing.T, h *Host) {
			loadNow(t, h, fix("livepatch_a").build(t, h))
			if err := h.turn("livepatch_a", "0"); err != nil {
				t.Fatal(err)
			}
		},
		do: func(ctx context.Context, h *Host) error {
			_, err := h.Load(ctx, "/root/livepatch_a.ko", Options{})
			return err
		},
		sane:  anyOf(Unpatching, Disabled, "", Patching, Enabled),
		after: anyOf(Enabled),
	},
	"install": {
		before: func(t *testing.T, h *Host) { fix("livepatch_a").build(t, h) },
		do:     installFrom("/root/livepatch_a.ko"),
		sane:   bootLoads("", "livepatch_a.ko"),
		after:  bootLoads("livepatch_a.ko"),
	},
	"update": {
		before: func(t *testing.T, h *Host) {
			if _, err := h.Install(t.Context(), []string{fix("livepatch_a").build(t, h)}); err != nil {
				t.Fatal(err)
			}
			moduleText{name: "livepatch_a", kernelID: testBuild, salt: "2"}.build(t, h)
		},
		do:    installFrom("/root/livepatch_a2.ko"),
		sane:  bootLoads("livepatch_a.ko", "livepatch_a2.ko"),
		after: bootLoads("livepatch_a2.ko"),
	},
	"uninstall": {
		before: func(t *testing.T, h *Host) {
			if _, err := h.Install(t.Context(), []string{fix("livepatch_a").build(t, h)}); err != nil {
				t.Fatal(err)
			}
		},
		do:   func(ctx context.Context, h *Host) error { _, err := h.Uninstall(ctx, "livepatch_a", ""); return err },
		sane: bootLoads("", "livepatch_a.ko"),
		after: func(t *testing.T, h *Host) {
			bootLoads("")(t, h)
			if h.exists(installDir + "/" + testBuild + "/livepatch_a.ko") {
				t.Error("the module is still there")
			}
		},
	},
}

func loadNow(t *testing.T, h *Host, file string) {
	t.Helper()
	if _, err := h.Load(t.Context(), file, Options{}); err != nil {
		t.Fatal(err)
	}
}

func installFrom(file string) func(context.Context, *Host) error {
	return func(ctx context.Context, h *Host) error { _, err := h.Install(ctx, []string{file}); return err }
}

// anyOf: the live patch is in one of these states, "" for not there.
func anyOf(want ...string) func(*testing.T, *Host) {
	return func(t *testing.T, h *Host) {
		t.Helper()
		got := states(t, h)["livepatch_a"]
		for _, w := range want {
			if got == w {
				return
			}
		}
		t.Errorf("state %q, want one of %q", got, want)
	}
}

// bootLoads: at the next boot one of these files of /root is loaded, "" for
// none, without an error. It is asked of a copy of the system.
func bootLoads(files ...string) func(*testing.T, *Host) {
	return func(t *testing.T, h *Host) {
		t.Helper()
		root := t.TempDir()
		if err := os.CopyFS(root, os.DirFS(h.Root)); err != nil {
			t.Fatal(err)
		}
		boot, _ := hostAt(root)
		out, err := boot.LoadInstalled(t.Context(), Options{})
		if err != nil || len(out) > 1 {
			t.Errorf("at boot: %v, %v", out, err)
			return
		}
		for _, f := range files {
			if f == "" && len(out) == 0 {
				return
			}
			if f == "" || len(out) == 0 {
				continue
			}
			if m, err := h.ReadModule("/root/" + f); err == nil && m.SHA256 == out[0].SHA256 {
				return
			}
		}
		t.Errorf("at boot %v is loaded, want one of %q", out, files)
	}
}

// TestKilledAtEveryStep kills each operation before each of its steps. The next
// process finds a state that it understands, and finishes the work.
func TestKilledAtEveryStep(t *testing.T) {
	for name, op := range operations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for n := 1; ; n++ {
				h, _ := newFake(t)
				op.before(t, h)
				if !killed(t, h.Root, name, n) {
					op.after(t, h)
					break
				}
				steps++
				h, _ = hostAt(h.Root) // another process
				op.sane(t, h)
				if err := op.do(t.Context(), h); err != nil {
					t.Errorf("killed before step %d, then done again: %v", n, err)
				}
				op.after(t, h)
				noLeftovers(t, h)
				if t.Failed() {
					t.Fatalf("killed before step %d", n)
				}
			}
			if steps < 4 {
				t.Errorf("only %d steps", steps)
			}
			t.Logf("%d steps", steps)
		})
	}
}

// killed runs an operation in a process of its own.
func killed(t *testing.T, root, name string, step int) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d", childEnv, root, name, step))
	out, _ := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled() && status.Signal() == syscall.SIGKILL:
		return true
	case cmd.ProcessState.ExitCode() == finished:
		return false
	}
	t.Fatalf("step %d: %v: %s", step, cmd.ProcessState, out)
	return false
}

func noLeftovers(t *testing.T, h *Host) {
	t.Helper()
	for _, dir := range []string{loadedDir, installDir + "/" + testBuild, localUnits} {
		left, _ := filepath.Glob(h.path(dir) + "/" + tempPrefix + "*")
		if len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}
