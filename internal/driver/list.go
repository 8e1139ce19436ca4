// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/compiler"
	"kmend/internal/impact"
	"kmend/internal/object"
)

// maxDump bounds a .ipa-clones dump; the largest of a kernel have 1 MB.
const maxDump = 256 << 20

// unwritten is in the dump file until a compiler opens it. A dump may be empty,
// so that is how one that was never made is known: by a compiler that ran on
// another machine, or a cache that had the object already.
const unwritten = "kmend: no compiler has written this\n"

// withList runs the compiler with dumps on and writes the list of its object.
func (r *runner) withList(ctx context.Context) (Result, error) {
	var err error
	if r.real == nil {
		if r.real, err = compiler.Identify(ctx, r.argv); err != nil {
			return Result{}, err
		}
	}
	if r.real.Family != compiler.GCC {
		return Result{}, usagef("%s: %s does not say which bodies it copied; a list needs GCC", listOption, r.real)
	}
	if behindCcache() {
		return Result{}, usagef("%s behind ccache: the list would be lost whenever ccache has the object already; let kmend cc start ccache (%s=\"ccache gcc\"), which compiles with a list past the cache", listOption, CompilerVar)
	}
	if isCcache(r.argv) {
		if err := os.Setenv("CCACHE_DISABLE", "1"); err != nil {
			return Result{}, fmt.Errorf("switch ccache off: %w", err)
		}
	}
	d, err := r.openDump(ctx)
	if err != nil {
		return Result{}, err
	}
	defer d.close()
	var facts *factDumps
	if r.c.List.Facts {
		names, err := r.real.FactDumps(ctx)
		if err != nil {
			return Result{}, err
		}
		if facts, err = openFacts(names, r.c.own); err != nil {
			return Result{}, err
		}
		defer facts.close()
	}
	args := append(append(append([]string{}, r.args...), d.flags...), facts.flags()...)
	started := facts.start()
	res, err := r.child(args, os.Stderr)
	found, factErr := started()
	if err != nil || res.Exit != 0 || res.Signal != 0 {
		if err == nil && res.Exit == 1 {
			r.hint()
		}
		return res, err
	}
	if factErr != nil {
		return res, fmt.Errorf("list the impacted functions of %s: %w", r.c.Object(), factErr)
	}
	if err := r.list(d, found); err != nil {
		return res, fmt.Errorf("list the impacted functions of %s: %w", r.c.Object(), err)
	}
	return res, nil
}

// list makes the list of the object that was compiled, and writes it.
func (r *runner) list(d *dump, found *compiler.Facts) error {
	clones, err := d.read()
	if err != nil {
		return err
	}
	data, err := os.ReadFile(r.c.Object())
	if err != nil {
		return fmt.Errorf("read the object: %w", err)
	}
	obj, err := object.Read(data)
	if err != nil {
		return fmt.Errorf("read the object %s: %w", r.c.Object(), err)
	}
	u, err := impact.NewUnit(clones, obj)
	if err != nil {
		return err
	}
	rec := &Record{Version: 1, Object: r.c.Object(), Source: r.c.source(), Compiler: r.real.Text, Level: r.c.Level, Facts: r.c.List.Facts}
	if found != nil {
		u.AddFacts(factEdges(found))
		rec.Narrowed = narrowed(found, r.c.List)
	}
	if err := rec.fill(u, r.c.List); err != nil {
		return err
	}
	return writeList(rec, r.c.List, r.out)
}

// dump is where the .ipa-clones dump of one compile goes.
type dump struct {
	flags  []string
	file   *os.File // in memory, without a name; nil if the user asked for the dump himself
	path   string   // his file
	before unix.Stat_t
}

// openDump makes a place for the dump that no other compile shares, and that
// is gone with the process, however that ends. If the command line asks for the
// dump, it is left where that puts it and read there.
func (r *runner) openDump(ctx context.Context) (*dump, error) {
	var own []string
	for _, o := range r.c.own {
		if strings.HasPrefix(o, "-fdump-ipa-clones") || strings.HasPrefix(o, "-fdump-ipa-all") {
			own = append(own, o)
		}
	}
	if len(own) > 0 {
		return r.ownDump(ctx, own)
	}
	fd, err := unix.MemfdCreate("kmend-ipa-clones", 0) // inherited by the compiler
	if err != nil {
		return nil, fmt.Errorf("make a file for the .ipa-clones dump: %w", err)
	}
	d := &dump{file: os.NewFile(uintptr(fd), "the .ipa-clones dump")}
	if _, err := d.file.WriteString(unwritten); err != nil {
		d.close()
		return nil, fmt.Errorf("make a file for the .ipa-clones dump: %w", err)
	}
	d.flags = []string{fmt.Sprintf("-fdump-ipa-clones=/dev/fd/%d", fd)}
	return d, nil
}

func (d *dump) close() {
	if d.file != nil {
		d.file.Close()
	}
}

// read returns the dump that the compile left.
func (d *dump) read() ([]byte, error) {
	if d.file == nil {
		return d.readOwn()
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the .ipa-clones dump: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(d.file, maxDump+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the .ipa-clones dump: %w", err)
	case len(data) > maxDump:
		return nil, fmt.Errorf("read the .ipa-clones dump: it is larger than %d bytes", maxDump)
	case bytes.Equal(data, []byte(unwritten)):
		return nil, errors.New("the compiler wrote no .ipa-clones dump: does something in its command take objects from a cache, or compile on another machine? Name the compiler itself in " + CompilerVar)
	}
	return data, nil
}
