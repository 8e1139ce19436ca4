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
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file+".o", obj.ELF, 0o644); err != nil {
			return "", fmt.Errorf("disassemble %s: %w", symbol, err)
		}
		var text bytes.Buffer
		for _, s := range []string{symbol, symbol + ".cold"} {
			out, err := run.Run(ctx, run.Cmd{Argv: []string{"objdump", "-dr", "--no-show-raw-insn", "--disassemble=" + s, file + ".o"}, Limit: 64 << 20})
			if err != nil {
				return "", fmt.Errorf("disassemble %s: %w", symbol, err)
			}
			text.Write(plainInstructions(out.Stdout))
		}
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
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
