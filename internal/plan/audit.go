// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/oracle"
)

// Audit is the third witness of a unit: what depends on the bodies that the
// fix changes is seen from compiles of the unit as it was, with those bodies
// hidden, and held against what the patch replaces.
//
// Why an unchanged function is covered: the unit with the fix was compiled as
// a whole, so GCC knew the new body when it made that function's code, and made
// the same code as before. Whatever it relied on still holds.
type Audit struct {
	Hidden       []string    `json:"hidden"`        // functions whose bodies were hidden
	AlwaysInline []string    `json:"always_inline"` // cannot be hidden: GCC's account names all that have them
	Depends      []Dependent `json:"depends"`       // functions whose code depends on a hidden body
	Narrowed     []Dependent `json:"narrowed"`      // static functions that the new code calls and that GCC fitted to their callers
	Variables    []Dependent `json:"variables"`     // functions that rest on facts about static variables
}

// Dependent is one function that was found to depend on something.
type Dependent struct {
	Function string `json:"function"`
	Covered  string `json:"covered"` // how the patch takes care of it
	What     string `json:"what"`    // the first difference that showed it
}

// Ways in which a Dependent is covered.
const (
	CoveredReplaced  = "replaced"  // the patch replaces it
	CoveredCopied    = "copied"    // the patch has a copy of it for its callers
	CoveredUnchanged = "unchanged" // its code is the same in the unit with the fix
	CoveredUnused    = "unused"    // the fix removes it, and only code that the patch replaces used it
	CoveredInit      = "init"      // it has run already, or runs at unload only
)

// auditor audits the works of a plan, each unit once.
type auditor struct {
	p    *Plan
	q    *Request
	tree *kbuild.Tree
	done map[string]*unitAudit // by source
}

// unitAudit is what the compiles showed of one unit, whatever object it is
// part of.
type unitAudit struct {
	unit         *oracle.Unit
	hidden       []string
	alwaysInline []string
	depends      []oracle.Change
	narrowed     []oracle.Change
	variables    []oracle.VariableFact
}

// audit holds the selection of each unit against what depends on the bodies
// that change. What the patch does not cover is refused.
func audit(ctx context.Context, p *Plan, q *Request, works []*work) (map[string]*unitAudit, error) {
	tree, err := kbuild.Open(q.Kernel)
	if err != nil {
		return nil, err
	}
	a := &auditor{p: p, q: q, tree: tree, done: map[string]*unitAudit{}}
	for i, w := range works {
		if q.Progress != nil {
			q.Progress("audit", i, len(works))
		}
		if err := a.work(ctx, w); err != nil {
			return nil, fmt.Errorf("audit %s: %w", w.source, err)
		}
	}
	return a.done, nil
}

func (a *auditor) work(ctx context.Context, w *work) error {
	seen := a.done[w.source]
	if seen == nil {
		var err error
		if seen, err = a.compile(ctx, w); err != nil {
			return err
		}
		a.done[w.source] = seen
	}
	out := &Audit{
		Hidden: append([]string{}, seen.hidden...), AlwaysInline: append([]string{}, seen.alwaysInline...),
		Depends: []Dependent{}, Narrowed: []Dependent{}, Variables: []Dependent{},
	}
	for _, c := range seen.depends {
		covered := w.covers(c.Symbol)
		if w.asIs && covered == CoveredUnchanged { // bodies are going to change: that nothing has yet is no answer
			covered = ""
		}
		a.note(w, &out.Depends, c, covered, "it depends on a body that the fix changes ("+strings.Join(seen.hidden, ", ")+")")
	}
	calls := w.calledOriginals()
	for _, c := range seen.narrowed {
		if calls[c.Symbol] {
			a.cover(w, &out.Narrowed, c, "the new code calls it, and GCC fitted it to the calls that the unit had before the fix")
		}
	}
	for _, v := range seen.variables {
		a.cover(w, &out.Variables, v.Change, "it rests on a fact about static variables of the unit")
		if w.asIs && w.covers(v.Symbol) == CoveredUnchanged {
			a.p.warnOnce("variable-fact", fmt.Sprintf("%s: GCC made %s knowing something about static variables that it saw in the unit (%s): an edit that makes it false must replace that function, too", w.source, v.Symbol, orAny(v.Variables)))
		}
	}
	w.unitAudit = out
	for i := range a.p.Units {
		if u := &a.p.Units[i]; u.Source == w.source && u.Object == w.object {
			u.Audit = out
		}
	}
	return a.explain(ctx, w, seen)
}

