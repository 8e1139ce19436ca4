// SPDX-License-Identifier: Apache-2.0

package insn_test

import (
	"bufio"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kmend/internal/insn"
)

// objdumpFiles names further files to compare with objdump, separated by
// colons: kernel images, modules.
const objdumpFiles = "KMEND_INSN_FILES"

var (
	branchText = regexp.MustCompile(`^(?:(?:bnd|notrack|data16|rex\.W|cs|ds|es|ss|fs|gs)\s+)*(call|jmp|j[a-z]+|loop[a-z]*|jrcxz|jecxz|xbegin)(?:q|w|,p[nt])?\s+(?:0x)?([0-9a-f]+)(?:\s|$)`)
	ripText    = regexp.MustCompile(`#\s+(?:0x)?([0-9a-f]+)`)
)

type tally struct{ insts, errors, lengths, targets, rips int }

// compare decodes every instruction that objdump printed and counts
// disagreements. A run of `.byte` or (bad) is no instruction.
func compare(t *testing.T, file string) tally {
	t.Helper()
	cmd := exec.Command("objdump", "-dw", "-z", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("objdump is needed: install binutils: %v", err)
	}
	var n tally
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 3)
		if len(f) < 3 || !strings.HasSuffix(f[0], ":") || strings.Contains(f[2], "(bad)") || strings.HasPrefix(f[2], ".byte") ||
			strings.HasPrefix(f[1], "9b ") { // objdump prints wait and the x87 instruction after it as one
			continue
		}
		addr, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(f[0], ":")), 16, 64)
		if err != nil {
			continue
		}
		code, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(f[1]), " ", ""))
		if err != nil {
			continue
		}
		n.insts++
		compareOne(t, &n, addr, code, f[2])
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("objdump %s: %v", file, err)
	}
	return n
}

func compareOne(t *testing.T, n *tally, addr uint64, code []byte, text string) {
	t.Helper()
	complain := func(counter *int, format string, args ...any) {
		if *counter++; *counter <= 20 {
			t.Logf("%#x % x %s: "+format, append([]any{addr, code, text}, args...)...)
		}
	}
	i, err := insn.Decode(append(code[:len(code):len(code)], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	if err != nil {
		complain(&n.errors, "%v", err)
		return
	}
	if i.Len != len(code) {
		complain(&n.lengths, "length %d", i.Len)
		return
	}
	m := branchText.FindStringSubmatch(text)
	if (m != nil) != i.IsBranch() {
		complain(&n.targets, "branch is %v", i.IsBranch())
	} else if m != nil {
		if want, _ := strconv.ParseUint(m[2], 16, 64); addr+uint64(i.Target) != want {
			complain(&n.targets, "target %#x", addr+uint64(i.Target))
		}
	}
	if strings.Contains(text, "(%rip)") != i.RIPRel && !strings.Contains(text, "(%eip)") {
		complain(&n.rips, "RIP-relative is %v", i.RIPRel)
	} else if m := ripText.FindStringSubmatch(text); i.RIPRel && m != nil {
		disp := int32(uint32(code[i.DispOff]) | uint32(code[i.DispOff+1])<<8 | uint32(code[i.DispOff+2])<<16 | uint32(code[i.DispOff+3])<<24)
		if want, _ := strconv.ParseUint(m[1], 16, 64); addr+uint64(i.Len)+uint64(int64(disp)) != want {
			complain(&n.rips, "refers to %#x", addr+uint64(i.Len)+uint64(int64(disp)))
		}
	}
}

func TestAgainstObjdump(t *testing.T) {
	var files []string
	dir := t.TempDir()
	for name, flags := range map[string][]string{
		"O2":     {"-O2"},
		"kernel": {"-O2", "-mcmodel=kernel", "-fno-pic", "-pg", "-mfentry", "-fcf-protection=branch"},
		"avx2":   {"-O3", "-march=haswell"},
		"avx512": {"-O3", "-march=icelake-server", "-mprefer-vector-width=512"},
		"xop":    {"-O0", "-fPIC"},
	} {
		out := filepath.Join(dir, name+".o")
		args := append(flags, "-c", "testdata/code.c", "-o", out)
		if b, err := exec.Command("gcc-12", args...).CombinedOutput(); err != nil {
			t.Fatalf("gcc-12 is needed: %v\n%s", err, b)
		}
		files = append(files, out)
	}
	asm := filepath.Join(dir, "odd.o")
	if b, err := exec.Command("gcc-12", "-c", "testdata/odd.s", "-o", asm).CombinedOutput(); err != nil {
		t.Fatalf("gcc-12 is needed: %v\n%s", err, b)
	}
	files = append(files, asm)
	if s := os.Getenv(objdumpFiles); s != "" {
		files = append(files, strings.Split(s, ":")...)
	}
	var sum tally
	for _, f := range files {
		n := compare(t, f)
		if n.insts == 0 {
			t.Errorf("%s: objdump printed no instruction", f)
		}
		if n.errors+n.lengths+n.targets+n.rips > 0 {
			t.Errorf("%s: of %d instructions %d errors, %d wrong lengths, %d wrong branches, %d wrong RIP-relative operands",
				f, n.insts, n.errors, n.lengths, n.targets, n.rips)
		}
		sum.insts += n.insts
	}
	t.Logf("%d files, %d instructions", len(files), sum.insts)
}
