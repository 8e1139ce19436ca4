// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxModule bounds a module file; Debian's largest has 10 MB stripped.
const maxModule = 64 << 20

const maxLinks = 40 // as the kernel (fs/namei.c, MAXSYMLINKS)

const trustAdvice = "copy it, as root, to where only root can write: install -D -o root -g root -m 0644 MODULE.ko /root/kmend/MODULE.ko"

// readTrusted reads a file that only root can have written: it and every
// directory above it belong to root and can be written by nobody else. The path
// is walked with one openat(2) for each component, so that what was looked at is
// what is used. A symbolic link on the way is followed (its directory is root's,
// so root made it); the file itself must not be one.
func (h *Host) readTrusted(file string) ([]byte, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	fd, err := h.openTrusted(abs)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), abs)
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(data) > maxModule {
		return nil, &Refusal{Code: CodeNotModule, Where: file, Why: fmt.Sprintf("it has more than %d MiB", maxModule>>20), Advice: "give a module"}
	}
	return data, nil
}

// openTrusted walks to a file and opens it for reading.
func (h *Host) openTrusted(abs string) (int, error) {
	root := h.path()
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("read %s: open %s: %w", abs, root, err)
	}
	w := walk{h: h, file: abs, dir: dir, at: "/", rest: components(abs)}
	defer func() { unix.Close(w.dir) }()
	if err := w.trusted(dir, "/", unix.S_IFDIR); err != nil {
		return -1, err
	}
	for len(w.rest) > 1 {
		if err := w.down(); err != nil {
			return -1, err
		}
	}
	if len(w.rest) == 0 {
		return -1, fmt.Errorf("read %s: it is a directory; give a module", abs)
	}
	fd, err := unix.Openat(w.dir, w.rest[0], unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return -1, &Refusal{Code: CodePath, Where: abs, Why: "it is a symbolic link", Advice: "name the file itself"}
	}
	if err != nil {
		return -1, fmt.Errorf("read %s: %w", abs, err)
	}
	if err := w.trusted(fd, path.Join(w.at, w.rest[0]), unix.S_IFREG); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func components(p string) []string {
	parts := strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
	return slices.DeleteFunc(parts, func(s string) bool { return s == "." })
}

// walk is a place on the way to a file.
type walk struct {
	h     *Host
	file  string
	dir   int // O_PATH descriptor of the directory at
	at    string
	rest  []string
	links int
}

// down takes one step: into a directory, or through a link.
func (w *walk) down() error {
	name := w.rest[0]
	next := path.Join(w.at, name)
	if name == ".." { // out of a link's target only: Abs has cleaned the path
		return w.restart(append(components(path.Dir(w.at)), w.rest[1:]...))
	}
	fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("read %s: %s: %w", w.file, next, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return fmt.Errorf("read %s: %s: %w", w.file, next, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		defer unix.Close(fd)
		return w.follow(fd, next)
	}
	if err := w.trusted(fd, next, unix.S_IFDIR); err != nil {
		unix.Close(fd)
		return err
	}
	unix.Close(w.dir)
	w.dir, w.at, w.rest = fd, next, w.rest[1:]
	return nil
}

// follow replaces a link on the way by what it says.
func (w *walk) follow(fd int, at string) error {
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("read %s: %s: %w", w.file, at, unix.ELOOP)
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return fmt.Errorf("read %s: follow the link %s: %w", w.file, at, err)
	}
	target := string(buf[:n])
	rest := append(components(target), w.rest[1:]...)
	if path.IsAbs(target) {
		return w.restart(rest)
	}
	w.rest = rest
	return nil
}

// restart walks from the root again.
func (w *walk) restart(rest []string) error {
	if w.links++; w.links > maxLinks {
		return fmt.Errorf("read %s: %w", w.file, unix.ELOOP)
	}
	root, err := unix.Open(w.h.path(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("read %s: %w", w.file, err)
	}
	unix.Close(w.dir)
	w.dir, w.at, w.rest = root, "/", rest
	return nil
}

// trusted refuses what is not of the kind that is wanted, or what others than
// root can change. An access control list shows in the group's bits (acl(5)).
func (w *walk) trusted(fd int, name string, kind uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("read %s: %s: %w", w.file, name, err)
	}
	why := ""
	switch {
	case st.Mode&unix.S_IFMT != kind && kind == unix.S_IFDIR:
		return fmt.Errorf("read %s: %s: %w", w.file, name, unix.ENOTDIR)
	case st.Mode&unix.S_IFMT != kind:
		return fmt.Errorf("read %s: it is no regular file; give a module", w.file)
	case st.Uid != w.h.owner:
		why = fmt.Sprintf("%s belongs to user %d", name, st.Uid)
	case st.Mode&0o022 != 0:
		why = fmt.Sprintf("%s can be written by others (mode %04o)", name, st.Mode&0o7777)
	}
	if why == "" {
		return nil
	}
	return &Refusal{Code: CodePath, Where: w.file, Why: why, Advice: trustAdvice}
}
