// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/impact"
	"kmend/internal/impact/debuginfo"
	"kmend/internal/impact/index"
	"kmend/internal/impact/stock"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/patch"
	"kmend/internal/plan"
)

// impactSourceHandle is where the answers come from, and what is asked of it.
type impactSourceHandle struct {
	a      *app
	kind   string
	path   string
	index  *index.Index
	stock  *stock.Kernel // kind "kernel", with the next two
	kernel *kernel.Kernel
	tree   *kbuild.Tree
	audit  bool // observe who depends on facts, too
	asks   []impactAsk
	notes  []string
	// compare is the debug information to hold against the index, "" if none.
	compare string
}

// impactAsk is one function that is asked for.
type impactAsk struct {
	spec string
	// file of the fix that edits it, "" if the user named it
	file string
}

func (s *impactSourceHandle) close() {
	if s.index != nil {
		_ = s.index.Close()
	}
}

// openImpact opens what the flags name.
func openImpact(ctx context.Context, a *app, opt impactOptions, args []string) (*impactSourceHandle, error) {
	s := &impactSourceHandle{a: a, audit: opt.audit}
	for _, arg := range args {
		s.asks = append(s.asks, impactAsk{spec: arg})
	}
	var k *kernel.Kernel
	var err error
	if opt.kernel != "" {
		if k, err = kernel.Open(opt.kernel); err != nil {
			return nil, err
		}
	}
	if err := s.readPatches(ctx, opt, k); err != nil {
		return nil, err
	}
	switch {
	case k != nil:
		s.kind, s.path = "kernel", k.Name
		err = s.openStock(ctx, k, opt.maxUnits)
	case opt.index != "":
		s.kind, s.path = "index", opt.index
		s.index, err = index.Open(opt.index)
	case opt.dumps != "":
		s.kind, s.path = "dumps", opt.dumps
		s.index, _, err = index.Cached(ctx, index.Options{Dir: opt.dumps, Progress: a.counts("read dumps")})
	default:
		s.kind, s.path = "dwarf", opt.dwarf
		a.Progress.Update("read debug information", 0, 0)
		s.index, err = debuginfo.Index(ctx, opt.dwarf)
		s.notes = append(s.notes, "debug information tells only of copies that left instructions behind, and of no clones: more functions may be impacted than these; dumps tell of all")
		return s, err
	}
	s.compare = opt.dwarf
	return s, err
}

func (s *impactSourceHandle) openStock(ctx context.Context, k *kernel.Kernel, maxUnits int) error {
	tree, err := kbuild.Open(k)
	if err != nil {
		return err
	}
	s.kernel, s.tree = k, tree
	if err := checkObjects(k, s.asks); err != nil {
		return err
	}
	q := stock.Request{Kernel: k, Tree: tree, MaxUnits: maxUnits,
		Progress: func(stage string, done, total int) { s.a.Progress.Update(stage, int64(done), int64(total)) }}
	for _, ask := range s.asks {
		q.Functions = append(q.Functions, ask.spec)
	}
	if s.stock, err = stock.Compile(ctx, q); err != nil {
		return withNear(ctx, k, err)
	}
	s.index = s.stock.Index
	s.notes = append(s.notes, s.stock.Notes...)
	return nil
}

// checkObjects finds modules that a kernel does not have in OBJECT:FUNC.
func checkObjects(k *kernel.Kernel, asks []impactAsk) error {
	for _, ask := range asks {
		object, _, ok := strings.Cut(ask.spec, ":")
		if !ok || object == "vmlinux" || strings.ContainsAny(object, "./") {
			continue
		}
		if _, err := k.Module(object); err != nil {
			return &exitError{exitUsage, fmt.Errorf("find function %s: %w", ask.spec, err)}
		}
	}
	return nil
}

// withNear adds the functions that somebody may have meant to an error that
// says that there is none of a name. The list of names is there or quickly
// made; without it the error is as it was.
func withNear(ctx context.Context, k *kernel.Kernel, err error) error {
	var unknown *impact.UnknownError
	if errors.As(err, &unknown) && len(unknown.Near) == 0 {
		unknown.Near = nearFunctions(ctx, k, unknown.Name)
	}
	return err
}

func nearFunctions(ctx context.Context, k *kernel.Kernel, name string) []string {
	list, err := k.Functions(ctx, nil)
	if err != nil {
		return nil
	}
	return list.Near(name, 3)
}

func (s *impactSourceHandle) describe() impactSource {
	return impactSource{Kind: s.kind, Path: s.path, Units: s.index.Units(), StaleUnits: s.index.Stale(), LowerBound: s.kind == "dwarf"}
}

