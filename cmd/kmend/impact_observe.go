// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"kmend/internal/impact"
	"kmend/internal/impact/index"
	"kmend/internal/oracle"
)

// What an answer that rests on GCC's account alone does not say, for each kind
// of source. Empty must never read as "nobody depends on it".
const (
	factsNote      = "this is the compiler's account of the bodies that it copied; facts that it used about a body without copying it are not in there, unless the build was at -flive-patching=inline-clone or above: kmend audit observes them"
	factsNoteStock = "this is the compiler's account of the bodies that it copied; facts that it used about a body without copying it are not in there: --audit adds what is observed"
)

// factsNotes says what the answer leaves out.
func (s *impactSourceHandle) factsNotes() []string {
	switch {
	case s.kind == "dwarf" || s.audit:
		return nil
	case s.stock != nil:
		return []string{factsNoteStock}
	}
	return []string{factsNote}
}

// observe adds to an answer the functions that rest on a fact about the one
// that was asked for: those whose code differs when the unit is compiled with
// its body hidden, which no account of copies explains.
func (s *impactSourceHandle) observe(ctx context.Context, ans *index.Answer) error {
	name := ans.Function.Name
	for i, c := range s.stock.Commands() {
		s.a.Progress.Update("audit", int64(i), int64(len(s.stock.Commands())))
		cc, err := oracle.KernelUnit(s.tree, s.kernel.SourceDir, c)
		if err != nil {
			return err
		}
		u, err := oracle.Open(ctx, cc, c.Source, oracle.Options{Jobs: runtime.NumCPU()})
		if err != nil {
			return err
		}
		found, err := u.Audit(ctx, []string{name})
		if errors.As(err, new(*impact.UnknownError)) {
			continue
		}
		if err != nil {
			return err
		}
		if f := found[0]; f.Verdict == oracle.NotHidden {
			s.notes = append(s.notes, fmt.Sprintf("%s: who depends on facts about %s could not be observed: %s", c.Source, name, f.Why))
		}
		for _, m := range found[0].Missed {
			f := u.Impact.Func(m.Symbol)
			if !m.Class.Unsafe() || f == nil {
				continue
			}
			for _, object := range s.stock.Objects(c) {
				ans.Symbols = append(ans.Symbols, index.Symbol{Name: m.Symbol, Unit: c.Object, Object: object, Section: f.Section, Size: f.Size, Twins: f.Twins,
					Chain: []impact.Edge{{From: name, To: m.Symbol, Kind: impact.Fact, Detail: observedText(&m)}}})
			}
		}
	}
	return nil
}

func observedText(m *oracle.Miss) string {
	text := "observed"
	if len(m.Optimisations) > 0 {
		text += ": " + strings.Join(m.Optimisations, ", ")
	}
	if m.Class == oracle.Unexplained {
		text += "; no compile explains it"
	}
	return text
}
