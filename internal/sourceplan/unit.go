// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kmend/internal/delta"
	"kmend/internal/extract"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/plan"
)

// Options say how files are cut.
type Options struct {
	Policy        extract.Policy
	SelfContained bool
	AllIncludes   bool
	Progress      func(stage string, done, total int) // nil for none
}

// Unit is one extracted file.
type Unit struct {
	Source string // of the translation unit
	File   *extract.File
	Object plan.SourceObject

	command *kbuild.Command
}

type maker struct {
	k     *kernel.Kernel
	tree  *kbuild.Tree
	build *plan.Build
	opt   Options
	why   map[string]map[string]string // by unit and function: why it is replaced
	more  map[string]map[string]bool   // by unit: functions that turned out to have to be copied
}

// attempt is one cut of a unit, compiled and compared.
type attempt struct {
	file   *extract.File
	result *kbuild.Result
	object plan.SourceObject
	proofs []plan.Proof
}

// score counts what is not identical; less is better.
func (a *attempt) score() int {
	n := 0
	for _, p := range a.proofs {
		switch p.Verdict {
		case plan.ProofIdentical:
		case plan.ProofNamed:
			n++
		default:
			n += 100
		}
	}
	return n
}

// side is a unit before or after the fix.
type side struct {
	u       *plan.BuiltUnit
	patched bool
	overlay map[string][]byte
	whole   *whole
	text    *text
	replace map[string]string
	copy    map[string]bool
	also    []string // new functions that other units of the fix may call
}

func (m *maker) side(ctx context.Context, u *plan.BuiltUnit, patched bool) (*side, error) {
	s := &side{u: u, patched: patched, copy: map[string]bool{}, replace: map[string]string{}}
	result := u.Before
	var before *delta.Unit
	if patched {
		result, s.overlay = u.After, u.Overlay
		w, err := evidence(u.Before, m.build, u, nil)
		if err != nil {
			return nil, err
		}
		before = w.unit
	}
	var err error
	if s.whole, err = evidence(result, m.build, u, before); err != nil {
		return nil, err
	}
	if s.text, err = read(ctx, m.k, m.tree, kbuild.Job{Command: u.Command, Overlay: s.overlay}); err != nil {
		return nil, err
	}
	for _, name := range u.Replaced {
		if definition(s.text, name) != nil {
			s.replace[name] = m.why[u.Source][name]
		}
	}
	for _, name := range slices.Concat(u.Carried, u.New) {
		s.copy[name] = true
		delete(s.whole.shown.Functions, name)
	}
	maps.Copy(s.copy, m.more[u.Source])
	for _, name := range u.New {
		if it := definition(s.text, name); it != nil && !isStatic(s.text.unit, it) {
			s.also = append(s.also, name)
		}
	}
	return s, nil
}

// cut cuts, compiles and compares once.
func (m *maker) cut(ctx context.Context, s *side, all bool, more map[string]bool) (*attempt, error) {
	files := newFiles(m.k, s.overlay)
	want := maps.Clone(s.copy)
	maps.Copy(want, more)
	q := extract.Request{
		Text: s.text.expanded, Unit: s.text.unit, Source: s.u.Command.Source, Replace: s.replace, Object: s.whole.shown,
		Policy: m.opt.Policy, SelfContained: m.opt.SelfContained, AllIncludes: all, Copy: want, Also: s.also, Public: public, Read: files.Read,
	}
	a := &attempt{}
	var err error
	a.file, err = extract.Cut(ctx, q, func(ctx context.Context, text []byte) (string, error) {
		a.result, err = m.tree.Compile(ctx, m.job(s, text))
		var ce *kbuild.CompileError
		if errors.As(err, &ce) {
			return ce.Log, nil
		}
		return "", err
	})
	if err != nil {
		return nil, err
	}
	if err := m.object(ctx, s, a); err != nil {
		return nil, err
	}
	a.proofs, err = m.build.Prove(ctx, a.object, s.patched)
	return a, err
}

func (m *maker) job(s *side, text []byte) kbuild.Job {
	overlay := maps.Clone(s.overlay)
	if overlay == nil {
		overlay = map[string][]byte{}
	}
	overlay[s.u.Command.Source] = text
	// The new names are for people. Compiled with the kernel's, __func__ and the
	// sites of dynamic debug say what they said.
	flags := []string{"-Werror"}
	for _, name := range slices.Sorted(maps.Keys(s.replace)) {
		flags = append(flags, "-D"+extract.Prefix+name+"="+name)
	}
	return kbuild.Job{Command: s.u.Command, Overlay: overlay, Flags: flags}
}

