// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"kmend/internal/closure"
	"kmend/internal/delta"
	"kmend/internal/kernel"
)

// workOf is a unit of the plan; the first one if it is part of several objects,
// which have it compiled alike.
func (b *Build) workOf(source string) (*work, error) {
	for _, w := range b.works {
		if w.source == source {
			return w, nil
		}
	}
	return nil, fmt.Errorf("%s is no unit that plan %s changes", source, b.Plan.Name)
}

// sourceText is a file of the kernel's source.
func sourceText(k *kernel.Kernel, path string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(k.SourceDir, path))
	if err != nil {
		return nil, fmt.Errorf("read the source of the kernel: %w", err)
	}
	return text, nil
}

// sourceSet is the unit with what the source way replaces. A clone has an
// interface that GCC made up, and C text cannot ask for it: where the binary way
// replaces one, its callers are replaced, and call the new function.
func (w *work) sourceSet() *work {
	out := *w
	out.carried, out.calls = slices.Clone(w.carried), maps.Clone(w.calls)
	if out.calls == nil {
		out.calls = map[*delta.Item]string{}
	}
	out.carryThose(func(ch delta.Change) bool { return isCloneName(ch.After.Name) || w.noFentry(ch) }, "cannot be replaced from C text")
	return &out
}

// Built lists the units of a plan, by source, with what they were compiled to.
func (b *Build) Built() []BuiltUnit {
	var out []BuiltUnit
	for _, w := range b.works {
		if i := slices.IndexFunc(out, func(u BuiltUnit) bool { return u.Source == w.source }); i >= 0 {
			out[i].Objects = append(out[i].Objects, w.object)
			continue
		}
		s := w.sourceSet()
		u := BuiltUnit{Source: w.source, Objects: []string{w.object}, Command: w.command, Overlay: w.unitOf.overlay, Before: w.unitOf.before, After: w.unitOf.after}
		for _, ch := range s.result.Changed {
			switch {
			case isCloneName(ch.After.Name) && !slices.Contains(s.carried, ch.After): // FromSource refuses it
			case !slices.Contains(s.carried, ch.After):
				u.Replaced = append(u.Replaced, ch.After.Name)
			case !slices.Contains(u.Carried, delta.Source(ch.After.Name)):
				u.Carried = append(u.Carried, delta.Source(ch.After.Name))
			}
		}
		u.Carried = slices.DeleteFunc(u.Carried, func(n string) bool { return slices.Contains(u.Replaced, n) }) // a clone of a function that is replaced
		for _, it := range s.result.New {
			if n := delta.Source(it.Name); !slices.Contains(u.New, n) {
				u.New = append(u.New, n)
			}
		}
		out = append(out, u)
	}
	return out
}

// Find says where the running kernel has what a unit calls by name: an item of
// the unit as it is after the fix, or a symbol that it only uses. The error says
// why it cannot be used in place.
func (b *Build) Find(source, name string) (*Reference, error) {
	w, err := b.workOf(source)
	if err != nil {
		return nil, err
	}
	r, err := newResolver(b.request.Kernel, w, b.modules)
	if err != nil {
		return nil, err
	}
	n := &closure.Need{Extern: name}
	if it := w.result.After.Defined(name); it != nil {
		n.Item, n.Before = it, w.result.BeforeOf(it)
		if n.Before == nil {
			return nil, fmt.Errorf("find %s of %s in the running kernel: the fix adds it; define it", name, source)
		}
	} else if c := w.clones[1]; c != nil && c.Names(name) && !undefinedIn(w.result.Before, name) && !undefinedIn(w.result.After, name) {
		return nil, fmt.Errorf("find %s of %s in the running kernel: it%s; copy it", name, source, noFunction)
	}
	f, err := r.resolve(n)
	var nf *notFound
	if errors.As(err, &nf) {
		return nil, fmt.Errorf("find %s of %s in the running kernel: %w; %s", name, source, err, nf.advice)
	}
	if err != nil {
		return nil, err
	}
	return &f.Reference, nil
}

