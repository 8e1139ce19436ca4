// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var (
	mdLink   = regexp.MustCompile(`\]\(([^)#:\s]+)\)`)
	mdScript = regexp.MustCompile("`((?:scripts|docs|demo|survey|\\.ci)/[\\w./-]+)`")
)

// TestDocumentsNameFilesThatExist: relative links, and paths in code quotes.
func TestDocumentsNameFilesThatExist(t *testing.T) {
	top := root(t)
	found := 0
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		paths, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(top, path)
			exists := func(target string) {
				found++
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s names %v", rel, err)
				}
			}
			for _, m := range mdLink.FindAllSubmatch(data, -1) {
				exists(filepath.Join(filepath.Dir(path), string(m[1])))
			}
			for _, m := range mdScript.FindAllSubmatch(data, -1) {
				exists(filepath.Join(top, string(m[1])))
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d links found: look at this test", found)
	}
}
