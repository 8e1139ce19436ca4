// SPDX-License-Identifier: Apache-2.0

package special

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/object"
)

// assemble makes an object of assembler text.
func assemble(t testing.TB, text string) *object.File {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.s"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc-12", "-c", "a.s")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc-12: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "a.o"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := object.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const code = `
.section .text.f,"ax",@progbits
.globl f
.type f,@function
f:	nop
1:	ud2
2:	call g
	ret
.size f, .-f
`

func TestSplit(t *testing.T) {
	f := assemble(t, code+`
.section __bug_table,"aw"
	.long 1b - .
	.long 0
	.word 1234
	.word 5
.section .parainstructions,"a"
	.balign 8
	.quad 2b
	.byte 7
	.byte 5
.section .altinstructions,"a"
	.long 2b - .
	.long 3f - .
	.word 16
	.byte 5
	.byte 3
.section .altinstr_replacement,"ax"
	nop
3:	nop
	nop
	nop
.section .smp_locks,"a"
	.long 1b - .
	.long 2b - .
`)
	entries, err := Split(f)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Code.Name != ".text.f" || uint64(len(e.Data)) != e.Format.Stride {
			t.Errorf("%s entry owned by %s with %d bytes", e.Format.Name, e.Code.Name, len(e.Data))
		}
		got = append(got, e.Format.Name+"@"+string('0'+byte(e.At)))
		switch e.Format.Name {
		case BugTable:
			if e.Line() != 1234 || e.Masked()[8] != 0 || e.Masked()[10] != 5 {
				t.Errorf("bug entry: line %d, masked % x", e.Line(), e.Masked())
			}
		case AltInstructions:
			s, off, size, err := e.Replacement()
			if err != nil || s.Name != AltReplacement || off != 1 || size != 3 || e.RewrittenLen() != 5 {
				t.Errorf("replacement %v+%d, %d bytes, rewrites %d: %v", s, off, size, e.RewrittenLen(), err)
			}
		}
	}
	if want := ".altinstructions@3 .parainstructions@3 .smp_locks@1 .smp_locks@3 __bug_table@1"; strings.Join(got, " ") != want {
		t.Errorf("entries %q, want %q", strings.Join(got, " "), want)
	}
}

func TestSplitRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"half an entry": `.section __bug_table,"aw"
	.long 1b - .
	.word 1`,
		"no owner": `.section .smp_locks,"a"
	.long 0`,
		"owner elsewhere": `.section .smp_locks,"a"
	.long elsewhere - .`,
		"replacement elsewhere is refused when asked for": "",
	} {
		if text == "" {
			e := Entry{Format: Lookup(AltInstructions), Data: make([]byte, 12), Code: &object.Section{Name: "x"}}
			if _, _, _, err := e.Replacement(); err == nil {
				t.Errorf("%s: no error", name)
			}
			continue
		}
		if got, err := Split(assemble(t, code+text+"\n")); err == nil {
			t.Errorf("%s: no error, entries %v", name, got)
		}
	}
}