// FromSource makes the plan whose new code is that of extracted files, one for
// each unit of b, which is a plan with the verdict Patch. A refusal is in the
// new plan; the error is a *CopyError if a file must copy more.
func (b *Build) FromSource(ctx context.Context, objects []SourceObject) (*Build, error) {
	if b.Plan.Verdict != Patch || b.Plan.Way != WayBinary {
		return nil, fmt.Errorf("make plan %s from extracted files: it is a plan of verdict %s, way %s; only one of verdict %s, way %s can be", b.Plan.Name, b.Plan.Verdict, b.Plan.Way, Patch, WayBinary)
	}
	p := b.sourcePlan()
	out := &Build{Plan: p, request: b.request, modules: b.modules, audited: b.audited}
	err := b.request.stage(p, "bind", func() error {
		for _, w := range b.works {
			i := slices.IndexFunc(objects, func(o SourceObject) bool { return o.Source == w.source })
			if i < 0 {
				return fmt.Errorf("no file was extracted from %s", w.source)
			}
			s, err := b.bind(p, w, &objects[i])
			if must := (*CopyError)(nil); errors.As(err, &must) {
				return err
			}
			if err != nil {
				return fmt.Errorf("take the code of %s from %s: %w", w.source, objects[i].File, err)
			}
			out.works = append(out.works, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := out.proveSources(ctx, b, objects); err != nil {
		return nil, err
	}
	if len(p.Refusals) == 0 {
		if err := out.finishSource(b); err != nil {
			return nil, err
		}
	} else {
		for _, w := range out.works { // what was decided and proved helps to understand why
			w.unit.Source, w.unit.Object = w.source, w.object
			w.unit.emptyNotNil()
			p.Units = append(p.Units, w.unit)
		}
	}
	if len(p.Refusals) > 0 {
		p.Verdict = Refused
		return out, nil
	}
	p.Verdict = Patch
	return out, b.request.stage(p, "cut", func() error { return out.cut(out.works) })
}

// sourcePlan is a plan for what b is for, with nothing in it yet.
func (b *Build) sourcePlan() *Plan {
	p := newPlan(b.request)
	p.Way, p.Patches, p.Files = WaySource, b.Plan.Patches, b.Plan.Files
	p.Timings = slices.Clone(b.Plan.Timings)
	for _, w := range b.Plan.Warnings {
		if w.Code != "module-reload" && w.Code != "tracepoint-off" { // resolving finds those again
			p.Warnings = append(p.Warnings, w)
		}
	}
	return p
}

// proveSources adds the proofs of what goes into the module. A function that
// nothing proves is refused.
func (b *Build) proveSources(ctx context.Context, binary *Build, objects []SourceObject) error {
	return b.request.stage(b.Plan, "prove", func() error {
		proved := map[string][]Proof{}
		for _, w := range b.works {
			o := objects[slices.IndexFunc(objects, func(o SourceObject) bool { return o.Source == w.source })]
			if _, done := proved[w.source]; !done {
				proofs, err := binary.Prove(ctx, o, true)
				if err != nil {
					return err
				}
				proved[w.source] = proofs
				for _, pr := range proofs {
					if pr.Verdict == ProofUnexplained {
						b.Plan.refuse(Refusal{Code: CodeExtractedText, File: w.source, Object: w.object, Symbol: pr.Function,
							Why:    "its code in the extracted file is not that of the unit, and nothing explains the difference (" + pr.Difference + ")",
							Advice: "build from the binary, or extract it another way (a policy can have functions copied)"})
					}
				}
			}
			w.unit.Extraction = &SourceUnit{File: o.File, // lists that hold nothing are [] in JSON
				Decisions: append([]Decision{}, o.Decisions...), Unpatched: append([]Proof{}, o.Unpatched...), Patched: append([]Proof{}, proved[w.source]...)}
		}
		return nil
	})
}

// finishSource describes the functions, and resolves what the new code needs.
func (b *Build) finishSource(binary *Build) error {
	p := b.Plan
	return b.request.stage(p, "resolve", func() error {
		objects := map[string]*Object{}
		for _, w := range b.works {
			o := objects[w.object]
			if o == nil {
				o = &Object{Name: w.object, Functions: []Function{}}
				objects[w.object] = o
			}
			o.Functions = append(o.Functions, keepReasons(w.functions(p), binary.Plan, w)...)
			p.Pins = append(p.Pins, w.cl.Pins...)
		}
		for _, w := range b.works {
			if err := resolveUnit(p, b.request, w, b.works, b.modules); err != nil {
				return fmt.Errorf("resolve what %s needs: %w", w.source, err)
			}
		}
		return finishObjects(p, objects)
	})
}

// keepReasons gives the functions of a unit the reasons that the binary plan
// found, the audit's among them.
func keepReasons(funcs []Function, binary *Plan, w *work) []Function {
	for i := range funcs {
		for _, o := range binary.Objects {
			for _, f := range o.Functions {
				if o.Name == w.object && f.Unit == w.source && f.Name == funcs[i].Name && f.Sympos == funcs[i].Sympos {
					funcs[i].Reason, funcs[i].Difference = f.Reason, f.Difference
				}
			}
		}
	}
	return funcs
}