// object describes a compiled file for the plan.
func (m *maker) object(ctx context.Context, s *side, a *attempt) error {
	a.object = plan.SourceObject{
		Source: s.u.Source, Object: a.result.Object, Clones: a.result.Clones, Types: a.result.Types,
		Renamed: map[string]string{}, Copied: a.file.Copied,
	}
	for name := range s.replace {
		a.object.Renamed[name] = name
	}
	part, err := read(ctx, m.k, m.tree, m.job(s, a.file.Marked))
	if err != nil {
		return err
	}
	a.object.TextEqual = unequal(part, s.text, a.object.Renamed) == ""
	a.object.Elsewhere = s.text.elsewhere()
	for _, d := range a.file.Decisions {
		a.object.Decisions = append(a.object.Decisions, m.decision(s.u.Source, d))
	}
	return nil
}

func (m *maker) decision(source string, d extract.Decision) plan.Decision {
	out := plan.Decision{Name: d.Name, Kind: d.Kind, Decision: d.What, Origin: d.Origin, Why: d.Why, By: "rule"}
	if d.Policy {
		out.By = "policy"
	}
	if d.What == extract.Declare || d.What == extract.Include {
		if ref, err := m.build.Find(source, d.Name); err == nil {
			out.Symbol, out.How = ref.Name, ref.How
		}
	}
	return out
}

// best tries what may make more of the file's functions come out as in the
// unit: all includes, and the bodies that GCC put in place of some calls.
func (m *maker) best(ctx context.Context, s *side) (*attempt, error) {
	best, err := m.cut(ctx, s, m.opt.AllIncludes, nil)
	if err != nil || best.score() == 0 {
		return best, err
	}
	try := func(all bool, more map[string]bool) error {
		if best.score() == 0 {
			return nil
		}
		a, err := m.cut(ctx, s, all, more)
		var refused *extract.Error
		if errors.As(err, &refused) {
			return nil // this way is closed; what there is stands
		}
		if err == nil && a.score() < best.score() {
			best = a
		}
		return err
	}
	bodies := map[string]bool{}
	for _, name := range best.file.Declared {
		for host := range s.replace {
			if s.inlined(name, host) {
				bodies[name] = true
			}
		}
	}
	if len(bodies) > 0 {
		if err := try(m.opt.AllIncludes, bodies); err != nil {
			return nil, err
		}
	}
	if best.score() >= 100 && len(best.file.Constants) > 0 {
		for _, name := range best.file.Constants {
			bodies[name] = true // GCC may have used their values
		}
		if err := try(m.opt.AllIncludes, bodies); err != nil {
			return nil, err
		}
	}
	if !m.opt.AllIncludes {
		if err := try(true, bodies); err != nil {
			return nil, err
		}
	}
	return best, nil
}

// inlined reports whether GCC put the body of a function into another one.
func (s *side) inlined(name, host string) bool {
	for f := range s.whole.clones.Reached(name) {
		if delta.Source(f) == host {
			return true
		}
	}
	return false
}

// unit extracts from one unit, without and with the fix.
func (m *maker) unit(ctx context.Context, u *plan.BuiltUnit) (*Unit, error) {
	out := &Unit{Source: u.Source, command: u.Command}
	after, err := m.side(ctx, u, true)
	if err != nil {
		return nil, err
	}
	a, err := m.best(ctx, after)
	if err != nil {
		return nil, err
	}
	out.File, out.Object = a.file, a.object
	if len(u.Overlay) == 0 {
		out.Object.Unpatched = a.proofs
		return out, nil
	}
	before, err := m.side(ctx, u, false)
	if err != nil || len(before.replace) == 0 {
		return out, err
	}
	b, err := m.best(ctx, before)
	if err != nil {
		return nil, fmt.Errorf("extract the functions of %s without the fix, to prove the extraction: %w", u.Source, err)
	}
	out.Object.Unpatched = b.proofs
	return out, nil
}

// copyMore notes what a unit must copy since the kernel's own of it must not be
// called. The error is for what is copied already.
func (m *maker) copyMore(ce *plan.CopyError) error {
	have := m.more[ce.Source]
	if have == nil {
		have = map[string]bool{}
		m.more[ce.Source] = have
	}
	grew := false
	for _, f := range ce.Functions {
		if !have[f] {
			have[f], grew = true, true
		}
	}
	if !grew {
		return fmt.Errorf("extract from %s: %s is copied and still the kernel's own is called: %w", ce.Source, strings.Join(ce.Functions, ", "), ce)
	}
	return nil
}
