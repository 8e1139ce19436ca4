// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// writeList puts a record where the list is to go.
func writeList(rec *Record, l *List, out io.Writer) error {
	data := rec.text()
	if l.JSON {
		var err error
		if data, err = rec.line(); err != nil {
			return err
		}
	}
	path := l.place(rec.Object)
	var err error
	switch {
	case path == "":
		_, err = out.Write(data)
	case l.isDir():
		err = replace(path, data)
	default:
		err = appendTo(path, data)
	}
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	return nil
}

// replace writes a file of its own for one object, as a whole or not at all.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kmend-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Chmod(0o644)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// appendTo adds a record to a file that all compiles of a build share. The
// lock keeps records apart, and what could not be written whole is taken back.
func appendTo(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX) // ends with the file
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err != nil && st.Mode().IsRegular() {
		_ = f.Truncate(st.Size())
	}
	return err
}
