// SPDX-License-Identifier: Apache-2.0

package index

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"kmend/internal/run"
)

// Cached opens the index of a build in the user's cache. It is made if it is
// not there, or if a file of the build has another size or time since. made
// says that it was. The cache keeps one index of a directory.
func Cached(ctx context.Context, opt Options) (x *Index, made bool, err error) {
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, false, fmt.Errorf("find the build: %w", err)
	}
	base, err := run.CacheDir()
	if err != nil {
		return nil, false, err
	}
	name, old, err := cacheName(ctx, filepath.Join(base, "indexes"), dir)
	if err != nil {
		return nil, false, err
	}
	if x, err := Open(name); err == nil {
		return x, false, nil // a damaged one is made anew
	}
	data, err := Build(ctx, opt)
	if err != nil {
		return nil, false, err
	}
	if err := WriteFile(name, data); err != nil {
		return nil, false, err
	}
	stale, _ := filepath.Glob(old)
	for _, f := range stale {
		if f != name {
			_ = os.Remove(f) // of an earlier state of the build; the next time will do
		}
	}
	x, err = Open(name)
	return x, true, err
}

// cacheName is the file of the index of a build as it is now, and the pattern
// of those of any state of it.
func cacheName(ctx context.Context, cache, dir string) (name, all string, err error) {
	t, err := walk(ctx, dir)
	if err != nil {
		return "", "", err
	}
	var files []string
	for o, d := range t.dumps {
		files = append(files, d)
		if t.objects[o] {
			files = append(files, o)
		}
	}
	for o := range t.objects {
		if t.dumps[o] == "" {
			files = append(files, o)
		}
	}
	files = slices.Concat(files, t.mods, t.archives, t.modules)
	if t.vmlinux {
		files = append(files, Vmlinux)
	}
	slices.Sort(files)
	state := run.NewHasher("impact index " + strconv.Itoa(formatVersion))
	for _, f := range files {
		st, err := os.Stat(filepath.Join(dir, filepath.FromSlash(f)))
		if err != nil {
			return "", "", fmt.Errorf("look at the build: %w", err)
		}
		state.AddString(f, strconv.FormatInt(st.Size(), 10), strconv.FormatInt(st.ModTime().UnixNano(), 10))
	}
	place := run.NewHasher("impact index of a directory")
	place.AddString(dir)
	prefix := filepath.Join(cache, string(place.Key()[:16]))
	return prefix + "-" + string(state.Key()[:32]) + ".idx", prefix + "-*.idx", nil
}

// WriteFile puts an index into place; a reader sees all of it or none.
func WriteFile(name string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write index %s: %w; check the free space there", name, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".index-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
