// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestReadTrusted(t *testing.T) {
	h, f := newFake(t)
	file := fix("livepatch_a").build(t, h)
	f.set("usr/lib/deep/m.ko", "deep")
	link := func(to, at string) {
		t.Helper()
		if err := os.Symlink(to, f.path(at)); err != nil {
			t.Fatal(err)
		}
	}
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(f.path(path), mode); err != nil {
			t.Fatal(err)
		}
	}
	link("usr/lib", "lib")
	link("/usr/lib/deep", "usr/lib/abs")
	link("../lib/deep", "usr/rel")
	link("loop2", "loop1")
	link("loop1", "loop2")
	link("livepatch_a.ko", "root/link.ko")
	f.set("open/m.ko", "x")
	chmod("open", 0o777|os.ModeSticky)
	f.set("open/mine/m.ko", "x")
	f.set("group/m.ko", "x")
	chmod("group/m.ko", 0o664)
	link("/root", "open/r")
	if err := syscall.Mkfifo(f.path("root/fifo"), 0o644); err != nil {
		t.Fatal(err)
	}

	for path, want := range map[string]string{
		file: "", "/lib/deep/m.ko": "", "/lib/abs/m.ko": "", "/usr/rel/m.ko": "", "/usr/../root/livepatch_a.ko": "",
		"/root/link.ko":          "it is a symbolic link",
		"/loop1/m.ko":            "too many levels",
		"/open/m.ko":             "/open can be written by others (mode 1777)",
		"/open/mine/m.ko":        "/open can be written by others",
		"/open/r/livepatch_a.ko": "/open can be written by others",
		"/group/m.ko":            "/group/m.ko can be written by others (mode 0664)",
		"/root/fifo":             "no regular file",
		"/root":                  "no regular file",
		"/":                      "it is a directory",
		"/root/none.ko":          "no such file",
		"/group/m.ko/x":          "not a directory",
	} {
		done := make(chan error, 1)
		go func() { _, err := h.readTrusted(path); done <- err }()
		select {
		case err := <-done:
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s: %v, want %q", path, err, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it hangs", path)
		}
	}
	// Somebody else's file.
	h.owner++
	_, err := h.readTrusted(file)
	var r *Refusal
	if !errors.As(err, &r) || r.Code != CodePath || !strings.Contains(r.Why, "belongs to user") {
		t.Errorf("%v", err)
	}
}
