// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	runDir   = "/run/kmend"      // gone after a reboot, as what is loaded
	lockFile = "/run/kmend/lock" // held (flock) by whoever changes something
)

// lockPatience is how long another kmend is waited for. A load may hold the lock
// for as long as its transition takes.
const lockPatience = 3 * time.Minute

// lock makes this process the only kmend that changes something, waits for
// another one, and returns what lets go. The kernel lets go by itself when the
// process is killed.
func (h *Host) lock(ctx context.Context) (unlock func(), err error) {
	if err := h.ownDir(runDir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(h.path(lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock out other kmends: %w", err)
	}
	begin, told := h.System.Now(), false
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock out other kmends: %w", err)
		}
		who := h.holder()
		if !told {
			h.notice("waiting for another kmend (%s)", who)
			told = true
		}
		if h.System.Now().Sub(begin) >= lockPatience {
			f.Close()
			return nil, fmt.Errorf("lock out other kmends: another one (%s) has held %s for %v: wait for it, or look at what it does with kmend status", who, lockFile, lockPatience)
		}
		if err := h.System.Sleep(ctx, 100*time.Millisecond); err != nil {
			f.Close()
			return nil, fmt.Errorf("wait for another kmend (%s): %w", who, err)
		}
	}
	// Only for the message above: the lock itself is the flock.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(fmt.Sprintf("process %d: %s\n", os.Getpid(), strings.Join(os.Args, " "))), 0)
	}
	return func() { f.Close() }, nil
}

func (h *Host) holder() string {
	b, err := os.ReadFile(h.path(lockFile))
	text := strings.TrimSpace(string(b[:min(len(b), 200)]))
	if err != nil || text == "" {
		return "which has not said who it is"
	}
	return text
}

// ownDir makes a directory of kmend's, and refuses one that somebody else made
// or can change.
func (h *Host) ownDir(dir string, mode fs.FileMode) error {
	err := os.Mkdir(h.path(dir), mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := h.ownDir(filepath.Dir(dir), 0o755); err != nil {
			return err
		}
		err = os.Mkdir(h.path(dir), mode)
	}
	if err == nil {
		return syncDir(filepath.Dir(h.path(dir)))
	}
	if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	info, err := os.Lstat(h.path(dir))
	if err != nil {
		return fmt.Errorf("use %s: %w", dir, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || st.Uid != h.owner || info.Mode()&0o022 != 0 {
		return &Refusal{Code: CodePath, Where: dir, Why: "it is not a directory that only root can change", Advice: "look who made it, then remove it"}
	}
	return nil
}

// writeFile writes a file so that it is there whole or not at all, even when the
// machine stops.
func (h *Host) writeFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return fmt.Errorf("write %s: it is a directory: remove it", h.outside(path))
	}
	h.step("write " + path)
	f, err := os.CreateTemp(dir, tempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		h.step("rename " + path)
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	h.step("renamed " + path)
	return syncDir(dir)
}

// tempPrefix begins the names of files that are not finished. A killed process
// leaves them; see sweep.
const tempPrefix = ".new-"

// sweep removes unfinished files. The caller holds the lock, so nobody writes.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	for _, f := range left {
		os.Remove(f)
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