// compile asks the oracle about the unit as it was before the fix.
func (a *auditor) compile(ctx context.Context, w *work) (*unitAudit, error) {
	cc, err := oracle.KernelUnit(a.tree, a.q.Kernel.SourceDir, w.command)
	if err != nil {
		return nil, err
	}
	out := &unitAudit{}
	if out.unit, err = oracle.Open(ctx, cc, w.source, oracle.Options{}); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.hide(ctx, w, out) })
	g.Go(func() (err error) {
		out.narrowed, err = out.unit.FittedToCallers(ctx)
		return err
	})
	g.Go(func() (err error) {
		out.variables, err = out.unit.VariableFacts(ctx)
		return err
	})
	return out, g.Wait()
}

// hide hides all bodies that the fix changes, in one compile; one at a time
// if GCC does not let one of them be hidden.
func (a *auditor) hide(ctx context.Context, w *work, out *unitAudit) error {
	names := w.bodies(out.unit.Impact.Functions())
	if len(names) == 0 {
		return nil
	}
	var not *oracle.NotHiddenError
	changes, err := out.unit.Hide(ctx, names...)
	if err == nil {
		out.hidden, out.depends = names, changes
		return nil
	}
	if !errors.As(err, &not) {
		return err
	}
	for _, n := range names {
		changes, err := out.unit.Hide(ctx, n)
		switch {
		case errors.As(err, &not) && not.AlwaysInline:
			out.alwaysInline = append(out.alwaysInline, n)
		case errors.As(err, &not):
			a.p.refuse(Refusal{Code: CodeNotCovered, File: w.source, Object: w.object, Symbol: n,
				Why: "which functions depend on its body could not be observed: " + not.Why, Advice: "review who depends on it, then build with --no-audit"})
		case err != nil:
			return err
		default:
			out.hidden = append(out.hidden, n)
			for _, c := range changes {
				if !slices.ContainsFunc(out.depends, func(d oracle.Change) bool { return d.Symbol == c.Symbol }) {
					out.depends = append(out.depends, c)
				}
			}
		}
	}
	return nil
}

// bodies lists the source functions of the unit whose bodies the fix changes:
// those of the functions that are replaced or copied, and those that it edits.
func (w *work) bodies(known []string) []string {
	want := map[string]bool{}
	for _, n := range w.bodyNames {
		want[n] = true
	}
	for _, ch := range w.result.Changed {
		if w.calls[ch.After] == "" {
			want[delta.Source(ch.Before.Name)] = true
		}
	}
	for _, n := range known {
		for _, e := range w.unit.Edited {
			if sameFunction(n, e) {
				want[delta.Source(n)] = true
			}
		}
	}
	var out []string
	for _, n := range known {
		if want[n] {
			out = append(out, n)
		}
	}
	return out
}

// calledOriginals are the functions of the unit that the new code calls where
// they are.
func (w *work) calledOriginals() map[string]bool {
	out := map[string]bool{}
	for _, n := range w.cl.Needs {
		if n.Before != nil && n.Before.Kind == delta.Func {
			out[n.Before.Name] = true
		}
	}
	return out
}

// cover notes how the patch takes care of a dependent function, or refuses.
func (a *auditor) cover(w *work, list *[]Dependent, c oracle.Change, why string) {
	a.note(w, list, c, w.covers(c.Symbol), why)
}

func orAny(names []string) string {
	if len(names) == 0 {
		return "any of them"
	}
	return strings.Join(names, ", ")
}

