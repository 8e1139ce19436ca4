// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"kmend/internal/run"
)

// maxDiffLines bounds what is shown of a difference.
const maxDiffLines = 60

// disassembly shows what differs of a function between two variants: a unified
// diff of its instructions without addresses, the distances of jumps within it
// left out.
func (u *Unit) disassembly(ctx context.Context, symbol string, before, after variant) (string, error) {
	dir, err := os.MkdirTemp("", "kmend-audit-")
	if err != nil {
		return "", fmt.Errorf("disassemble %s: %w", symbol, err)
	}
	defer os.RemoveAll(dir)
	for name, v := range map[string]variant{"before": before, "after": after} {
		obj, _, err := u.compile(ctx, v)
		if err != nil {
			return "", err
		}
		text, err := Instructions(ctx, obj.ELF, symbol)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", fmt.Errorf("disassemble %s: %w", symbol, err)
		}
	}
	argv := []string{"diff", "-U2", "--label", symbol, "--label", symbol + " as compared", "before", "after"}
	out, err := run.Run(ctx, run.Cmd{Argv: argv, Dir: dir, Limit: 64 << 20})
	var re *run.Error
	if err != nil && (!errors.As(err, &re) || re.Exit != 1) { // 1: they differ
		return "", fmt.Errorf("disassemble %s: %w", symbol, err)
	}
	return firstLines(string(out.Stdout), maxDiffLines), nil
}

// Instructions is the code of a function of an object file, its cold part
// included, as objdump prints it, relocations too, without addresses and without
// the distances of jumps within it. Empty if the object has no such function.
func Instructions(ctx context.Context, elf []byte, symbol string) ([]byte, error) {
	f, err := os.CreateTemp("", "kmend-disassemble-*.o")
	if err != nil {
		return nil, fmt.Errorf("disassemble %s: %w", symbol, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(elf)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("disassemble %s: %w", symbol, err)
	}
	var text bytes.Buffer
	for _, s := range []string{symbol, symbol + ".cold"} {
		out, err := run.Run(ctx, run.Cmd{Argv: []string{"objdump", "-dr", "--no-show-raw-insn", "--disassemble=" + s, f.Name()}, Limit: 64 << 20})
		if err != nil {
			return nil, fmt.Errorf("disassemble %s: %w", symbol, err)
		}
		text.Write(plainInstructions(out.Stdout))
	}
	return text.Bytes(), nil
}

var (
	instruction = regexp.MustCompile(`^\s*[0-9a-f]+:\s+(.*)$`)
	inside      = regexp.MustCompile(`[0-9a-f]+ <[^>+]+\+0x[0-9a-f]+>`)
	label       = regexp.MustCompile(`^[0-9a-f]+ (<.*>:)$`)
)

// plainInstructions takes addresses out of objdump's output.
func plainInstructions(text []byte) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, " \n")
		if m := instruction.FindStringSubmatch(line); m != nil {
			b.WriteString("  " + inside.ReplaceAllString(m[1], "<…>") + "\n")
		} else if m := label.FindStringSubmatch(line); m != nil {
			b.WriteString(m[1] + "\n")
		}
	}
	return b.Bytes()
}

func firstLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) <= n {
		return s
	}
	return strings.Join(lines[:n], "") + fmt.Sprintf("… %d more lines\n", len(lines)-n)
}
