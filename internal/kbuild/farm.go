// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// farm is a view of the source tree with some files replaced: real directories
// where something is different (and wherever a path steps through with ".."),
// symbolic links for the rest. GCC looks for #include "x.h" beside the including
// file under the name it was opened by, so a file in a real directory finds its
// replaced neighbours; one that is reached through a linked directory does not
// see replacements beside ".." of it, which stale detects.
type farm struct {
	src, obj string // source and O= directory that the farm stands for
	root     string // the farm's source root, absolute
	name     string // what commands call it: relative to cwd, so that no private path gets into an object
	cwd      string // where to run the compiler
	overlay  map[string][]byte
	real     map[string]bool // directories made real, relative, "." for the root
}

// farmName is the source root in a farm's working directory.
const farmName = "kmend-src"

// newFarm makes the view under dir, an empty directory. With relative, commands
// name the source relative to the O= directory (which is in it, or equal), and
// the working directory is its image in the farm; else it is a directory with
// links to all that the O= directory has, and the farm.
func newFarm(dir, src, obj string, relative bool, overlay map[string][]byte) (*farm, error) {
	f := &farm{src: src, obj: obj, root: filepath.Join(dir, farmName), name: farmName, cwd: dir, overlay: overlay, real: map[string]bool{}}
	for p := range overlay {
		if !filepath.IsLocal(p) || path.Clean(p) != p {
			return nil, fmt.Errorf("overlay the source: %q is not a path below the source root", p)
		}
	}
	if err := os.Mkdir(f.root, 0o755); err != nil {
		return nil, fmt.Errorf("overlay the source: %w", err)
	}
	if err := f.place(relative); err != nil {
		return nil, err
	}
	if err := f.makeReal("."); err != nil {
		return nil, err
	}
	for p := range overlay {
		if err := f.steps(p); err != nil {
			return nil, err
		}
	}
	for p, data := range overlay {
		dst := filepath.Join(f.root, p)
		if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("overlay the source: %w", err)
		}
		if err := os.WriteFile(dst, data, 0o644); err != nil {
			return nil, fmt.Errorf("overlay the source: %w", err)
		}
	}
	return f, nil
}

// steps makes every directory real that the path p, which may contain "..",
// walks through; its last component is not entered.
func (f *farm) steps(p string) error {
	cur := "."
	parts := strings.Split(p, "/")
	for _, part := range parts[:len(parts)-1] {
		cur = path.Join(cur, part)
		if cur == ".." || strings.HasPrefix(cur, "../") {
			return nil // outside the source tree
		}
		if st, err := os.Stat(filepath.Join(f.src, cur)); err != nil || !st.IsDir() {
			return nil // an -I of a directory that does not exist
		}
		if err := f.makeReal(cur); err != nil {
			return err
		}
	}
	return nil
}

// makeReal turns a linked directory, whose parent is real, into a real one with
// links to its entries.
func (f *farm) makeReal(dir string) error {
	if f.real[dir] {
		return nil
	}
	if dir != "." {
		if err := f.makeReal(path.Dir(dir)); err != nil {
			return err
		}
	}
	dst := filepath.Join(f.root, dir)
	wrap := func(err error) error { return fmt.Errorf("overlay the source: %w", err) }
	if dir != "." {
		if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return wrap(err)
		}
		if err := os.Mkdir(dst, 0o755); err != nil {
			return wrap(err)
		}
	}
	f.real[dir] = true
	entries, err := os.ReadDir(filepath.Join(f.src, dir))
	if err != nil && (dir == "." || !errors.Is(err, fs.ErrNotExist)) {
		return wrap(err)
	}
	for _, e := range entries {
		name := e.Name()
		if _, replaced := f.overlay[path.Join(dir, name)]; replaced {
			if _, err := os.Lstat(filepath.Join(dst, name)); err == nil {
				continue // written already
			}
		}
		if err := os.Symlink(filepath.Join(f.src, dir, name), filepath.Join(dst, name)); err != nil {
			return wrap(err)
		}
	}
	for p, data := range f.overlay { // a directory made real later: its replaced files
		if path.Dir(p) == dir {
			q := filepath.Join(f.root, p)
			os.Remove(q)
			if err := os.WriteFile(q, data, 0o644); err != nil {
				return wrap(err)
			}
		}
	}
	return nil
}

// place makes the working directory.
func (f *farm) place(relative bool) error {
	if !relative {
		entries, err := os.ReadDir(f.obj)
		if err != nil {
			return fmt.Errorf("overlay the source: %w", err)
		}
		for _, e := range entries {
			if err := os.Symlink(filepath.Join(f.obj, e.Name()), filepath.Join(f.cwd, e.Name())); err != nil {
				return fmt.Errorf("overlay the source: %w", err)
			}
		}
		return nil
	}
	rel, err := filepath.Rel(f.src, f.obj)
	if err != nil || !filepath.IsLocal(rel) {
		return errors.New("overlay the source: the O= directory names its source by a relative path but lies outside of it")
	}
	f.cwd = filepath.Join(f.root, rel)
	return f.makeReal(filepath.ToSlash(rel))
}

// rewrite replaces the source root in an argument by the farm's and makes the
// directories real that the argument's path steps through with "..".
func (f *farm) rewrite(arg string) (string, error) {
	i := strings.Index(arg, f.src)
	if i < 0 {
		return arg, nil
	}
	rest := arg[i+len(f.src):]
	if rest != "" && rest[0] != '/' {
		return arg, nil // another directory whose name begins the same
	}
	p, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "=")
	if slices.Contains(strings.Split(p, "/"), "..") {
		if err := f.steps(p + "/x"); err != nil {
			return "", err
		}
	}
	return arg[:i] + f.name + rest, nil
}

// rel returns the source-relative path of a file that GCC read, false for one
// outside the source (the O= directory, the compiler).
func (f *farm) rel(p string) (string, bool) {
	if !filepath.IsAbs(p) {
		p = filepath.Join(f.cwd, p)
	}
	p = filepath.Clean(p)
	for _, root := range []string{f.root, f.src} {
		if r, err := filepath.Rel(root, p); err == nil && filepath.IsLocal(r) {
			return filepath.ToSlash(r), true
		}
	}
	return "", false
}

// stale looks for files that GCC read in their original form although the
// overlay replaces them, and makes the directories real through which that
// happened. It returns true when there were any: the compile must be repeated.
func (f *farm) stale(deps []string) (bool, error) {
	names := map[string]bool{}
	for p := range f.overlay {
		names[path.Base(p)] = true
	}
	again := false
	for _, d := range deps {
		if !names[path.Base(d)] {
			continue
		}
		full := d
		if !filepath.IsAbs(full) {
			full = f.cwd + "/" + full // not Join: ".." after a link must stay
		}
		real, err := filepath.EvalSymlinks(full)
		if err != nil {
			return false, fmt.Errorf("overlay the source: %w", err)
		}
		r, err := filepath.Rel(f.src, real)
		if err != nil {
			continue
		}
		if _, replaced := f.overlay[filepath.ToSlash(r)]; !replaced {
			continue
		}
		tail, ok := strings.CutPrefix(full, f.root+"/")
		if !ok {
			return false, fmt.Errorf("overlay the source: %s was read past the overlay, as %s", r, d)
		}
		before := len(f.real)
		if err := f.steps(tail); err != nil {
			return false, err
		}
		if len(f.real) == before {
			return false, fmt.Errorf("overlay the source: %s was read past the overlay, as %s", r, d)
		}
		again = true
	}
	return again, nil
}
