// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadStack(t *testing.T) {
	lines, frames := readStack("[<0>] pipe_read+0x3df/0x470\n[<0>] do_it.isra.0+0x1/0x2 [livepatch_a]\ngarbage\n[<ffffffff81000000>] old.cold+0x1/0x2\n")
	if len(lines) != 3 || !slices.Equal(frames, []frame{{"pipe_read", ""}, {"do_it.isra.0", "livepatch_a"}, {"old.cold", ""}}) {
		t.Errorf("%q %v", lines, frames)
	}
	p := &Patch{Name: "livepatch_a", State: Patching, Objects: []Object{{Name: "vmlinux", Functions: []Function{{Name: "old"}, {Name: "do_it.isra.0"}}}}}
	if got := culprit(frames, p); got != "vmlinux:old" {
		t.Errorf("patching: %q", got)
	}
	p.State = Unpatching
	if got := culprit(frames, p); got != "vmlinux:do_it.isra.0" {
		t.Errorf("unpatching: %q", got)
	}
}

// TestReadBounded: all of a file that is no longer than may be read, else its
// begin; a link is not followed, and what cannot be read is an error.
func TestReadBounded(t *testing.T) {
	h, f := newFake(t)
	text := strings.Repeat("0123456789abcdef", 1000)
	f.set("run/long", text)
	for _, most := range []int{1, 511, 512, 513, len(text), len(text) + 1, 8 << 20} {
		if got, err := h.readBounded("/run/long", most); err != nil || string(got) != text[:min(most, len(text))] {
			t.Errorf("at most %d bytes: %d, %v", most, len(got), err)
		}
	}
	if err := os.Symlink("long", f.path("run/link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"/run/none": fs.ErrNotExist, "/run/link": unix.ELOOP, "/run": unix.EISDIR} {
		if got, err := h.readBounded(name, 100); !errors.Is(err, want) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestKernelLine(t *testing.T) {
	for record, want := range map[string]string{
		"6,1,2,-;text; more\n KEY=v\n": "text; more",
		"13,1,2,-;from user space\n":   "",
		"6,1,2,-":                      "",
		"":                             "",
	} {
		if got := strings.Join(kernelLine([]byte(record)), "|"); got != want {
			t.Errorf("%q: %q", record, got)
		}
	}
}

func TestNameOf(t *testing.T) {
	for arg, want := range map[string]string{"livepatch-a.ko": "livepatch_a", "/x/y-z/livepatch-a.ko": "livepatch_a", "livepatch_a": "livepatch_a"} {
		if got := NameOf(arg); got != want {
			t.Errorf("%s: %s", arg, got)
		}
	}
}

func FuzzReadStack(f *testing.F) {
	f.Add("[<0>] pipe_read+0x3df/0x470 [mod]\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, frames := readStack(text)
		if len(lines) != len(frames) {
			t.Errorf("%d lines, %d frames", len(lines), len(frames))
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"a","state":"loaded","sha256":"` + strings.Repeat("0", 64) + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r := parseRecord(data, "a"); r != nil && (r.Name != "a" || r.State == "") {
			t.Errorf("%+v", r)
		}
	})
}
