// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kmend/internal/compiler"
)

// Report is the audit of one unit at one level.
type Report struct {
	Source    string         `json:"source"`
	Level     string         `json:"level"`
	Failed    string         `json:"failed,omitempty"` // why the unit does not compile at the level; nothing else is set then
	Functions []Function     `json:"functions"`        // those that were asked for
	Init      int            `json:"init"`             // functions of the unit left out as they run at the start or the end only
	Narrowed  *Narrowed      `json:"narrowed"`
	Variables []VariableFact `json:"variables"`
	Seconds   float64        `json:"seconds"` // wall time
}

// Run audits functions of a unit, and the two other directions, at a level.
// Names nil means all functions that the C file defines.
func Run(ctx context.Context, cc Compiler, source string, names []string, level Level, opt Options) (*Report, error) {
	start := time.Now()
	opt.Flags, opt.FactsOff, opt.Functions = level.Flags, level.FactsOff(), names
	r := &Report{Source: source, Level: level.String(), Functions: []Function{}, Variables: []VariableFact{}}
	u, err := Open(ctx, cc, source, opt)
	var refused *RefusedError
	if errors.As(err, &refused) && level.Level != compiler.Plain {
		r.Failed = firstError(refused.Log)
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	all, init := u.Functions()
	if names == nil {
		names = all
	}
	r.Init = init
	if r.Functions, err = u.Audit(ctx, names); err != nil {
		return nil, err
	}
	if r.Narrowed, err = u.Narrowed(ctx); err != nil {
		return nil, err
	}
	if r.Variables, err = u.VariableFacts(ctx); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// Totals sums up reports of one level.
type Totals struct {
	Level        string `json:"level"`
	Units        int    `json:"units"`  // that were audited
	Failed       int    `json:"failed"` // that do not compile at the level
	Functions    int    `json:"functions"`
	AlwaysInline int    `json:"always_inline"` // of the functions: cannot be hidden, all users are predicted
	NotHidden    int    `json:"not_hidden"`    // of the functions: cannot be hidden for another reason
	Depended     int    `json:"depended"`      // functions on which others depend
	Predicted    int    `json:"predicted"`     // pairs of an audited function and a predicted one
	Observed     int    `json:"observed"`      // pairs of an audited function and one that depends on it
	Hits         int    `json:"hits"`          // pairs that are both
	CloneCallers int    `json:"clone_callers"` // of the hits, those that copied bodies alone do not show
	Over         int    `json:"over"`          // predicted, not observed
	Fact         int    `json:"fact"`          // the classes of what was observed and not predicted
	Cold         int    `json:"cold"`
	Ripple       int    `json:"ripple"`
	Unexplained  int    `json:"unexplained"`
	UnsafeIn     int    `json:"unsafe_in"` // functions with a miss of class fact or unexplained

	Statics         int `json:"statics"` // static functions checked for facts about their callers
	NarrowedFact    int `json:"narrowed_fact"`
	NarrowedCold    int `json:"narrowed_cold"`
	NarrowedOther   int `json:"narrowed_other"`   // unexplained
	VariableReaders int `json:"variable_readers"` // functions that rest on facts about static variables
	Variables       int `json:"variables"`        // variables that are named for them
	VariablesOf     int `json:"variables_of"`     // units with such functions

	Seconds float64 `json:"seconds"` // wall time of all units, one after the other
}

// Sum adds up reports, which must be of one level.
func Sum(level string, reports []*Report) *Totals {
	t := &Totals{Level: level}
	for _, r := range reports {
		t.add(r)
	}
	return t
}

func (t *Totals) add(r *Report) {
	if r.Failed != "" {
		t.Failed++
		return
	}
	t.Units++
	t.Seconds += r.Seconds
	for i := range r.Functions {
		t.addFunction(&r.Functions[i])
	}
	t.Statics += r.Narrowed.Checked
	for _, n := range r.Narrowed.InPlace {
		switch n.Class {
		case Fact:
			t.NarrowedFact++
		case Cold:
			t.NarrowedCold++
		default:
			t.NarrowedOther++
		}
	}
	named := map[string]bool{}
	for _, v := range r.Variables {
		t.VariableReaders++
		for _, n := range v.Variables {
			named[n] = true
		}
	}
	t.Variables += len(named)
	if len(r.Variables) > 0 {
		t.VariablesOf++
	}
}

func (t *Totals) addFunction(f *Function) {
	t.Functions++
	switch f.Verdict {
	case AlwaysInline:
		t.AlwaysInline++
		return
	case NotHidden:
		t.NotHidden++
		return
	}
	if f.Hits()+len(f.Missed) > 0 {
		t.Depended++
	}
	if f.Unsafe() > 0 {
		t.UnsafeIn++
	}
	t.Predicted += len(f.Predicted)
	t.Hits += f.Hits()
	t.Over += f.Over()
	t.CloneCallers += f.CloneCallers()
	t.Observed += f.Hits() + len(f.Missed)
	for i := range f.Missed {
		switch f.Missed[i].Class {
		case Fact:
			t.Fact++
		case Cold:
			t.Cold++
		case Ripple:
			t.Ripple++
		default:
			t.Unexplained++
		}
	}
}

// NotFoundError says that a function to audit is not where it was looked for.
type NotFoundError struct {
	Name, Why string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("find function %s: %s", e.Name, e.Why) }
