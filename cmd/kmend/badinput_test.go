// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/kerneltest"
	"kmend/internal/plan"
)

// wantNothing fails if there is anything in a directory.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left in %s", e.Name(), dir)
	}
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Inputs that are no patch, or no kernel, are told in one line, with exit code
// 1 or 2, and leave nothing.
func TestBadInput(t *testing.T) {
	k := kerneltest.Open(t)
	good := string(kerneltest.Diff(t, k, newline))
	garbage := bytes.Repeat([]byte("\x00\xff\x1f\x8b--- +++ @@ \x80"), 4096)
	for _, c := range []struct {
		name   string
		kernel string
		patch  []byte
		code   int
		words  []string
	}{
		{"empty patch", k.Name, nil, exitFailed, []string{"fix.patch"}},
		{"binary garbage", k.Name, garbage, exitFailed, []string{"fix.patch"}},
		{"text without a diff", k.Name, []byte("fix the thing\n"), exitFailed, []string{"fix.patch"}},
		{"patch cut in a hunk", k.Name, []byte(good[:strings.Index(good, "kmend")]), exitFailed, []string{"fix.patch"}},
		{"hunk header out of all bounds", k.Name, []byte(strings.Replace(good, "@@ -7", "@@ -99999999999999999999", 1)), exitFailed, []string{"fix.patch"}},
		{"path out of the source", k.Name, []byte(strings.ReplaceAll(good, "fs/proc/cmdline.c", "../../../../etc/passwd")), exitFailed, []string{"etc/passwd"}},
		{"kernel with a typing error", strings.Replace(k.Name, "amd64", "amd46", 1), []byte(good), exitUsage, []string{"amd46", k.Name}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "out")
			code, out, errs := kmend(t, "build", "-k", c.kernel, "-o", dir, writeFile(t, "fix.patch", c.patch))
			// A patch that can be read and does not apply is a refusal, all else an error.
			if code != c.code && !(code == exitRefused && c.code == exitFailed && strings.Contains(out, plan.CodeNotApplied)) {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, w := range c.words {
				if !strings.Contains(out+errs, w) {
					t.Errorf("the answer has no %q", w)
				}
			}
			if strings.Contains(errs, "panic") || strings.Contains(errs, "goroutine") {
				t.Error("it panicked")
			}
			wantNothing(t, dir)
		})
	}
}

// A fix of which nothing remains to be done gives exit code 4 and no files.
func TestNothingToDo(t *testing.T) {
	k := kerneltest.Open(t)
	dir := filepath.Join(t.TempDir(), "out")
	code, out, _ := kmend(t, "build", "-k", k.Name, "-o", dir,
		fixFile(t, k, "nothing", sub("fs/proc/cmdline.c", "static int cmdline_proc_show", "/* the command line */\nstatic int cmdline_proc_show")))
	if code != exitNothing || !strings.Contains(strings.ToLower(out), "nothing") {
		t.Errorf("exit code %d", code)
	}
	wantNothing(t, dir)
}