// note is cover with the answer given.
func (a *auditor) note(w *work, list *[]Dependent, c oracle.Change, covered, why string) {
	if covered == "" {
		a.p.refuse(Refusal{Code: CodeNotCovered, File: w.source, Object: w.object, Symbol: c.Symbol,
			Why:    why + ", and the patch neither replaces it nor shows that it stays right (" + c.What + ")",
			Advice: "this is a defect of kmend unless the object is unusual: report it with the patch"})
		return
	}
	*list = append(*list, Dependent{Function: c.Symbol, Covered: covered, What: c.What})
}

// covers says how the patch takes care of a function of the unit as it was, or
// nothing if it does not.
func (w *work) covers(symbol string) string {
	b := w.result.Before.Item(symbol)
	if b == nil {
		return ""
	}
	if b.Parent != nil {
		b = b.Parent
	}
	switch {
	case b.Kind == delta.InitCode || b.Kind == delta.ExitCode:
		return CoveredInit
	case w.replaces(b):
		return CoveredReplaced
	}
	after := w.result.AfterOf(b)
	switch {
	case after != nil && slices.Contains(w.carried, after):
		return CoveredCopied
	case after != nil && !slices.ContainsFunc(w.result.Changed, func(ch delta.Change) bool { return ch.Before == b }):
		return CoveredUnchanged
	case after == nil && !slices.ContainsFunc(b.Users, func(u *delta.Item) bool { return u != b && u.Parent != b && w.keeps(u) }):
		return CoveredUnused
	}
	return ""
}

func (w *work) replaces(before *delta.Item) bool {
	return slices.ContainsFunc(w.cl.Replaced, func(ch delta.Change) bool { return ch.Before == before })
}

// keeps reports whether an item of the unit as it was goes on being used as it
// is once the patch is there.
func (w *work) keeps(before *delta.Item) bool {
	if before.Parent != nil {
		before = before.Parent
	}
	return w.result.AfterOf(before) != nil && !w.replaces(before)
}

// explain finds the reason why functions are in the patch that neither the
// lines of the fix nor GCC's account of copied bodies explain.
func (a *auditor) explain(ctx context.Context, w *work, seen *unitAudit) error {
	o := a.objectOf(w)
	for i := range o.Functions {
		f := &o.Functions[i]
		if f.Unit != w.source || f.Reason.Kind != Affected {
			continue
		}
		for _, n := range seen.hidden {
			if n == delta.Source(f.Name) {
				continue
			}
			proof, err := seen.unit.Explain(ctx, n, f.Name)
			if err != nil {
				return err
			}
			if proof == nil {
				continue
			}
			f.Reason = Reason{Kind: Depends, Via: []string{n, f.Name}, Text: dependsText(n, proof)}
			break
		}
	}
	return nil
}

func dependsText(on string, proof *oracle.Proof) string {
	switch proof.Class {
	case oracle.Fact:
		text := "GCC used a fact about the body of " + on + " in it"
		if len(proof.Optimisations) > 0 {
			text += " (" + strings.Join(proof.Optimisations, ", ") + ")"
		}
		return text
	case oracle.Cold:
		return "the body of " + on + " changes which of its code GCC takes for cold"
	case oracle.Ripple:
		return "the body of " + on + " changes what else GCC copies into it"
	}
	return "its code depends on the body of " + on
}

func (a *auditor) objectOf(w *work) *Object {
	for i := range a.p.Objects {
		if a.p.Objects[i].Name == w.object {
			return &a.p.Objects[i]
		}
	}
	return &Object{}
}

// auditGate says loudly that there was no audit, or why there can be none.
func auditGate(p *Plan, q *Request) bool {
	switch {
	case q.NoAudit:
		p.warnOnce("no-audit", "--no-audit: which functions depend on the bodies that change was not observed, only inferred from what differs")
		return false
	case strings.Contains(q.Kernel.CompilerID, compiler.Clang):
		p.warnOnce("no-audit", "the kernel was built with "+q.Kernel.CompilerID+": its bodies cannot be hidden from the rest of a unit (Clang has no noipa), so there is no audit")
		return false
	}
	return true
}
