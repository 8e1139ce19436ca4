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
	file          *patch.AppliedFile
	command       *kbuild.Command
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
	units, err := findCommands(ctx, p, q, tree, files)
	if err != nil || len(p.Refusals) > 0 {
		return nil, err
	}
	err = q.stage(p, "compile", func() error { return compileUnits(ctx, q, tree, units) })
	if err != nil {
		return nil, err
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
				return fmt.Errorf("compare %s before and after the fix: %w", u.file.Path, err)
			}
			works = append(works, some...)
		}
		return nil
	})
	return works, err
}

// findCommands asks kbuild how each unit is compiled.
func findCommands(ctx context.Context, p *Plan, q *Request, tree *kbuild.Tree, files []*patch.AppliedFile) (units []*compiled, err error) {
	err = q.stage(p, "commands", func() error {
		for _, f := range files {
			commands, err := tree.Commands(ctx, []string{f.Path})
			var not *kbuild.NotBuiltError
			if errors.As(err, &not) {
				advice := "leave the file out if this kernel has no code of it"
				if len(not.IncludedBy) > 0 {
					advice = "kmend patches files that are compiled on their own; reboot into a fixed kernel"
				}
				p.refuse(Refusal{Code: CodeNotBuilt, File: f.Path, Why: not.Error(), Advice: advice})
				continue
			}
			if err != nil {
				return err
			}
			if err := includedElsewhere(ctx, p, tree, f.Path); err != nil {
				return err
			}
			for _, c := range commands {
				units = append(units, &compiled{file: f, command: c})
			}
		}
		return nil
	})
	return units, err
}

// compileUnits compiles units side by side; the tree has a place for each CPU.
func compileUnits(ctx context.Context, q *Request, tree *kbuild.Tree, units []*compiled) error {
	overlay, plain := map[string][]byte{}, map[string][]byte{}
	for _, u := range units {
		preserved, _ := u.file.LinePreserved()
		overlay[u.file.Path], plain[u.file.Path] = preserved, u.file.Patched
	}
	versions := q.Kernel.Config("CONFIG_MODVERSIONS") == "y"
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	for _, u := range units {
		g.Go(func() error {
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
	u.before, u.after, err = tree.CompilePair(ctx, job)
	var ce *kbuild.CompileError
	var oe *kbuild.ObjtoolError
	switch {
	case errors.As(err, &ce) && ce.Original:
		return err
	case errors.As(err, &ce):
		u.refusals = append(u.refusals, Refusal{Code: CodeNotCompiled, File: u.file.Path, Why: "GCC does not compile the patched source",
			Advice: "the fix may need another fix of the same release", Detail: ce.Log})
		return nil
	case errors.As(err, &oe):
		u.refusals = append(u.refusals, Refusal{Code: CodeUnsupportedCode, File: u.file.Path, Why: "objtool refuses the object", Detail: oe.Log,
			Advice: "change the code that it names"})
		return nil
	case err != nil:
		return err
	}
	if !versions {
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
	if err := compareTypes(p, u, result); err != nil {
		return nil, err
	}
	compareConstants(p, u.file)
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
		w := &work{file: u.file, object: o, result: result, clones: clones}
		w.unit.Edited, _ = editedFunctions(u.file)
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
			p.refuse(Refusal{Code: CodeCRCChanged, File: u.file.Path, Symbol: n,
				Why:    fmt.Sprintf("the version of the exported symbol changes from %#08x to %#08x: a type it uses changed, or a new #include makes one known", u.beforeCRC[n], crc),
				Advice: "keep the types of exported functions as they are"})
		}
	}
}
