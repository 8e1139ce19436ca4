// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"kmend/internal/patch"
)

// Below returns the commands of all units that the configuration builds from C
// files below a directory (a path relative to the source root, "." for all of
// it), sorted by source. None is an error.
func (t *Tree) Below(ctx context.Context, dir string) ([]*Command, error) {
	if !filepath.IsLocal(dir) || path.Clean(dir) != dir {
		return nil, fmt.Errorf("list the units below %s: not a directory of the source, by its path from the root", dir)
	}
	if st, err := os.Stat(filepath.Join(t.cfg.SourceDir, dir)); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("list the units below %s: there is no such directory in this kernel's source", dir)
	}
	var sources []string
	err := filepath.WalkDir(filepath.Join(t.cfg.SourceDir, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, ok := t.sourceRel(p)
		switch {
		case !ok:
		case d.IsDir() && skippedDir(rel):
			return filepath.SkipDir
		case d.Type().IsRegular() && path.Ext(rel) == ".c" && patch.Classify(rel) == patch.Source:
			sources = append(sources, rel)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list the units below %s: %w", dir, err)
	}
	built, err := t.Built(ctx, sources) // WalkDir sorts
	if err != nil {
		return nil, err
	}
	if len(built) == 0 {
		return nil, fmt.Errorf("list the units below %s: the configuration builds none of the %d C files there", dir, len(sources))
	}
	return built, nil
}
