// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"sort"
	"strings"
)

// entry is one file of an archive. Path is absolute and clean.
type entry struct {
	path string
	mode uint32 // type and permission bits as in stat(2)
	data []byte // contents, or the target of a symbolic link
	rdev [2]uint32
}

const (
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
	modeChar    = 0o020000
)

// archive collects the files of an initramfs. A path that is added twice is
// replaced; parents are made as needed.
type archive struct {
	entries map[string]entry
	size    int64
}

func newArchive() *archive { return &archive{entries: map[string]entry{}} }

func (a *archive) dir(p string) {
	for p = path.Clean(p); p != "/" && p != "."; p = path.Dir(p) {
		if _, ok := a.entries[p]; ok {
			return
		}
		a.entries[p] = entry{path: p, mode: modeDir | 0o755}
	}
}

func (a *archive) add(e entry) {
	a.dir(path.Dir(e.path))
	a.size += int64(len(e.data)) - int64(len(a.entries[e.path].data))
	a.entries[e.path] = e
}

func (a *archive) file(p string, mode fs.FileMode, data []byte) {
	a.add(entry{path: p, mode: modeRegular | uint32(mode.Perm()), data: data})
}

func (a *archive) symlink(p, target string) {
	a.add(entry{path: p, mode: modeSymlink | 0o777, data: []byte(target)})
}

func (a *archive) char(p string, major, minor uint32) {
	a.add(entry{path: p, mode: modeChar | 0o600, rdev: [2]uint32{major, minor}})
}

func (a *archive) has(p string) bool {
	_, ok := a.entries[path.Clean(p)]
	return ok
}

// writeTo writes the archive in the "newc" format (Documentation/driver-api/
// early-userspace/buffer-format.rst): sorted by path, so parents come first;
// owner root, time zero, inode numbers in order. Equal contents give equal bytes.
func (a *archive) writeTo(w io.Writer) error {
	paths := make([]string, 0, len(a.entries))
	for p := range a.entries {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for i, p := range paths {
		if err := writeEntry(w, uint32(i+1), strings.TrimPrefix(p, "/"), a.entries[p]); err != nil {
			return err
		}
	}
	return writeEntry(w, 0, "TRAILER!!!", entry{})
}

func writeEntry(w io.Writer, ino uint32, name string, e entry) error {
	if uint64(len(e.data)) > math.MaxUint32 {
		return fmt.Errorf("archive %s: %d bytes do not fit the format", name, len(e.data))
	}
	links := uint32(1)
	if e.mode&0o170000 == modeDir {
		links = 2
	}
	const uid, gid, mtime, devMajor, devMinor, check = 0, 0, 0, 0, 0, 0
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		ino, e.mode, uid, gid, links, mtime, len(e.data), devMajor, devMinor, e.rdev[0], e.rdev[1], len(name)+1, check, name)
	for _, part := range [][]byte{[]byte(head), pad(len(head)), e.data, pad(len(e.data))} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// pad returns the zeros that fill n bytes up to a multiple of four.
func pad(n int) []byte { return make([]byte, -n&3) }
