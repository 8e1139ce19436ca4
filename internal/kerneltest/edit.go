// SPDX-License-Identifier: Apache-2.0

package kerneltest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/kernel"
)

// Edit is one change of a source file: Old, which the file must contain just
// once, becomes New. The kernel's source itself stays where it is: a test says
// only what it changes.
type Edit struct{ File, Old, New string }

// Diff returns the unified diff, in git's manner (a/ and b/), of edits to the
// kernel's source. Edits of one file that follow each other make one file diff.
func Diff(t testing.TB, k *kernel.Kernel, edits ...Edit) []byte {
	t.Helper()
	var out []byte
	for i := 0; i < len(edits); {
		file := edits[i].File
		data, err := os.ReadFile(filepath.Join(k.SourceDir, file))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for ; i < len(edits) && edits[i].File == file; i++ {
			if n := strings.Count(text, edits[i].Old); n != 1 {
				t.Fatalf("edit of %s: %d places have %q, want 1", file, n, edits[i].Old)
			}
			text = strings.Replace(text, edits[i].Old, edits[i].New, 1)
		}
		out = append(out, diff(t, filepath.Join(k.SourceDir, file), file, text)...)
	}
	return out
}

// Rewrite is Diff for a change of a whole file.
func Rewrite(t testing.TB, k *kernel.Kernel, file string, change func(string) string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(k.SourceDir, file))
	if err != nil {
		t.Fatal(err)
	}
	return diff(t, filepath.Join(k.SourceDir, file), file, change(string(data)))
}

func diff(t testing.TB, orig, name, text string) []byte {
	t.Helper()
	patched := filepath.Join(t.TempDir(), "patched")
	if err := os.WriteFile(patched, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("diff", "-u", "--label", "a/"+name, "--label", "b/"+name, orig, patched).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 { // diff exits with 1 when the files differ
		t.Fatalf("diff of %s: %v", name, err)
	}
	return out
}
