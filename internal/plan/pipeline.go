// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"
	"time"

	"kmend/internal/closure"
	"kmend/internal/delta"
	"kmend/internal/kernel"
	"kmend/internal/object"
	"kmend/internal/patch"
)

// Request is what a plan is made of.
type Request struct {
	Kernel  *kernel.Kernel
	Name    string // of the module
	Patches []Input
	// Functions, in place of Patches, asks for functions as they are: the plan
	// of a live patch that changes nothing yet.
	Functions []FunctionSpec
	NoAudit   bool                                // do not observe who depends on the bodies that change
	Progress  func(stage string, done, total int) // nil for none
}

// Input is one patch as read.
type Input struct {
	Name string
	Data []byte
}

// Build is a plan with what a module is written from. Pieces is empty unless
// the verdict is Patch.
type Build struct {
	Plan   *Plan
	Pieces []Piece

	request *Request
	works   []*work
	modules *moduleCache
	audited map[string]*unitAudit // by source; empty if there was no audit
}

// Piece is the new code of one translation unit for one kernel object.
type Piece struct {
	Object string
	File   *object.File
	Refs   map[*object.Symbol]*Found // every undefined symbol
	Funcs  []Replacement

	source string // unit
}

// Replacement is one function to be redirected.
type Replacement struct {
	OldName string
	Sympos  int
	New     *object.Symbol
}

// newGlobal is a global function or variable that the fix adds.
type newGlobal struct {
	work *work
	item *delta.Item
}

func (p *Plan) refuse(r Refusal) { p.Refusals = append(p.Refusals, r) }

// Refuse turns a plan into a refusal after Make, as when a written module
// does not stand verification.
func (p *Plan) Refuse(r Refusal) {
	p.refuse(r)
	p.Verdict, p.Module = Refused, nil
}

// Time records what a stage took.
func (p *Plan) Time(stage string, d time.Duration) {
	p.Timings = append(p.Timings, Timing{Stage: stage, Seconds: d.Seconds()})
}

func (p *Plan) warn(code, text string) {
	p.Warnings = append(p.Warnings, Warning{Code: code, Text: text})
}

// warnOnce is warn for what may come up in several units.
func (p *Plan) warnOnce(code, text string) {
	for _, w := range p.Warnings {
		if w.Code == code && w.Text == text {
			return
		}
	}
	p.warn(code, text)
}

// stage runs one step, timed and reported.
func (q *Request) stage(p *Plan, name string, step func() error) error {
	if q.Progress != nil {
		q.Progress(name, 0, 0)
	}
	start := time.Now()
	err := step()
	p.Time(name, time.Since(start))
	return err
}

