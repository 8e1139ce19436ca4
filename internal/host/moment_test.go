// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// whenRead makes a file a pipe that has the same text when it is read next, and
// does something at that moment; after that it is a file again.
func (f *fake) whenRead(t *testing.T, path string, do func()) {
	t.Helper()
	text := f.get(path) + "\n"
	if err := os.Remove(f.path(path)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(f.path(path), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(f.path(path), os.O_WRONLY, 0) // waits for the reader
		if err != nil {
			done <- err
			return
		}
		os.Remove(f.path(path))
		f.set(path, text)
		do()
		_, err = w.WriteString(text)
		w.Close()
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("%s: %v", path, err)
		}
	})
}

// live makes a live patch of a module as the kernel shows it.
func (f *fake) live(name, enabled, transition, patched string) {
	dir := "sys/kernel/livepatch/" + name
	f.set(dir+"/enabled", enabled+"\n")
	f.set(dir+"/transition", transition+"\n")
	f.set(dir+"/vmlinux/patched", patched+"\n")
	if err := os.MkdirAll(f.path(dir, "vmlinux/do_it,1"), 0o755); err != nil {
		panic(err)
	}
}

// shown is what Status says of live patches: name and state.
func shown(t *testing.T, h *Host) (*Status, string) {
	t.Helper()
	s, err := h.Status()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range s.Patches {
		all = append(all, p.Name+" "+p.State)
	}
	return s, strings.Join(all, ", ")
}

// TestStatusOfAMoment: in moments that only other tools' loads and unloads make,
// what is shown is what is. The selftests of the kernel, run while kmend watched,
// found most of them (TestKernelSelftests).
func TestStatusOfAMoment(t *testing.T) {
	t.Run("module is being loaded", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("lp", "OEK", "")
		f.set("sys/module/lp/initstate", "coming\n")
		if _, is := shown(t, h); is != "" {
			t.Errorf("before its init function: %s", is)
		}
		f.live("lp", "0", "0", "0")
		if _, is := shown(t, h); is != "" {
			t.Errorf("before its transition: %s", is)
		}
		f.live("lp", "0", "1", "0")
		if _, is := shown(t, h); is != "lp patching" {
			t.Errorf("at the beginning of its transition: %s", is)
		}
	})
	t.Run("module is being removed", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("lp", "OEK", "")
		s, is := shown(t, h)
		if is != "lp disabled" || len(s.Patches[0].Notes) != 1 || !strings.Contains(s.Patches[0].Notes[0], "if that stays so") {
			t.Errorf("held: %s, %q", is, s.Patches[0].Notes)
		}
		f.set("sys/module/lp/refcnt", "-1\n")
		if s, is = shown(t, h); is != "lp disabled" || s.Patches[0].Users != 0 || s.Patches[0].Notes != nil {
			t.Errorf("%s, %+v", is, s.Patches)
		}
		f.set("sys/module/lp/initstate", "going\n")
		if _, is := shown(t, h); is != "" {
			t.Errorf("on its way out: %s", is)
		}
	})
	t.Run("disabled, directory still there", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("lp", "OEK", "")
		f.live("lp", "0", "0", "0")
		if s, is := shown(t, h); is != "lp disabled" || len(s.Patches[0].Objects) != 0 {
			t.Errorf("%s, %+v", is, s.Patches)
		}
	})
	t.Run("enabled between two reads", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("lp", "OEK", "")
		f.whenRead(t, "proc/modules", func() { f.live("lp", "1", "0", "1"); f.set("proc/sys/kernel/tainted", "32768\n") })
		if s, is := shown(t, h); is != "lp enabled" || s.Taint != "K" {
			t.Errorf("%s, taint %s", is, s.Taint)
		}
	})
	t.Run("disabled between two reads", func(t *testing.T) {
		for _, file := range []string{"transition", "enabled", "vmlinux/patched"} {
			h, f := newFake(t)
			f.insert("lp", "OEK", "")
			f.live("lp", "1", "1", "1")
			f.whenRead(t, "sys/kernel/livepatch/lp/"+file, func() { f.live("lp", "0", "1", "0") })
			if _, is := shown(t, h); is != "lp unpatching" {
				t.Errorf("while %s was read: %s", file, is)
			}
		}
	})
	t.Run("gone while its objects are read", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("lp", "OEK", "")
		f.live("lp", "1", "0", "1")
		f.whenRead(t, "sys/kernel/livepatch/lp/vmlinux/patched", func() { f.live("lp", "0", "1", "0"); f.end("sys/kernel/livepatch/lp") })
		if s, is := shown(t, h); is != "lp disabled" || len(s.Patches[0].Objects) != 0 {
			t.Errorf("%s, %+v", is, s.Patches)
		}
	})
	t.Run("over while the tasks are looked at", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("lp", "OEK", "")
		f.live("lp", "1", "1", "1")
		f.task(7, "cat", "0", "", false)
		f.whenRead(t, "proc/7/task/7/patch_state", func() { f.end("sys/kernel/livepatch/lp"); f.set("proc/7/task/7/patch_state", "-1\n") })
		if s, is := shown(t, h); is != "lp enabled" || s.Patches[0].Transition != nil {
			t.Errorf("%s, %+v", is, s.Patches)
		}
	})
	t.Run("replaced while the next is read", func(t *testing.T) {
		h, f := newFake(t)
		f.insert("old", "OEK", "")
		f.insert("new", "OEK", "")
		f.live("old", "1", "0", "1")
		f.live("new", "1", "1", "1")
		f.whenRead(t, "sys/kernel/livepatch/new/enabled", func() {
			f.end("sys/kernel/livepatch/new")
			f.live("old", "0", "1", "0")
			f.end("sys/kernel/livepatch/old")
		})
		if _, is := shown(t, h); is != "old disabled, new enabled" {
			t.Errorf("%s", is)
		}
	})
}
