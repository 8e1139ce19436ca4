// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kmend/internal/kernel"
	"kmend/internal/run"
)

// Config says where a prepared kernel build lies.
type Config struct {
	SourceDir string   // absolute; never written
	ObjDir    string   // absolute; prepared O= directory ("make prepare" done)
	Compiler  string   // e.g. "gcc-12"
	MakeVars  []string // variables of the make command line, e.g. "ARCH=x86", "CC=gcc-12"; without O=
	StateDir  string   // where commands are remembered; dies with the kernel
}

// Tree is a kernel's source and O= directory as a compiler of single files. It
// is safe for concurrent use, by several processes too.
type Tree struct {
	cfg   Config
	Jobs  *run.Jobs  // places for compilers; by default one per CPU
	Cache *run.Cache // results of compiles; nil: none are kept

	idOnce sync.Once
	id     string // identity of compiler and assembler
	idErr  error

	graphMu sync.Mutex
	graph   *includeGraph
}

// Open returns the tree of an added kernel, with the user's object cache.
func Open(k *kernel.Kernel) (*Tree, error) {
	cache, err := run.OpenCache()
	if err != nil {
		return nil, err
	}
	t, err := OpenConfig(Config{
		SourceDir: k.SourceDir, ObjDir: k.ObjDir, Compiler: k.Compiler,
		MakeVars: k.MakeVars, StateDir: filepath.Join(k.Dir, "kbuild"),
	})
	if err != nil {
		return nil, err
	}
	t.Cache = cache
	return t, nil
}

// OpenConfig returns the tree that c describes, without a cache.
func OpenConfig(c Config) (*Tree, error) {
	for _, d := range []string{c.SourceDir, c.ObjDir, c.StateDir} {
		if !filepath.IsAbs(d) {
			return nil, fmt.Errorf("open build tree: %q is not an absolute path", d)
		}
	}
	// make resolves links in its directories; commands name what they lead to.
	for _, d := range []*string{&c.SourceDir, &c.ObjDir} {
		real, err := filepath.EvalSymlinks(*d)
		if err != nil {
			return nil, fmt.Errorf("open build tree: %w", err)
		}
		*d = real
	}
	for _, f := range []string{filepath.Join(c.SourceDir, "scripts/Makefile.build"), filepath.Join(c.ObjDir, "include/config/auto.conf")} {
		if _, err := os.Stat(f); err != nil {
			return nil, fmt.Errorf("open build tree: %w; the O= directory must be prepared with make prepare, and belong to the source", err)
		}
	}
	return &Tree{cfg: c, Jobs: run.NewJobs(0)}, nil
}

// lock takes the exclusive right to run make in the O= directory.
func (t *Tree) lock(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(t.cfg.StateDir, 0o755); err != nil {
		return nil, fmt.Errorf("remember build commands: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(t.cfg.StateDir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the build tree: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock the build tree: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// identity names the programs that decide what an object looks like: driver,
// compiler proper and assembler, by path, size and time.
func (t *Tree) identity(ctx context.Context) (string, error) {
	t.idOnce.Do(func() {
		ctx := context.WithoutCancel(ctx) // the answer is kept for later callers
		var b strings.Builder
		driver := strings.Fields(t.cfg.Compiler)
		if len(driver) == 0 {
			t.idErr = errors.New("find the compiler: none is named")
			return
		}
		for _, prog := range []string{"cc1", "as"} {
			out, err := run.Run(ctx, run.Cmd{Argv: append(append([]string{}, driver...), "-print-prog-name="+prog)})
			if err != nil {
				t.idErr = fmt.Errorf("find the compiler %s: %w", t.cfg.Compiler, err)
				return
			}
			fileID(&b, strings.TrimSpace(string(out.Stdout)))
		}
		fileID(&b, driver[len(driver)-1])
		t.id = b.String()
	})
	return t.id, t.idErr
}

func fileID(b *strings.Builder, name string) {
	p := name
	if !filepath.IsAbs(p) {
		for _, d := range filepath.SplitList(os.Getenv("PATH")) {
			if _, err := os.Stat(filepath.Join(d, name)); err == nil {
				p = filepath.Join(d, name)
				break
			}
		}
	}
	st, err := os.Stat(p)
	if err != nil {
		fmt.Fprintf(b, "%s missing\n", p)
		return
	}
	fmt.Fprintf(b, "%s %d %d\n", p, st.Size(), st.ModTime().UnixNano())
}