// Make analyses a fix. The error is about the work itself (I/O, a missing
// tool, cancellation); a fix that cannot be live patched gives a plan with the
// verdict Refused.
func Make(ctx context.Context, q Request) (*Build, error) {
	if len(q.Functions) > 0 && len(q.Patches) > 0 {
		return nil, errors.New("make a plan: patches and functions were given; give one of the two")
	}
	p := newPlan(&q)
	b := &Build{Plan: p, request: &q}
	p.Refusals = append(p.Refusals, configGate(q.Kernel)...)
	var files []*patch.AppliedFile
	err := q.stage(p, "apply", func() (err error) {
		files, err = applyPatches(ctx, p, &q)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(p.Refusals) > 0 {
		p.Verdict = Refused
		return b, nil
	}
	var works []*work
	if len(q.Functions) > 0 {
		works, err = asTheyAre(ctx, p, &q)
	} else {
		works, err = compileAll(ctx, p, &q, files)
	}
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(p.Refusals) == 0 && !changesAny(works) {
		p.Verdict = Nothing
		return b, nil
	}
	b.works, b.modules = works, &moduleCache{k: q.Kernel, files: map[string]*object.File{}}
	if len(works) > 0 {
		if err := analyse(p, &q, works, b.modules); err != nil {
			return nil, err
		}
	}
	if len(p.Refusals) == 0 && auditGate(p, &q) {
		err := q.stage(p, "audit", func() (err error) {
			b.audited, err = audit(ctx, p, &q, works)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if len(p.Refusals) > 0 {
		p.Verdict = Refused
		return b, nil
	}
	p.Verdict = Patch
	return b, q.stage(p, "cut", func() error { return b.cut(works) })
}

// changesAny reports whether any unit changes something that runs. New code
// that nothing calls does not.
func changesAny(works []*work) bool {
	for _, w := range works {
		if len(w.result.Changed) > 0 || len(w.result.Problems) > 0 {
			return true
		}
	}
	return false
}

func newPlan(q *Request) *Plan {
	k := q.Kernel
	p := &Plan{
		Version: FormatVersion, Name: q.Name, Way: WayBinary,
		Kernel:  Kernel{Name: k.Name, Release: k.Release, Version: k.Version, BuildID: k.BuildID, Compiler: k.CompilerID},
		Patches: []Source{}, Files: []File{}, Objects: []Object{}, Units: []Unit{}, Refusals: []Refusal{}, Warnings: []Warning{}, Pins: []string{}, Timings: []Timing{},
	}
	for _, in := range q.Patches {
		p.Patches = append(p.Patches, Source{Name: in.Name, SHA256: fmt.Sprintf("%x", sha256.Sum256(in.Data))})
	}
	return p
}

// applyPatches parses and applies the patches, and gates the files.
func applyPatches(ctx context.Context, p *Plan, q *Request) ([]*patch.AppliedFile, error) {
	var parsed []*patch.Patch
	for i, in := range q.Patches {
		one, err := patch.Parse(in.Name, in.Data)
		if err != nil {
			return nil, err
		}
		p.Patches[i].Subject = one.Subject
		parsed = append(parsed, one)
	}
	applied, err := patch.Apply(ctx, q.Kernel.SourceDir, parsed)
	var reject *patch.RejectError
	var path *patch.PathError
	switch {
	case errors.As(err, &reject):
		r := Refusal{Code: CodeNotApplied, File: reject.Path, Why: rejectReason(reject), Advice: "make the fix against the source of " + q.Kernel.Release + " " + q.Kernel.Version,
			Detail: reject.Text + "\nThe source has there:\n" + reject.There}
		if reject.AlreadyApplied {
			r.Advice = "the source of this kernel has the fix already"
		}
		p.refuse(r)
		return nil, nil
	case errors.As(err, &path):
		p.refuse(Refusal{Code: CodeNotApplied, File: path.Path, Why: path.Msg, Advice: "make the fix against the source of " + q.Kernel.Release + " " + q.Kernel.Version})
		return nil, nil
	case err != nil:
		return nil, err
	}
	for i, level := range applied.Levels {
		p.Patches[i].Strip = level
	}
	return fileGate(p, applied.Files), nil
}

// rejectReason is a rejected hunk in one line; its text is shown apart.
func rejectReason(e *patch.RejectError) string {
	switch {
	case e.AlreadyApplied:
		return e.Patch + " is there already"
	case e.Places > 1:
		return fmt.Sprintf("hunk %d of %s fits at %d places, but not at the line it names", e.Hunk, e.Patch, e.Places)
	}
	return fmt.Sprintf("hunk %d of %s does not fit", e.Hunk, e.Patch)
}

// analyse proves, closes and resolves the units that differ.
func analyse(p *Plan, q *Request, works []*work, modules *moduleCache) error {
	err := q.stage(p, "match", func() error {
		for _, w := range works {
			if err := w.prove(q.Kernel, modules); err != nil {
				return fmt.Errorf("match %s with the running %s: %w", w.source, w.object, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return q.stage(p, "resolve", func() error {
		objects := map[string]*Object{}
		for _, w := range works {
			w.carry()
			w.cl = closure.Select(w.result, w.carried...)
			for _, pr := range w.result.Problems {
				p.refuse(Refusal{Code: pr.Code, File: w.source, Object: w.object, Symbol: pr.Name, Why: pr.Why, Advice: problemAdvice[pr.Code]})
			}
			for _, r := range w.cl.Refusals {
				p.refuse(Refusal{Code: r.Code, File: w.source, Object: w.object, Symbol: r.Symbol, Why: r.Why, Advice: r.Advice})
			}
			o := objects[w.object]
			if o == nil {
				o = &Object{Name: w.object, Functions: []Function{}}
				objects[w.object] = o
			}
			o.Functions = append(o.Functions, w.functions(p)...)
			p.Pins = append(p.Pins, w.cl.Pins...)
		}
		for _, w := range works {
			if err := resolveUnit(p, q, w, works, modules); err != nil {
				return fmt.Errorf("resolve what %s needs: %w", w.source, err)
			}
		}
		halves(p, works)
		return finishObjects(p, objects)
	})
}

// problemAdvice says what to do about differences that cannot be patched.
var problemAdvice = map[string]string{
	CodeDataChanged:   "data of the running kernel keeps its contents; change the code that uses it instead, or reboot into a fixed kernel",
	CodeInitCode:      "it has run already; leave it out of the fix, or reboot into a fixed kernel",
	CodeExitCode:      "exit code cannot be redirected; leave it out of the fix",
	CodePerCPUChanged: "per-CPU memory is laid out at boot; reboot into a fixed kernel",
	CodeExportChanged: "other modules were linked against the exports; leave them as they are",
}

func finishObjects(p *Plan, objects map[string]*Object) error {
	names := make([]string, 0, len(objects))
	for name := range objects {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool { // vmlinux first
		if (names[i] == Vmlinux) != (names[j] == Vmlinux) {
			return names[i] == Vmlinux
		}
		return names[i] < names[j]
	})
	for _, name := range names {
		o := objects[name]
		sort.SliceStable(o.Functions, func(i, j int) bool { return o.Functions[i].Name < o.Functions[j].Name })
		if len(o.Functions) == 0 && len(p.Refusals) == 0 {
			p.refuse(Refusal{Code: CodeNoFunction, Object: name, Why: "the fix adds code to it but changes none of its functions", Advice: "leave that file out of the fix"})
		}
		p.Objects = append(p.Objects, *o)
	}
	return nil
}

func resolveUnit(p *Plan, q *Request, w *work, works []*work, modules *moduleCache) error {
	r, err := newResolver(q.Kernel, w, modules)
	if err != nil {
		return err
	}
	newGlobals := map[string]*newGlobal{}
	for _, other := range works {
		if other == w || other.object != w.object {
			continue
		}
		for _, it := range other.cl.Included {
			if other.result.BeforeOf(it) == nil && it.IsGlobal() {
				newGlobals[it.Name] = &newGlobal{work: other, item: it}
			}
		}
	}
	w.describe()
	err = w.resolve(p, r, newGlobals)
	for _, n := range w.cl.Needs {
		if f := w.found[n]; f != nil {
			ref := f.Reference
			ref.Uses = len(n.Uses)
			w.unit.References = append(w.unit.References, ref)
		}
	}
	if w.object != Vmlinux {
		for _, f := range w.found {
			if f.How == ByKlp && f.Object != Vmlinux {
				p.warnOnce("module-reload", fmt.Sprintf("once unloaded, module %s cannot be loaded again while the patch stays loaded (Linux 6.1 does not clear relocations it has applied): unload the patch first", w.object))
			}
		}
	}
	for _, d := range w.unit.Dropped {
		p.warnOnce("tracepoint-off", fmt.Sprintf("%s: %s", d.Function, d.Why))
	}
	p.Units = append(p.Units, w.unit)
	return err
}

// cut makes the pieces and binds references between them.
func (b *Build) cut(works []*work) error {
	for _, w := range works {
		var err error
		if w.piece, err = w.cl.Cut(w.drops); err != nil {
			return err
		}
	}
	for _, w := range works {
		piece := Piece{source: w.source, Object: w.object, File: w.piece.File, Refs: map[*object.Symbol]*Found{}}
		for sym, n := range w.piece.Needs {
			f := *w.found[n]
			if f.How == ByPatch {
				f.Target = definedBy(works, w, n.Extern)
			}
			piece.Refs[sym] = &f
		}
		for _, ch := range w.cl.Replaced {
			m, _ := w.matchOf(ch.Before)
			piece.Funcs = append(piece.Funcs, Replacement{OldName: m.Symbol.Name, Sympos: m.Symbol.Sympos, New: w.piece.Symbols[ch.After]})
		}
		b.Pieces = append(b.Pieces, piece)
	}
	return nil
}

// definedBy finds the symbol another unit of the same object adds.
func definedBy(works []*work, w *work, name string) *object.Symbol {
	for _, other := range works {
		if other == w || other.object != w.object {
			continue
		}
		if it := other.result.After.Item(name); it != nil && other.cl.Has(it) && other.result.BeforeOf(it) == nil {
			return other.piece.Symbols[it]
		}
	}
	return nil
}
