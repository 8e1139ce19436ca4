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
// "./" and its path in there (./include/generated/autoconf.h), unless O= is the
// source itself, and anything else, such as <built-in> or the compiler's own
// headers, as GCC calls it. Text between the markers is left alone.
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
	if p == "" || p[0] == '<' {
		return p
	}
	full := p
	if !filepath.IsAbs(full) {
		full = filepath.Join(f.cwd, full)
	}
	// O= can lie in the source: ask for it first, unless the working directory is
	// its image in the farm, whose files the source has as well.
	if r, err := filepath.Rel(f.obj, full); err == nil && filepath.IsLocal(r) && f.obj != f.src {
		return "./" + filepath.ToSlash(r)
	}
	if r, ok := f.rel(full); ok {
		if rel, err := filepath.Rel(f.src, f.obj); err == nil && rel != "." && filepath.IsLocal(rel) {
			if inObj, ok := strings.CutPrefix(r, filepath.ToSlash(rel)+"/"); ok {
				return "./" + inObj
			}
		}
		return r
	}
	if r, err := filepath.Rel(f.cwd, full); err == nil && filepath.IsLocal(r) {
		return "./" + filepath.ToSlash(r)
	}
	return p
}
