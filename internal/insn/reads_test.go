// SPDX-License-Identifier: Apache-2.0

package insn_test

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/insn"
)

// TestOnlyReads asks about instructions as the assembler writes them.
func TestOnlyReads(t *testing.T) {
	reads := []string{"mov v(%rip), %eax", "mov v(%rip), %al", "cmpl $0, v(%rip)", "cmpb $5, v(%rip)", "cmp %rax, v(%rip)", "cmp v(%rip), %ecx", "testb $4, v(%rip)", "test %eax, v(%rip)",
		"movzbl v(%rip), %edx", "movswl v(%rip), %edx", "movslq v(,%rax,4), %rdx", "add v(%rip), %rax", "xor v(%rip), %r9d", "imul v(%rip), %rax", "imul $100, v(%rip), %rax",
		"cmovne v(%rip), %rax", "btl $3, v(%rip)", "bt %eax, v(%rip)", "push v(%rip)", "call *v(,%rax,8)", "jmp *v(%rip)", "divl v(%rip)", "bsf v(%rip), %eax", "mov %gs:v(%rip), %rax"}
	not := []string{"mov %eax, v(%rip)", "movb $1, v(%rip)", "lea v(%rip), %rax", "mov $v, %rax", "mov $v, %edi", "addl $1, v(%rip)", "incl v(%rip)", "lock decl v(%rip)", "xchg %eax, v(%rip)",
		"lock cmpxchg %ecx, v(%rip)", "lock xadd %ecx, v(%rip)", "orb $1, v(%rip)", "and %eax, v(%rip)", "btsl $3, v(%rip)", "lock bts %rax, v(%rip)", "notl v(%rip)", "negq v(%rip)", "sete v(%rip)",
		"pop v(%rip)", "sub %rax, v(%rip)", "shll v(%rip)", "push $v", "call v", "ret"}
	for i, code := range assembled(t, append(reads, not...)) {
		text := append(reads, not...)[i]
		if got, want := insn.OnlyReads(code), i < len(reads); got != want {
			t.Errorf("%s (% x): %v, want %v", text, code, got, want)
		}
		if got, want := insn.IsLea(code), strings.HasPrefix(text, "lea "); got != want {
			t.Errorf("%s (% x) is lea: %v", text, code, got)
		}
	}
}

// assembled gives the bytes of each line.
func assembled(t *testing.T, lines []string) [][]byte {
	t.Helper()
	dir := t.TempDir()
	src, obj := filepath.Join(dir, "a.s"), filepath.Join(dir, "a.o")
	var text strings.Builder
	for i, l := range lines {
		fmt.Fprintf(&text, ".section .text.x%d,\"ax\"\n\t%s\n", i, l)
	}
	if err := os.WriteFile(src, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("as", "-o", obj, src).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(obj)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out [][]byte
	for _, s := range f.Sections {
		if strings.HasPrefix(s.Name, ".text.x") {
			data, err := s.Data()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, data)
		}
	}
	if len(out) != len(lines) {
		t.Fatalf("%d sections of %d lines", len(out), len(lines))
	}
	return out
}
