// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"errors"
	"strings"
	"testing"
)

const body = "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"

func TestParseForms(t *testing.T) {
	cases := []struct {
		name, in           string
		old, new           string
		added, deleted, rn bool
		binary             bool
	}{
		{"plain", "--- a/fs/x.c\n+++ b/fs/x.c\n" + body, "a/fs/x.c", "b/fs/x.c", false, false, false, false},
		{"time stamps", "diff -Nurp linux-6.1.orig/fs/x.c linux-6.1/fs/x.c\n--- linux-6.1.orig/fs/x.c\t2024-01-01 00:00:00.000000000 +0000\n+++ linux-6.1/fs/x.c\t2024-01-02 00:00:00.0 +0000\n" + body,
			"linux-6.1.orig/fs/x.c", "linux-6.1/fs/x.c", false, false, false, false},
		{"git without prefix", "diff --git fs/x.c fs/x.c\nindex 1..2 100644\n--- fs/x.c\n+++ fs/x.c\n" + body, "fs/x.c", "fs/x.c", false, false, false, false},
		{"mail", "From abc Mon Sep 17 00:00:00 2001\nSubject: [PATCH] fix\n\ntext\n---\n fs/x.c | 2 +-\n\ndiff --git a/fs/x.c b/fs/x.c\n--- a/fs/x.c\n+++ b/fs/x.c\n" + body + "-- \n2.39.2\n\n", "a/fs/x.c", "b/fs/x.c", false, false, false, false},
		{"crlf", strings.ReplaceAll("--- a/fs/x.c\n+++ b/fs/x.c\n"+body, "\n", "\r\n"), "a/fs/x.c", "b/fs/x.c", false, false, false, false},
		{"blank context stripped", "--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n", "a/x.c", "b/x.c", false, false, false, false},
		{"new", "diff --git a/n.c b/n.c\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/n.c\n@@ -0,0 +1 @@\n+x\n", DevNull, "b/n.c", true, false, false, false},
		{"new empty", "diff --git a/n.c b/n.c\nnew file mode 100644\nindex 0..1\n", DevNull, "b/n.c", true, false, false, false},
		{"deleted", "diff --git a/n.c b/n.c\ndeleted file mode 100644\n--- a/n.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n", "a/n.c", DevNull, false, true, false, false},
		{"rename", "diff --git a/o.c b/d/n.c\nsimilarity index 100%\nrename from o.c\nrename to d/n.c\n", "a/o.c", "a/d/n.c", false, false, true, false},
		{"binary", "diff --git a/x.bin b/x.bin\nindex 1..2 100644\nGIT binary patch\nliteral 3\nKcmZ\n\nliteral 0\nHcmV\n\n", "a/x.bin", "b/x.bin", false, false, false, true},
		{"binary plain", "Binary files a/x.bin and b/x.bin differ\n", "a/x.bin", "b/x.bin", false, false, false, true},
		{"quoted", "--- \"a/f\\303\\274.c\"\n+++ \"b/f\\303\\274.c\"\n" + body, "a/fü.c", "b/fü.c", false, false, false, false},
	}
	for _, c := range cases {
		p, err := Parse(c.name, []byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		f := p.Files[0]
		if len(p.Files) != 1 || f.OldRaw != c.old || f.NewRaw != c.new || f.Added != c.added || f.Deleted != c.deleted || f.Renamed != c.rn || f.Binary != c.binary {
			t.Errorf("%s: %d files, %+v", c.name, len(p.Files), f)
		}
	}
	p, _ := Parse("m", []byte("Subject: [PATCH] fix\n\n--- a/x\n+++ b/x\n"+body))
	if p.Subject != "[PATCH] fix" {
		t.Error(p.Subject)
	}
	p, _ = Parse("mode", []byte("diff --git a/x.c b/x.c\nold mode 100644\nnew mode 100755\n"))
	if p.Files[0].OldMode != 0o100644 || p.Files[0].NewMode != 0o100755 {
		t.Errorf("%+v", p.Files[0])
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "no unified diff",
		"hello\n":                     "no unified diff",
		"--- a/x\n+++ b/x\nno hunk\n": "without a hunk",
		"@@ -1 +1 @@\n-a\n+b\n":       "without the name",
		"--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n-b\n":                    "ends early",
		"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n+d\n":            "counts",
		"--- a/x\n+++ b/x\n@@ -1,2 +1,1 @@\n a\n+c\n+d\n":                "more lines",
		"--- a/x\n+++ b/x\n@@ -1,x +1,1 @@\n a\n":                        "hunk header",
		"--- a/x\n+++ b/x\n@@ -99999999999999999999 +1,1 @@\n a\n":       "hunk header",
		"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n*b\n+c\n":                "begins with",
		"*** a/x\n--- b/x\n***************\n*** 1,2 ****\n":              "context diff",
		"diff --cc x.c\n@@@ -1,2 -1,2 +1,2 @@@\n":                        "combined diff",
		"--- a/x\n+++ b/x\n@@ -0,0 +0,0 @@\n":                            "empty hunk",
		"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n\\ No newline\n-b\n+c\n": "without newline",
	} {
		_, err := Parse("p", []byte(in))
		var pe *ParseError
		if !errors.As(err, &pe) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestClassify(t *testing.T) {
	for p, want := range map[string]Kind{
		"fs/proc/cmdline.c": Source, "include/linux/fs.h": Header, "arch/x86/entry/entry_64.S": Assembly,
		"fs/Makefile": BuildFile, "drivers/gpu/drm/Kconfig": BuildFile, "Kbuild": BuildFile, "Makefile": BuildFile,
		"Documentation/x86/index.rst": Doc, "Documentation/conf.py": Doc, "MAINTAINERS": Doc,
		"arch/x86/kernel/vmlinux.lds.S": LinkerScript, "include/asm-generic/vmlinux.lds.h": LinkerScript,
		"arch/arm64/boot/dts/a.dts": DeviceTree, "arch/x86/entry/vdso/vclock_gettime.c": VDSO, "lib/vdso/gettimeofday.c": VDSO,
		"arch/x86/entry/vdso/vma.c": Source, "arch/x86/boot/compressed/misc.c": BootCode, "arch/x86/realmode/rm/wakemain.c": BootCode,
		"arch/x86/realmode/init.c": Source, "arch/x86/purgatory/purgatory.c": BootCode, "drivers/firmware/efi/libstub/random.c": BootCode,
		"tools/perf/builtin.c": Tooling, "scripts/mod/modpost.c": Tooling, "tools/perf/Makefile": Tooling, "samples/livepatch/x.c": Sample,
		"rust/kernel/lib.rs": Rust, "arch/x86/entry/syscalls/syscall_64.tbl": Other, "arch/x86/lib/x86-opcode-map.txt": Other,
	} {
		if got := Classify(p); got != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("--- a/x\n+++ b/x\n" + body))
	f.Add([]byte("diff --git a/o.c b/n.c\nrename from o.c\nrename to n.c\n"))
	f.Add([]byte("diff --git \"a/\\303.c\" b/n.c\nGIT binary patch\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("f", data)
		if err != nil {
			return
		}
		n := 0
		for _, fl := range p.Files {
			for _, h := range fl.Hunks {
				n += len(h.Lines)
				o, w := 0, 0
				for _, l := range h.Lines {
					if l.Op != '+' {
						o++
					}
					if l.Op != '-' {
						w++
					}
				}
				if o != h.OldLines || w != h.NewLines {
					t.Fatal("counts do not hold")
				}
			}
		}
		if n > len(data) {
			t.Fatal("more lines than bytes")
		}
	})
}
