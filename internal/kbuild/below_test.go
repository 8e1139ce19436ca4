// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"slices"
	"strings"
	"testing"
)

func TestBelow(t *testing.T) {
	tr := tree(t)
	commands, err := tr.Below(t.Context(), "fs/proc")
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, c := range commands {
		sources = append(sources, c.Source)
	}
	// nommu.c is for machines without memory management.
	if !slices.IsSorted(sources) || !slices.Contains(sources, "fs/proc/cmdline.c") || slices.Contains(sources, "fs/proc/nommu.c") || len(sources) < 15 {
		t.Errorf("units below fs/proc: %q", sources)
	}
	for _, dir := range []string{"fs/proc/", "../x", "/etc", "fs/nothing", "fs/proc/cmdline.c", "Documentation"} {
		if c, err := tr.Below(t.Context(), dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("below %s: %d units, %v", dir, len(c), err)
		}
	}
}
