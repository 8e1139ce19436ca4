// SPDX-License-Identifier: Apache-2.0

package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Options say what to index.
type Options struct {
	Dir      string                // the build: dumps with the objects beside them
	Progress func(done, total int) // may be nil; is called from several goroutines
}

// A compile writes the dump, then the assembler the object, then objtool
// changes it. Beyond these limits they are not of one compile.
const (
	maxNewer = 2 * time.Second // of the dump, for file systems that round
	maxOlder = time.Minute
)

// scanned is one unit as a worker left it.
type scanned struct {
	unit
	path       string
	worker     int
	nodes      [2]uint32 // of the worker's part
	links      [2]uint32
	syms       [2]uint32
	sourceFile string
	skip       bool
	err        error
}

// Build makes the index of a build. The same files give the same bytes.
func Build(ctx context.Context, opt Options) ([]byte, error) {
	t, err := walk(ctx, filepath.Clean(opt.Dir))
	if err != nil {
		return nil, err
	}
	links, err := t.links()
	if err != nil {
		return nil, fmt.Errorf("find what the objects are linked into: %w", err)
	}
	units := make([]scanned, 0, len(t.dumps))
	for _, p := range t.units() {
		if t.dumps[p] != "" || links[p] != "" || len(links) == 0 {
			units = append(units, scanned{path: p})
		}
	}
	scanners, err := t.scanAll(ctx, units, opt.Progress)
	if err != nil {
		return nil, err
	}
	m := newMerge(scanners, sourceRoot(units))
	for i := range units {
		if !units[i].skip {
			m.add(&units[i], links[units[i].path])
		}
	}
	m.finish()
	if err := t.positions(ctx, m); err != nil {
		return nil, err
	}
	return m.file.encode()
}

// sourceRoot is the prefix of source files in the dumps, with a slash: what the
// first unit that shows it has before its own C file. "" if none does.
func sourceRoot(units []scanned) string {
	for i := range units {
		want := strings.TrimSuffix(units[i].path, ".o") + ".c"
		if root, ok := strings.CutSuffix(units[i].sourceFile, want); ok && strings.HasSuffix(root, "/") && !units[i].skip {
			return root
		}
	}
	return ""
}

