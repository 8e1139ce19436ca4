// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"kmend/internal/run"
)

func TestPreprocess(t *testing.T) {
	tr := tree(t)
	tr.Cache = run.CacheAt(filepath.Join(t.TempDir(), "objects"))
	c := commands(t, tr, "fs/proc/cmdline.c")[0]
	text, err := tr.Preprocess(context.Background(), Job{Command: c, Flags: []string{"-DOF_THE_JOB"}}, "-fdirectives-only", "-DOF_THE_CALL")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# \d+ "(.*)"`).FindAllSubmatch(text, -1) {
		files[string(m[1])] = true
	}
	for _, f := range []string{"fs/proc/cmdline.c", "include/linux/fs.h", "arch/x86/include/asm/bitops.h", "./include/generated/autoconf.h", "./arch/x86/include/generated/asm/rwonce.h", "<built-in>", "<command-line>"} {
		if !files[f] {
			t.Errorf("no line marker names %s", f)
		}
	}
	if i := bytes.Index(text, []byte("kmend-")); i >= 0 {
		t.Errorf("the private directory is in the text: %q", text[max(0, i-80):i+80])
	}
	for _, want := range []string{"#define OF_THE_JOB 1\n", "#define OF_THE_CALL 1\n", "seq_puts(m, saved_command_line);"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is missing", want)
		}
	}
	edited := []byte("int new_text;\n")
	other, err := tr.Preprocess(context.Background(), Job{Command: c, Overlay: map[string][]byte{c.Source: edited}})
	if err != nil || !bytes.HasSuffix(other, edited) {
		t.Errorf("overlay: %v, ends with %q", err, other[max(0, len(other)-40):])
	}
	again, err := tr.Preprocess(context.Background(), Job{Command: c, Flags: []string{"-DOF_THE_JOB"}}, "-fdirectives-only", "-DOF_THE_CALL")
	if err != nil || !bytes.Equal(again, text) {
		t.Error("the second time differs:", err)
	}
}

func TestPlainNames(t *testing.T) {
	outside := &farm{src: "/s", obj: "/s/build", root: "/tmp/f/kmend-src", name: farmName, cwd: "/tmp/f"}
	inside := &farm{src: "/s", obj: "/s/build", root: "/tmp/f/kmend-src", name: farmName, cwd: "/tmp/f/kmend-src/build"}
	same := &farm{src: "/s", obj: "/s", root: "/tmp/f/kmend-src", name: farmName, cwd: "/tmp/f/kmend-src"}
	for _, c := range []struct {
		f        *farm
		in, want string
	}{
		{outside, "kmend-src/include/linux/fs.h", "include/linux/fs.h"},
		{outside, "kmend-src/arch/x86/kvm/../../../virt/kvm/x.h", "arch/x86/kvm/../../../virt/kvm/x.h"},
		{outside, "./include/generated/autoconf.h", "./include/generated/autoconf.h"},
		{outside, "/s/build/include/a.h", "./include/a.h"},
		{outside, "/usr/lib/gcc/x86_64-linux-gnu/12/include/stdarg.h", "/usr/lib/gcc/x86_64-linux-gnu/12/include/stdarg.h"},
		{outside, "./kmend-src/include/linux/kconfig.h", "include/linux/kconfig.h"},
		{outside, "<built-in>", "<built-in>"},
		{inside, "../include/linux/fs.h", "include/linux/fs.h"},
		{inside, "./include/generated/autoconf.h", "./include/generated/autoconf.h"},
		{same, "./include/linux/fs.h", "./include/linux/fs.h"},
		{same, "fs/x.c", "fs/x.c"},
	} {
		if got := c.f.plainName(c.in); got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.in, c.f.cwd, got, c.want)
		}
	}
	in := "# 1 \"kmend-src/a.c\" 1\nchar *s = \"kmend-src/a.c\";\n# 3\n#define A \"kmend-src/b\"\n# 4 \"./x.h\" 1 3\nno newline"
	want := "# 1 \"a.c\" 1\nchar *s = \"kmend-src/a.c\";\n# 3\n#define A \"kmend-src/b\"\n# 4 \"./x.h\" 1 3\nno newline"
	if got := outside.plainMarkers([]byte(in)); !slices.Equal(got, []byte(want)) {
		t.Errorf("%s", got)
	}
}
