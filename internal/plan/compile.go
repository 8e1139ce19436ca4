// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/object"
	"kmend/internal/patch"
)

// compiled is a translation unit compiled before and after the fix.
type compiled struct {
	source        string
	edits         []*patch.AppliedFile // files of the fix that it read; none: the fix does not concern it
	command       *kbuild.Command
	overlay       map[string][]byte // files of the fix as compiled; nil for the unit as it is
	before, after *kbuild.Result
	refusals      []Refusal
	beforeCRC     map[string]uint32
	afterCRC      map[string]uint32
}

// compileAll compiles every unit of the fix twice and returns those that
// differ, once for each kernel object they are part of.
func compileAll(ctx context.Context, p *Plan, q *Request, files []*patch.AppliedFile) ([]*work, error) {
	if len(files) == 0 {
		return nil, nil
	}
	tree, err := kbuild.Open(q.Kernel)
	if err != nil {
		return nil, err
	}
	units, err := findUnits(ctx, p, q, tree, files)
	if err != nil || len(p.Refusals) > 0 {
		return nil, err
	}
	err = q.stage(p, "compile", func() error { return compileUnits(ctx, q, tree, units, files) })
	if err != nil {
		return nil, err
	}
	if units = readers(p, units, files); len(p.Refusals) > 0 {
		return nil, nil
	}
	var works []*work
	err = q.stage(p, "compare", func() error {
		for _, u := range units {
			p.Refusals = append(p.Refusals, u.refusals...)
			if len(u.refusals) > 0 {
				continue
			}
			some, err := compareUnit(p, u)
			if err != nil {
				return fmt.Errorf("compare %s before and after the fix: %w", u.source, err)
			}
			works = append(works, some...)
		}
		for _, f := range editsOf(works) {
			compareConstants(p, f)
		}
		return nil
	})
	return works, err
}

// compileUnits compiles units side by side; the tree has a place for each CPU.
func compileUnits(ctx context.Context, q *Request, tree *kbuild.Tree, units []*compiled, files []*patch.AppliedFile) error {
	overlay, plain := map[string][]byte{}, map[string][]byte{}
	for _, f := range files {
		preserved, _ := f.LinePreserved()
		overlay[f.Path], plain[f.Path] = preserved, f.Patched
	}
	versions := q.Kernel.Config("CONFIG_MODVERSIONS") == "y"
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	for _, u := range units {
		g.Go(func() error {
			u.overlay = overlay
			err := u.compile(ctx, tree, kbuild.Job{Command: u.command, Overlay: overlay, Diagnose: plain}, versions)
			mu.Lock()
			defer mu.Unlock()
			done++
			if q.Progress != nil {
				q.Progress("compile", done, len(units))
			}
			return err
		})
	}
	return g.Wait()
}

func (u *compiled) compile(ctx context.Context, tree *kbuild.Tree, job kbuild.Job, versions bool) error {
	var err error
	if _, own := job.Overlay[u.source]; own {
		u.before, u.after, err = tree.CompilePair(ctx, job)
	} else {
		u.before, u.after, err = compileUser(ctx, tree, job)
	}
	var ce *kbuild.CompileError
	var oe *kbuild.ObjtoolError
	switch {
	case errors.As(err, &ce) && ce.Original:
		return err
	case errors.As(err, &ce):
		u.refusals = append(u.refusals, Refusal{Code: CodeNotCompiled, File: u.source, Why: "GCC does not compile the patched source",
			Advice: "the fix may need another fix of the same release", Detail: ce.Log})
		return nil
	case errors.As(err, &oe):
		u.refusals = append(u.refusals, Refusal{Code: CodeUnsupportedCode, File: u.source, Why: "objtool refuses the object", Detail: oe.Log,
			Advice: "change the code that it names"})
		return nil
	case err != nil:
		return err
	}
	if !versions || u.after == nil {
		return nil
	}
	return u.versions(ctx, tree, job)
}

// versions computes the CRCs of what the unit exports, before and after.
func (u *compiled) versions(ctx context.Context, tree *kbuild.Tree, job kbuild.Job) error {
	names, err := kbuild.Exports(u.before.Object)
	if err != nil || len(names) == 0 {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		u.beforeCRC, err = tree.CRC(ctx, kbuild.Job{Command: job.Command})
		return err
	})
	g.Go(func() (err error) {
		u.afterCRC, err = tree.CRC(ctx, job)
		return err
	})
	return g.Wait()
}

// compareUnit turns a compiled unit into work, unless nothing differs.
func compareUnit(p *Plan, u *compiled) ([]*work, error) {
	before, err := readUnit(u.before.Object)
	if err != nil {
		return nil, err
	}
	after, err := readUnit(u.after.Object)
	if err != nil {
		return nil, err
	}
	result := delta.Compare(before, after)
	if len(u.command.Modules) == 0 {
		result.DropBuiltinExit()
	}
	if result.Empty() {
		return nil, nil
	}
	if onPatchingPath(u.source) {
		p.refuse(Refusal{Code: CodePatchingPath, File: u.source, Why: "it comes out different, and the kernel runs this code while it applies a live patch", Advice: "reboot into a fixed kernel"})
	}
	if err := compareTypes(p, u, result); err != nil {
		return nil, err
	}
	compareVersions(p, u)
	clones := [2]*compiler.Clones{}
	for i, r := range []*kbuild.Result{u.before, u.after} {
		if clones[i], err = compiler.ParseClones(r.Clones); err != nil {
			return nil, err
		}
	}
	objects := u.command.Modules
	if len(objects) == 0 {
		objects = []string{Vmlinux}
	}
	var out []*work
	for _, o := range objects {
		w := &work{source: u.source, edits: u.edits, object: o, command: u.command, unitOf: u, result: result, clones: clones}
		w.unit.Edited = editedIn(u.edits)
		w.unit.Warnings = kbuild.NewWarnings(u.before, u.after)
		out = append(out, w)
	}
	return out, nil
}

func readUnit(data []byte) (*delta.Unit, error) {
	f, err := object.Read(data)
	if err != nil {
		return nil, err
	}
	return delta.NewUnit(f)
}

// compareVersions refuses changed CRCs: modules were linked against the old.
func compareVersions(p *Plan, u *compiled) {
	var names []string
	for n := range u.beforeCRC {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if crc, ok := u.afterCRC[n]; ok && crc != u.beforeCRC[n] {
			p.refuse(Refusal{Code: CodeCRCChanged, File: u.source, Symbol: n,
				Why:    fmt.Sprintf("the version of the exported symbol changes from %#08x to %#08x: a type it uses changed, or a new #include makes one known", u.beforeCRC[n], crc),
				Advice: "keep the types of exported functions as they are"})
		}
	}
}
