// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Preprocess runs a unit's own command with -E in place of -c, on the overlay,
// with Job.Flags and the flags given (such as "-fdirectives-only"), and returns
// what GCC writes. In its line markers a file of the source is called by its path
// relative to the source root (include/linux/fs.h), a file of the O= directory by
// "./" and its path in there (./include/generated/autoconf.h), and anything else,
// such as <built-in> or the compiler's own headers, as GCC calls it. Paths are not
// cleaned of ".." (fs/nfs/flexfilelayout/../nfs4_fs.h), since __FILE__ is not; if
// O= is the source itself, "./" says nothing. Text between the markers is left
// alone.
func (t *Tree) Preprocess(ctx context.Context, j Job, flags ...string) ([]byte, error) {
	if j.Command == nil {
		return nil, errors.New("preprocess: no command given")
	}
	if err := j.Command.check(); err != nil {
		return nil, err
	}
	key, err := t.compileKey(ctx, fmt.Sprintf("preprocess 1 %q", flags), j)
	if err != nil {
		return nil, err
	}
	if files, m := t.cachedFiles(key); m != nil {
		return files["text"], nil
	}
	release, err := t.Jobs.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	b, err := t.newBench(j)
	if err != nil {
		return nil, err
	}
	defer b.close()
	text, err := b.preprocess(ctx, slices.Concat(j.Flags, flags)...)
	if err != nil {
		return nil, t.diagnose(ctx, j, err)
	}
	text = b.farm.plainMarkers(text)
	if t.Cache != nil {
		_ = t.storeFiles(key, b, meta{}, map[string][]byte{"text": text}) // only costs time next time
	}
	return text, nil
}

// plainMarkers gives the files in line markers (# 12 "file" 1) their names
// outside of the farm.
func (f *farm) plainMarkers(text []byte) []byte {
	out := make([]byte, 0, len(text))
	names := map[string]string{}
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line = text[:i+1]
		}
		text = text[len(line):]
		from, to, ok := markerName(line)
		if !ok {
			out = append(out, line...)
			continue
		}
		name, known := names[string(line[from:to])]
		if !known {
			old := string(line[from:to])
			name = f.plainName(old)
			names[old] = name
		}
		out = append(append(append(out, line[:from]...), name...), line[to:]...)
	}
	return out
}

// markerName finds the file's name in a line marker.
func markerName(line []byte) (from, to int, ok bool) {
	if len(line) < 2 || line[0] != '#' || line[1] != ' ' {
		return 0, 0, false
	}
	i := 2
	for i < len(line) && line[i] >= '0' && line[i] <= '9' {
		i++
	}
	if i == 2 || i+1 >= len(line) || line[i] != ' ' || line[i+1] != '"' {
		return 0, 0, false
	}
	n := bytes.IndexByte(line[i+2:], '"')
	if n < 0 {
		return 0, 0, false
	}
	return i + 2, i + 2 + n, true
}

// plainName is the name of a file outside of the farm.
func (f *farm) plainName(p string) string {
	if f.obj != f.src { // which may hold it
		if rest, ok := strings.CutPrefix(p, f.obj+"/"); ok {
			return "./" + rest
		}
	}
	roots := []string{f.name, f.root, f.src}
	if up, err := filepath.Rel(f.cwd, f.root); err == nil && strings.HasPrefix(up, "..") {
		roots = append(roots, up)
	}
	bare := strings.TrimPrefix(p, "./") // GCC puts that before a relative -include
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(bare, root+"/"); ok {
			return rest
		}
	}
	return p
}
