// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"kmend/internal/nearest"
	"kmend/internal/run"
)

// The store: one directory a kernel below the user's cache directory.
//
//	kmend/kernels/NAME/kernel.json   written last, by rename: the entry exists
//	kmend/kernels/NAME/add.log       what the tools printed while it was added
//	kmend/kernels/NAME/…             image, packages, source, O= directory
//	kmend/kernels/.NAME.lock         held (flock) while NAME is added or removed
//	kmend/kernels/.trash-*           entries on their way out
//	kmend/downloads/*.deb            verified packages, shared by all kernels
//
// The O= directory holds absolute paths (Makefile, .cmd files), so an entry is
// made in its final place and stays invisible until kernel.json is there.
const (
	recordName    = "kernel.json"
	recordVersion = 1
)

// nameRE is made when it is needed: the bound makes it large, and kmend cc
// starts once for every file of a build.
var nameRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$`)
})

// NotFoundError says that no kernel of that name has been added.
type NotFoundError struct {
	Name  string
	Known []string // the kernels there are
}

func (e *NotFoundError) Error() string {
	if e.Name == "" {
		if len(e.Known) == 0 {
			return "choose a kernel: none has been added; run: kmend kernel add debian:VERSION"
		}
		return "choose a kernel: the running one has not been added, and there are several; use -k with one of " + strings.Join(e.Known, ", ")
	}
	msg := fmt.Sprintf("open kernel %s: it has not been added", e.Name)
	if near := nearest.Names(e.Name, e.Known, 3); len(near) > 0 {
		return msg + "; did you mean " + strings.Join(near, ", ") + "?"
	}
	if len(e.Known) > 0 {
		msg += "; there is " + strings.Join(e.Known, ", ")
	}
	return msg + "; run: kmend kernel add debian:" + e.Name
}

// storeDir is the directory of all kernels.
func storeDir() (string, error) {
	base, err := run.CacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(base, "kernels"), nil
}

// entryDir checks the name and returns the directory of that kernel.
func entryDir(name string) (string, error) {
	if !nameRE().MatchString(name) {
		return "", fmt.Errorf("kernel name %q: letters, digits and ._+~- are allowed, the first a letter or digit", name)
	}
	root, err := storeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, name), nil
}

// List returns all kernels that were added, by name. Half-made ones are not
// in it. A damaged entry is an error that names it.
func List() ([]*Kernel, error) {
	root, err := storeDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list kernels: %w", err)
	}
	var out []*Kernel
	for _, e := range entries {
		if !e.IsDir() || !nameRE().MatchString(e.Name()) {
			continue
		}
		k, err := load(filepath.Join(root, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // being added, or left half-made
		}
		if err != nil {
			return nil, fmt.Errorf("list kernels: %w", err)
		}
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b *Kernel) int { return compareVersions(a.Name, b.Name) })
	return out, nil
}

// Open loads the kernel of that name. "" is the running kernel if its build id
// is known, else the only kernel there is, else an error that lists them.
func Open(name string) (*Kernel, error) {
	if name != "" {
		dir, err := entryDir(name)
		if err != nil {
			return nil, err
		}
		k, err := load(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, notFound(name)
		}
		if err != nil {
			return nil, fmt.Errorf("open kernel %s: %w", name, err)
		}
		return k, k.checkFiles()
	}
	all, err := List()
	if err != nil {
		return nil, err
	}
	if id, err := RunningBuildID(); err == nil {
		for _, k := range all {
			if k.BuildID == id {
				return k, k.checkFiles()
			}
		}
	}
	if len(all) == 1 {
		return all[0], all[0].checkFiles()
	}
	return nil, notFound("")
}

func notFound(name string) error {
	e := &NotFoundError{Name: name}
	if all, err := List(); err == nil {
		for _, k := range all {
			e.Known = append(e.Known, k.Name)
		}
	}
	return e
}

// RunningBuildID is the GNU build id of the running kernel, in hex. The
// release string does not identify a kernel; this does.
func RunningBuildID() (string, error) {
	b, err := os.ReadFile("/sys/kernel/notes")
	if err != nil {
		return "", fmt.Errorf("build id of the running kernel: %w", err)
	}
	id := GNUBuildID(b)
	if id == "" {
		return "", errors.New("build id of the running kernel: no GNU build id in /sys/kernel/notes")
	}
	return id, nil
}

// record is kernel.json.
type record struct {
	FormatVersion int `json:"version_of_format"`
	*Kernel
}

func load(dir string) (*Kernel, error) {
	path := filepath.Join(dir, recordName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := record{Kernel: &Kernel{}}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w; run: kmend kernel remove %s", path, err, filepath.Base(dir))
	}
	if r.FormatVersion != recordVersion {
		return nil, fmt.Errorf("%s: format %d where this kmend knows %d; run: kmend kernel add --force %s", path, r.FormatVersion, recordVersion, r.Spec)
	}
	if r.Dir != dir || r.Name != filepath.Base(dir) {
		return nil, fmt.Errorf("%s was prepared in %s and cannot be moved (its build directory holds absolute paths); run: kmend kernel add --force %s", dir, r.Dir, r.Spec)
	}
	return r.Kernel, nil
}

// save writes kernel.json by rename.
func (k *Kernel) save() error {
	data, err := json.MarshalIndent(record{recordVersion, k}, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", recordName, err)
	}
	if err := writeFile(filepath.Join(k.Dir, recordName), append(data, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", recordName, err)
	}
	return nil
}

// writeFile writes a file so that it is there whole or not at all.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// checkFiles makes sure that what the record names is still there.
func (k *Kernel) checkFiles() error {
	for _, p := range []string{k.Vmlinux, k.SourceDir, k.ConfigFile(), k.Symvers, k.ModulesDir} {
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("open kernel %s: %w; run: kmend kernel add --force %s", k.Name, err, k.Spec)
		}
	}
	return nil
}

// Remove deletes a kernel from the store: it is gone from List at once, its
// files follow. A tree's own directories and the downloads are not touched.
func Remove(ctx context.Context, name string) error {
	dir, err := entryDir(name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return notFound(name)
	}
	l, err := lockEntry(ctx, dir, nil)
	if err != nil {
		return fmt.Errorf("remove kernel %s: %w", name, err)
	}
	defer l.unlock()
	if err := discard(dir); err != nil {
		return fmt.Errorf("remove kernel %s: %w", name, err)
	}
	return nil
}

// discard takes an entry out of sight by rename, then deletes it, and with it
// what earlier discards of the same entry left when they were interrupted.
func discard(dir string) error {
	trash, err := os.MkdirTemp(filepath.Dir(dir), ".trash-"+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(trash, "entry")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		os.Remove(trash)
		return err
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".trash-"+filepath.Base(dir)+"-*"))
	if err != nil {
		return err
	}
	for _, t := range left {
		if err := os.RemoveAll(t); err != nil {
			return err
		}
	}
	return nil
}

// DiskUse is the space in bytes that the kernel takes in the store (a tree's
// own directories are not counted).
func (k *Kernel) DiskUse(ctx context.Context) (int64, error) {
	var total int64
	err := filepath.WalkDir(k.Dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if info, err := d.Info(); err == nil {
			total += diskBlocks(info)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("disk use of kernel %s: %w", k.Name, err)
	}
	return total, nil
}
