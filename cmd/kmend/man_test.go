// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kmend/internal/kerneltest"
)

// manDir writes the pages of all commands into a directory.
func manDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "man1")
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"man", "-o", dir, "--date", "2026-01-02"}, &out, &errs); code != 0 || out.Len() > 0 {
		t.Fatalf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	return dir
}

func TestEveryCommandHasACleanManualPage(t *testing.T) {
	dir := manDir(t)
	root := newRoot(&app{})
	want := documented(root)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != len(want) || len(want) < 15 {
		t.Fatalf("%d pages of %d commands (%v)", len(files), len(want), err)
	}
	var paths []string
	for _, c := range want {
		path := filepath.Join(dir, manName(c)+".1")
		paths = append(paths, path)
		page, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		sections := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"}
		if c.Example != "" {
			sections = append(sections, "EXAMPLES")
		}
		for _, s := range sections {
			if !strings.Contains(string(page), ".SH \""+s+"\"\n") {
				t.Errorf("%s has no section %s", path, s)
			}
		}
	}
	lint := exec.Command("mandoc", append([]string{"-Tlint", "-Wwarning"}, paths...)...)
	if lint.Err != nil {
		kerneltest.Missing(t, "no mandoc: run scripts/setup")
	}
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("mandoc: %v\n%s", err, out)
	}
	man, err := exec.LookPath("man")
	if err != nil {
		kerneltest.Missing(t, "no man: run scripts/setup")
	}
	for _, path := range []string{filepath.Join(dir, "kmend.1"), filepath.Join(dir, "kmend-cc.1"), filepath.Join(dir, "kmend-build.1")} {
		groff := exec.Command(man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path)
		groff.Env = append(os.Environ(), "MANROFFSEQ=", "MANWIDTH=80", "LC_ALL=C.UTF-8")
		var errs strings.Builder
		groff.Stderr = &errs
		if err := groff.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("man %s: %v\n%s", path, err, errs.String())
		}
	}
}

func TestManualPageOfACommand(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"man", "kernel", "add", "--date", "2026-01-02"}, &out, &errs); code != 0 {
		t.Fatal(errs.String())
	}
	for _, text := range []string{
		`.TH "KMEND\-KERNEL\-ADD" 1 "2026-01-02"`,
		`kmend\-kernel\-add \- make a kernel known`,
		"\\fB\\-\\-name \\fR\\fIstring\\fR\n",
		`\fBkmend\-kernel\fR(1)`,
		`\fB\-\-color`,
	} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the page lacks %q:\n%s", text, out.String())
		}
	}
	for _, args := range [][]string{{"man", "nonsense"}, {"man", "-o", "x", "build"}, {"man", "--date", "today"}} {
		if code := run(t.Context(), args, &out, &errs); code != exitUsage {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

var (
	asksEnvironment = regexp.MustCompile(`(?:Getenv|LookupEnv)\("([A-Z_]+)"\)`)
	namesVariable   = regexp.MustCompile(`= +"(KMEND_[A-Z_]+)"`)
	// forItself are variables by which kmend speaks with itself.
	forItself = []string{"KMEND_CC_RUNNING", "KMEND_OUT"}
)

// TestEnvironmentIsDocumented: what the source asks the environment for is on
// some manual page.
func TestEnvironmentIsDocumented(t *testing.T) {
	var pages strings.Builder
	for _, c := range documented(newRoot(&app{})) {
		pages.WriteString(commonEnvironment + c.Annotations[manEnvironment])
	}
	found := 0
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range slices.Concat(asksEnvironment.FindAllSubmatch(data, -1), namesVariable.FindAllSubmatch(data, -1)) {
			found++
			name := string(m[1])
			if !slices.Contains(forItself, name) && !strings.HasPrefix(name, "KMEND_TEST_") && !regexp.MustCompile(`(?m)^  `+name+`  `).MatchString(pages.String()) {
				t.Errorf("%s asks for the environment variable %s: say in cmd/kmend/man.go, or in the command's annotation %q, what it is for", path, name, manEnvironment)
			}
		}
		return nil
	})
	if err != nil || found < 5 {
		t.Errorf("%d uses of the environment found (%v)", found, err)
	}
}

func TestCommandsAreKnownToTheirParentsPage(t *testing.T) {
	root := newRoot(&app{})
	for _, c := range documented(root) {
		if c == root {
			continue
		}
		parent := string(manPage(c.Parent(), "2026-01-02").Bytes())
		if !strings.Contains(parent, strings.ReplaceAll(manName(c), "-", `\-`)+`\fR(1)`) {
			t.Errorf("%s is not on the page of %s", c.CommandPath(), c.Parent().CommandPath())
		}
	}
}