// answer asks for all functions and unites what comes back.
func (s *impactSourceHandle) answer(ctx context.Context) (*impactAnswer, error) {
	doc := &impactAnswer{Source: s.describe()}
	u := newUnited(doc)
	q := s.index.NewQuery()
	for _, ask := range s.asks {
		f, err := s.find(q, ask)
		var unknown *impact.UnknownError
		if ask.file != "" && errors.As(err, &unknown) {
			s.notes = append(s.notes, fmt.Sprintf("the fix edits %s, which no unit that was built has: a macro makes it, its name is no function's, or it is not configured", ask.spec))
			doc.Complete = false
			continue
		}
		if s.kind == "dwarf" && errors.As(err, &unknown) {
			return nil, fmt.Errorf("%w; debug information does not name a function whose copies left no instructions: only dumps do", err)
		}
		if err != nil {
			return nil, err
		}
		ans, err := q.Answer(f)
		if err != nil {
			return nil, err
		}
		if s.stock != nil {
			if s.audit {
				if err := s.observe(ctx, ans); err != nil {
					return nil, err
				}
			}
			s.a.Progress.Update("look symbols up", 0, 0)
			if err := s.stock.Settle(ans); err != nil {
				return nil, err
			}
		}
		u.add(ask.spec, ans)
	}
	if s.compare != "" {
		s.a.Progress.Update("compare with debug information", 0, 0)
		c, err := debuginfo.Compare(ctx, s.compare, s.index)
		if err != nil {
			return nil, err
		}
		doc.Compare = compareDocument(c)
	}
	u.finish()
	doc.Notes = append(s.notes, s.factsNotes()...)
	return doc, nil
}

func compareDocument(c *debuginfo.Comparison) *impactCompare {
	const most = 50
	out := &impactCompare{Units: c.Units, Unknown: c.Unknown, Copies: c.Copies, Missing: len(c.Missing)}
	for _, m := range c.Missing[:min(len(c.Missing), most)] {
		out.Violations = append(out.Violations, impactMissing{m.Unit, m.Function, m.Symbol})
	}
	return out
}

// find finds a function. One that a fix edits is that of the file of the fix;
// the source knows system calls as sys_NAME, the compiler as __do_sys_NAME.
func (s *impactSourceHandle) find(q *index.Query, ask impactAsk) (*index.Function, error) {
	f, err := q.Find(ask.spec)
	var unknown *impact.UnknownError
	where, name := "", ask.spec
	if i := strings.LastIndexByte(ask.spec, ':'); i >= 0 {
		where, name = ask.spec[:i+1], ask.spec[i+1:]
	}
	call, isCall := strings.CutPrefix(name, "sys_")
	if !errors.As(err, &unknown) || !isCall {
		return f, err
	}
	for _, form := range []string{"__do_sys_", "__do_compat_sys_"} {
		if f, err := q.Find(where + form + call); err == nil || !errors.As(err, new(*impact.UnknownError)) {
			return f, err
		}
	}
	return nil, err
}

// readPatches adds the functions that fixes edit.
func (s *impactSourceHandle) readPatches(ctx context.Context, opt impactOptions, k *kernel.Kernel) error {
	if len(opt.patches) == 0 {
		return nil
	}
	source, err := patchSource(opt, k)
	if err != nil {
		return err
	}
	var parsed []*patch.Patch
	for _, name := range opt.patches {
		data, err := readPatch(name)
		if err != nil {
			return err
		}
		p, err := patch.Parse(name, data)
		if err != nil {
			return err
		}
		parsed = append(parsed, p)
	}
	applied, err := patch.Apply(ctx, source, parsed)
	if err != nil {
		return err
	}
	found := len(s.asks)
	for _, f := range applied.Files {
		if err := s.edited(f); err != nil {
			return err
		}
	}
	if len(s.asks) == found {
		return &exitError{exitNothing, errors.New("the fix edits no function: there is nothing to ask for")}
	}
	return nil
}

// edited adds the functions of one file that a fix edits and that were there
// before it.
func (s *impactSourceHandle) edited(f *patch.AppliedFile) error {
	if f.Added || f.Binary || !slices.Contains([]string{".c", ".h"}, filepath.Ext(f.Path)) {
		return nil
	}
	names, outside := plan.EditedFunctions(f)
	for _, n := range names {
		if !strings.Contains(string(f.Orig), strings.TrimPrefix(n, "sys_")) {
			continue // the fix adds it: nobody depends on it yet
		}
		s.asks = append(s.asks, impactAsk{f.Path + ":" + n, f.Path})
	}
	if outside {
		s.notes = append(s.notes, f.Path+": the fix changes lines outside of functions as well; whom they matter to, kmend plan finds by compiling")
	}
	return nil
}

// patchSource is the source that a fix applies to.
func patchSource(opt impactOptions, k *kernel.Kernel) (string, error) {
	switch {
	case opt.source != "":
		return opt.source, nil
	case k != nil:
		return k.SourceDir, nil
	case opt.dumps != "":
		// A build in a directory of its own has a link to its source.
		for _, d := range []string{filepath.Join(opt.dumps, "source"), opt.dumps} {
			if st, err := os.Stat(filepath.Join(d, "Kbuild")); err == nil && st.Mode().IsRegular() {
				return d, nil
			}
		}
	}
	return "", usageErrorf("--patch needs the source that the fix is for: give --source DIR")
}