// scanAll reads all units on all CPUs.
func (t *tree) scanAll(ctx context.Context, units []scanned, progress func(done, total int)) ([]*scanner, error) {
	workers := min(runtime.GOMAXPROCS(0), max(len(units), 1))
	scanners := make([]*scanner, workers)
	var next, done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for w := range workers {
		s := newScanner()
		scanners[w] = s
		g.Go(func() error {
			r := unitReader{tree: t, scanner: s}
			for {
				i := int(next.Add(1)) - 1
				if i >= len(units) {
					return nil
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				units[i].worker = w
				units[i].err = r.read(&units[i])
				if n := done.Add(1); progress != nil && (n%64 == 0 || int(n) == len(units)) {
					progress(int(n), len(units))
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("index the build: %w", err)
	}
	var errs []error
	more := 0
	for i := range units {
		if units[i].err != nil && len(errs) < 10 {
			errs = append(errs, units[i].err)
		} else if units[i].err != nil {
			more++
		}
	}
	if more > 0 {
		errs = append(errs, fmt.Errorf("%d more files like these", more))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("index the build: %w", errors.Join(errs...))
	}
	return scanners, nil
}

// unitReader reads the files of units into buffers that it uses again.
type unitReader struct {
	tree       *tree
	scanner    *scanner
	dump, obj  []byte
	dumpT, oT  time.Time
	hasO, hasD bool
}

// load reads a file whole. It asks the kernel directly: package os would make
// twice as many calls, which is a tenth of all the time.
func load(name string, buf []byte, limit int64) ([]byte, time.Time, error) {
	fail := func(err error) ([]byte, time.Time, error) {
		return buf, time.Time{}, &os.PathError{Op: "read", Path: name, Err: err}
	}
	fd, err := retry(func() (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail(err)
	}
	if st.Size > limit {
		return fail(fmt.Errorf("%d bytes are more than the limit of %d", st.Size, limit))
	}
	if int64(cap(buf)) < st.Size {
		buf = make([]byte, st.Size+st.Size/4)
	}
	buf = buf[:st.Size]
	for got := 0; got < len(buf); {
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[got:]) })
		if err != nil {
			return fail(err)
		}
		if n == 0 {
			return fail(errors.New("it became shorter while it was read; is a build running?"))
		}
		got += n
	}
	return buf, time.Unix(st.Mtim.Unix()), nil
}

// retry repeats a system call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// read scans the dump and the object of a unit.
func (r *unitReader) read(u *scanned) (err error) {
	s := r.scanner
	s.begin()
	from := [3]uint32{uint32(len(s.nodes)), uint32(len(s.links)), uint32(len(s.syms))}
	dump := r.tree.dumps[u.path]
	r.hasD, r.hasO = dump != "", r.tree.objects[u.path]
	if r.hasD {
		full := filepath.Join(r.tree.dir, filepath.FromSlash(dump))
		if r.dump, r.dumpT, err = load(full, r.dump, maxDump); err != nil {
			return err
		}
		u.dumpSize, u.dumpSum = uint64(len(r.dump)), crc32.Checksum(r.dump, castagnoli)
		if err := s.dump(r.dump); err != nil {
			return fmt.Errorf("%s: %w", full, err)
		}
	}
	if r.hasO {
		if err := r.object(u); err != nil {
			return err
		}
	}
	r.judge(u)
	if u.skip {
		s.nodes, s.links, s.syms = s.nodes[:from[0]], s.links[:from[1]], s.syms[:from[2]]
	}
	u.nodes = [2]uint32{from[0], uint32(len(s.nodes))}
	u.links = [2]uint32{from[1], uint32(len(s.links))}
	u.syms = [2]uint32{from[2], uint32(len(s.syms))}
	return nil
}

// object adds a unit's object file.
func (r *unitReader) object(u *scanned) (err error) {
	full := filepath.Join(r.tree.dir, filepath.FromSlash(u.path))
	if r.obj, r.oT, err = load(full, r.obj, maxObject); err != nil {
		return err
	}
	unknown, err := r.scanner.object(r.obj)
	if errors.Is(err, errForeign) {
		u.skip = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read object %s: it is damaged: %w; compile it again", full, err)
	}
	u.objectSize, u.objectSum = uint64(len(r.obj)), crc32.Checksum(r.obj, castagnoli)
	if unknown != "" && r.hasD {
		u.flags |= Mismatch
	}
	if o := &r.scanner.obj; o.files == 1 {
		u.sourceFile = string(o.source)
	}
	return nil
}

// judge says what is wrong with a unit, and leaves out what is none: objects
// without dump that were made from assembler code or by linking others.
func (r *unitReader) judge(u *scanned) {
	stem := strings.TrimSuffix(u.path, ".o")
	switch {
	case !r.hasO:
		u.flags |= NoObject
	case !r.hasD:
		u.flags |= NoDump
		u.skip = u.skip || path.Base(u.sourceFile) != path.Base(stem)+".c" || len(r.scanner.obj.funcs) == 0
	case r.oT.Sub(r.dumpT) > maxOlder:
		u.flags |= DumpOlder
	case r.dumpT.Sub(r.oT) > maxNewer:
		u.flags |= DumpNewer
	}
	u.sourceFile = r.source(stem + ".c")
}

// source is the unit's C file as the dump names it, to find the source root by.
func (r *unitReader) source(want string) string {
	s := r.scanner
	for id := s.first; id < uint32(len(s.nodes)); id++ {
		if f := s.strings.bytes(s.nodes[id].file); bytes.HasSuffix(f, []byte(want)) {
			return string(f)
		}
	}
	return ""
}