// Without a tool the error names it and says where to get it.
func TestMissingCompiler(t *testing.T) {
	k := kerneltest.Open(t)
	fix := fixFile(t, k, "fix", newline)
	cmd := self(t, "build", "-k", k.Name, "-o", filepath.Join(t.TempDir(), "out"), fix)
	bin := t.TempDir() // a PATH with make and the shell, and no compiler
	for _, tool := range []string{"make", "sh", "bash", "sed", "cat", "grep", "awk", "tr", "cut", "uname", "expr", "rm", "mkdir", "ld", "as", "objdump"} {
		if path, err := exec.LookPath(tool); err == nil {
			if err := os.Symlink(path, filepath.Join(bin, tool)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+bin, "XDG_CACHE_HOME="+emptyCache(t, k))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(string(out), k.Compiler) || !strings.Contains(string(out), "apt-get install") {
		t.Errorf("%v", err)
	}
}

// A place that cannot be written to, or that is full, is an error, and leaves
// nothing.
func TestUnwritable(t *testing.T) {
	k := kerneltest.Open(t)
	fix := fixFile(t, k, "fix", newline)
	t.Run("file in the place of the directory", func(t *testing.T) {
		file := writeFile(t, "out", []byte("mine"))
		code, _, errs := kmend(t, "build", "-k", k.Name, "-o", file, fix)
		if code != exitFailed || !strings.Contains(errs, file) {
			t.Errorf("exit code %d", code)
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
			t.Errorf("the file is %q now, %v", text, err)
		}
	})
	mount := func(t *testing.T, flags uintptr, options string) string {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
			t.Skipf("a file system of its own takes root's rights: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		return dir
	}
	for name, c := range map[string]struct {
		flags   uintptr
		options string
		word    string
	}{
		"read-only": {unix.MS_RDONLY, "", "read-only"},
		"full":      {0, "size=4k", "no space left"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mount(t, c.flags, c.options)
			code, _, errs := kmend(t, "build", "-k", k.Name, "-o", dir, fix)
			if code != exitFailed || !strings.Contains(errs, c.word) || !strings.Contains(errs, dir) {
				t.Errorf("exit code %d", code)
			}
			wantNothing(t, dir)
		})
	}
}

// Whenever a build is ended, the output directory has either nothing or all,
// and the next build works.
func TestKilled(t *testing.T) {
	k := kerneltest.Open(t)
	fix := fixFile(t, k, "fix", newline, sizelimit)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cache := emptyCache(t, k)
			dir := filepath.Join(t.TempDir(), "out")
			for _, after := range []time.Duration{100 * time.Millisecond, 600 * time.Millisecond, 1500 * time.Millisecond} {
				cmd := self(t, "build", "-k", k.Name, "-o", dir, fix)
				cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+cache)
				var errs bytes.Buffer
				cmd.Stderr = &errs
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(after)
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				err := cmd.Wait()
				if err == nil {
					break // it was faster
				}
				if sig != syscall.SIGKILL && (cmd.ProcessState.ExitCode() != exitFailed && cmd.ProcessState.ExitCode() != 128+int(sig) || strings.Contains(errs.String(), "panic")) {
					t.Errorf("%s after %v: %v\n%s", sig, after, err, errs.String())
				}
				// What is killed cannot clean up: names with a dot may stay then.
				if names := left(t, dir, sig == syscall.SIGKILL); len(names) != 0 && len(names) != 2 {
					t.Errorf("%s after %v left %q", sig, after, names)
				}
			}
			cmd := self(t, "build", "-q", "-k", k.Name, "-o", dir, fix)
			cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+cache)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			p := readPlan(t, dir)
			data, err := os.ReadFile(filepath.Join(dir, "livepatch-fix.ko"))
			if err != nil || p.Module == nil || len(data) != p.Module.Size {
				t.Errorf("module of %d bytes, %v, plan %+v", len(data), err, p.Module)
			}
			if names := left(t, dir, sig == syscall.SIGKILL); len(names) != 2 {
				t.Errorf("in the output directory: %q", names)
			}
		})
	}
}

// left lists a directory; with but, without the names that begin with a dot.
func left(t *testing.T, dir string, but bool) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !but || !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// A refusal is exit code 3, one document with --json, and no module.
func TestRefusedBuild(t *testing.T) {
	k := kerneltest.Open(t)
	dir := filepath.Join(t.TempDir(), "out")
	fix := fixFile(t, k, "refused", sub("fs/proc/cmdline.c", `proc_create_single("cmdline"`, `proc_create_single("kmdline"`))
	code, out, _ := kmend(t, "build", "-k", k.Name, "-o", dir, "--json", fix)
	var p plan.Plan
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	if code != exitRefused || p.Verdict != plan.Refused || len(p.Refusals) != 1 || p.Refusals[0].Code != plan.CodeInitCode {
		t.Errorf("exit code %d, %+v", code, p.Refusals)
	}
	wantNothing(t, dir)
}
