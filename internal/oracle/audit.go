// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"kmend/internal/impact"
)

// Class says why a function's code depends on a hidden body although it was not
// predicted.
type Class string

// The classes. Each is the outcome of compiles; see docs/guarantee.md.
const (
	// Fact: a fact about the body, or about all callers, is used in it. Unsafe.
	Fact Class = "fact"
	// Cold: only guesses of how often code runs moved: where it lies, or what
	// it is optimised for. Harmless.
	Cold Class = "cold"
	// Ripple: hiding the body moved decisions of what to inline or to clone
	// elsewhere, and no fact about the body is used. Artefact of the oracle.
	Ripple Class = "ripple"
	// Unexplained: no compile explains it. Unsafe until it is explained.
	Unexplained Class = "unexplained"
)

// Unsafe reports whether a function of the class must be replaced along with
// the one that it depends on.
func (c Class) Unsafe() bool { return c == Fact || c == Unexplained }

// Proof is why a difference has its class.
type Proof struct {
	Class         Class    `json:"class"`
	Optimisations []string `json:"optimisations,omitempty"` // without which it goes, such as ipa-modref
	Evidence      []string `json:"evidence"`                // the compiles that prove it, a sentence each
}

// Miss is a function whose code depends on the body but was not predicted.
type Miss struct {
	Change
	Proof
	Disassembly string `json:"disassembly,omitempty"` // what differs, as a unified diff; only if asked for
}

// Predicted is a function that GCC's account ties to the one that was audited.
type Predicted struct {
	Symbol      string `json:"symbol"`
	Chain       string `json:"chain"`                  // the shortest chain of reasons
	CloneCaller bool   `json:"clone_caller,omitempty"` // not from copied bodies: it calls a clone
	Observed    bool   `json:"observed"`               // its code does depend on the body
}

// Verdicts of one function.
const (
	Audited      = "audited"
	AlwaysInline = "always-inline" // cannot be hidden, and need not be: every function that has it is predicted
	NotHidden    = "not-hidden"    // cannot be hidden: nothing is known beyond the prediction
)

// Function is the audit of one function.
type Function struct {
	Name      string      `json:"name"`
	Verdict   string      `json:"verdict"`
	Why       string      `json:"why,omitempty"` // of a verdict other than audited
	Predicted []Predicted `json:"predicted"`
	Missed    []Miss      `json:"missed"`
}

// Hits, Over are how many predicted functions were observed, and how many not.
func (f *Function) Hits() int { return f.count(func(p *Predicted) bool { return p.Observed }) }

// Over is the number of predicted functions whose code did not change.
func (f *Function) Over() int {
	if f.Verdict != Audited {
		return 0
	}
	return f.count(func(p *Predicted) bool { return !p.Observed })
}

// CloneCallers is the number of observed functions that only the callers of
// clones add to the prediction.
func (f *Function) CloneCallers() int {
	return f.count(func(p *Predicted) bool { return p.Observed && p.CloneCaller })
}

func (f *Function) count(pick func(*Predicted) bool) int {
	n := 0
	for i := range f.Predicted {
		if pick(&f.Predicted[i]) {
			n++
		}
	}
	return n
}

// Unsafe is the number of misses that must be replaced along with the function.
func (f *Function) Unsafe() int {
	n := 0
	for i := range f.Missed {
		if f.Missed[i].Class.Unsafe() {
			n++
		}
	}
	return n
}

// Audit holds for each function what was predicted against what is observed,
// and proves the class of each miss. The result is in the order of names. The
// error is an *impact.UnknownError for a name that the unit does not have.
func (u *Unit) Audit(ctx context.Context, names []string) ([]Function, error) {
	out := make([]Function, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(u.opt.Jobs)
	for i, n := range names {
		g.Go(func() error {
			f, err := u.audit(ctx, n)
			if err == nil {
				out[i] = *f
			}
			return err
		})
	}
	return out, g.Wait()
}

func (u *Unit) audit(ctx context.Context, name string) (*Function, error) {
	predicted, err := u.Impact.Impacted(name)
	if err != nil && !slices.Contains(u.opt.Functions, name) {
		return nil, err
	}
	f := &Function{Name: name, Verdict: Audited, Predicted: []Predicted{}, Missed: []Miss{}}
	observed, err := u.Hide(ctx, name)
	var not *NotHiddenError
	if errors.As(err, &not) {
		f.Verdict, f.Why = NotHidden, not.Why
		if not.AlwaysInline {
			f.Verdict = AlwaysInline
		}
	} else if err != nil {
		return nil, err
	}
	known := u.predict(f, predicted, observed)
	x := &explainer{u: u, name: name, seen: map[string]*difference{}}
	for _, c := range observed {
		if known[c.Symbol] {
			continue
		}
		m, err := x.explain(ctx, c)
		if err != nil {
			return nil, err
		}
		f.Missed = append(f.Missed, *m)
	}
	return f, nil
}

// predict fills in the predicted functions and returns the names that they
// cover, those of other symbols at the same place among them.
func (u *Unit) predict(f *Function, predicted []impact.Impacted, observed []Change) map[string]bool {
	known := map[string]bool{}
	for _, p := range predicted {
		it := code(u.base, p.Symbol)
		if it == nil || u.own(it, []string{f.Name}) || known[it.Name] {
			continue // no code that a patch could replace, or the function itself
		}
		known[it.Name] = true
		f.Predicted = append(f.Predicted, Predicted{
			Symbol: it.Name, Chain: chain(p.Chain),
			CloneCaller: p.Chain[len(p.Chain)-1].Kind == impact.Calls,
			Observed:    slices.ContainsFunc(observed, func(c Change) bool { return c.Symbol == it.Name }),
		})
	}
	return known
}

// chain is a chain of reasons in one line.
func chain(edges []impact.Edge) string {
	var b strings.Builder
	b.WriteString(edges[0].From)
	for _, e := range edges {
		b.WriteString(" -" + e.Kind.String() + "-> " + e.To)
	}
	return b.String()
}

// explainer proves why functions depend on one body. It keeps the comparisons
// that it made, as several functions ask for the same.
type explainer struct {
	u       *Unit
	name    string
	seen    map[string]*difference
	refused []string // compiles that were no use, for the evidence
}
