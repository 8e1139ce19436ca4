// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/delta"
	"kmend/internal/object"
)

// factFlags switch off, one at a time, the optimisations by which GCC 11 and 12
// use facts about one function in another. They are what
// -flive-patching=inline-clone switches off (gcc/opts.cc:
// control_options_for_live_patching), without what that leaves on.
var factFlags = []string{
	"-fno-ipa-modref", "-fno-ipa-pure-const", "-fno-ipa-ra", "-fno-ipa-reference", "-fno-ipa-reference-addressable",
	"-fno-ipa-icf", "-fno-ipa-bit-cp", "-fno-ipa-vrp", "-fno-ipa-stack-alignment", "-fno-ipa-pta",
}

// coldFlags switch off what places code or chooses its size by guessing how
// often it runs: no fact that the program's meaning depends on.
var coldFlags = []string{"-fno-guess-branch-probability", "-fno-ipa-profile", "-fno-reorder-blocks-and-partition"}

// comparison is two variants that are compared, whatever the flags beside them.
type comparison struct {
	what          string // in words
	before, after string // tails
}

func (c comparison) at(flags []string) (before, after variant) {
	return variant{c.before, flags}, variant{c.after, flags}
}

// compare is Unit.compare with a memory.
func (x *explainer) compare(ctx context.Context, c comparison, flags []string) (*difference, error) {
	before, after := c.at(flags)
	key := before.key() + "\x01" + after.key()
	if d, ok := x.seen[key]; ok {
		return d, nil
	}
	d, err := x.u.compare(ctx, before, after)
	var refused *RefusedError
	if errors.As(err, &refused) {
		x.refused = append(x.refused, fmt.Sprintf("this could not be tried: %s with %s: %s", c.what, strings.Join(flags, " "), firstError(refused.Log)))
		d, err = nil, nil // this way of compiling proves nothing
	}
	if err != nil {
		return nil, err
	}
	x.seen[key] = d
	return d, nil
}

// equal reports whether a function is the same in both variants with the flags.
// One that is no function of its own in one of them, as it is inlined there, is
// kept one by noinline in both, if that by itself leaves its code as it is.
func (x *explainer) equal(ctx context.Context, c comparison, symbol string, flags []string) (bool, error) {
	d, err := x.compare(ctx, c, flags)
	if err != nil || d == nil {
		return false, err
	}
	if s := d.of(symbol); s == same || s == changed || !identifier.MatchString(symbol) {
		return s == same, nil
	}
	keep := redeclare("__noinline__", symbol)
	for _, try := range []struct {
		c     comparison
		flags []string
	}{
		{comparison{"keeping it", "", keep}, nil},
		{comparison{c.what, keep + c.before, keep + c.after}, flags},
	} {
		d, err := x.compare(ctx, try.c, try.flags)
		if err != nil || d == nil || d.of(symbol) != same {
			return false, err
		}
	}
	return true, nil
}

// step tries to prove one class; done says that it did.
type step func(ctx context.Context, m *Miss, hides, beyond comparison) (done bool, err error)

// prove runs steps until one proves a class. A fact is looked for first, and
// once more without guesses of frequency, as both may change one function.
func (x *explainer) prove(ctx context.Context, m *Miss, hides, beyond comparison, steps ...step) error {
	for _, try := range steps {
		done, err := try(ctx, m, hides, beyond)
		if err != nil {
			return err
		}
		if done {
			return x.show(ctx, m, hides)
		}
	}
	m.Class = Unexplained
	m.Evidence = append(m.Evidence, "its code differs in every pair of compiles that would have explained it: treat it as depending on a fact")
	m.Evidence = append(m.Evidence, x.refused...)
	return x.show(ctx, m, hides)
}

// explain proves the class of a function that depends on the body.
func (x *explainer) explain(ctx context.Context, c Change) (*Miss, error) {
	m := &Miss{Change: c}
	// What hiding the body does, and what hiding does beyond forbidding copies of
	// it: noinline, noclone and no_icf leave all facts about the body in use.
	hides := comparison{"hiding the body", "", redeclare("__noipa__", x.name)}
	beyond := comparison{"hiding the body beyond forbidding copies of it", redeclare("__noinline__,__noclone__,__no_icf__", x.name), hides.after}
	return m, x.prove(ctx, m, hides, beyond, x.kept, x.fact, x.ripple, x.cold, x.factBesideCold)
}

// show adds the disassembly, if it was asked for.
func (x *explainer) show(ctx context.Context, m *Miss, c comparison) (err error) {
	if x.u.opt.Disassemble && !m.Gone {
		before, after := c.at(nil)
		m.Disassembly, err = x.u.disassembly(ctx, m.Symbol, before, after)
	}
	return err
}

// fact tries whether the difference goes with the use of facts off.
func (x *explainer) fact(ctx context.Context, m *Miss, hides, beyond comparison) (bool, error) {
	return x.factBeside(ctx, m, nil, hides, beyond)
}

// factBesideCold is fact without guesses of frequency in all compiles.
func (x *explainer) factBesideCold(ctx context.Context, m *Miss, hides, beyond comparison) (bool, error) {
	return x.factBeside(ctx, m, coldFlags, hides, beyond)
}

func (x *explainer) factBeside(ctx context.Context, m *Miss, beside []string, comparisons ...comparison) (bool, error) {
	if x.u.opt.FactsOff {
		return false, nil
	}
	for _, c := range comparisons {
		on, err := x.equal(ctx, c, m.Symbol, beside)
		if err != nil {
			return false, err
		}
		off, err := x.equal(ctx, c, m.Symbol, slices.Concat(factFlags, beside))
		if err != nil {
			return false, err
		}
		if on || !off {
			continue
		}
		m.Class = Fact
		what := c.what
		if len(beside) > 0 {
			what = "without guesses of frequency (" + strings.Join(beside, " ") + ") " + what
		}
		m.Evidence = append(m.Evidence, fmt.Sprintf("%s changes its code, and does not with all of %s in both compiles", what, strings.Join(factFlags, " ")))
		m.Optimisations, err = x.culprits(ctx, m, c, beside)
		return true, err
	}
	return false, nil
}

// culprits names the optimisations without which the difference goes.
func (x *explainer) culprits(ctx context.Context, m *Miss, c comparison, beside []string) ([]string, error) {
	var out []string
	for _, f := range factFlags {
		eq, err := x.equal(ctx, c, m.Symbol, append([]string{f}, beside...))
		if err != nil {
			return nil, err
		}
		if eq {
			out = append(out, optimisation(f))
			m.Evidence = append(m.Evidence, "it does not with "+f+" alone either")
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	return x.together(ctx, m, c, beside)
}

// together names, where no single one will do, optimisations that find the same
// fact: all of them are off at first, then each that need not be is let on.
func (x *explainer) together(ctx context.Context, m *Miss, c comparison, beside []string) ([]string, error) {
	need := slices.Clone(factFlags)
	for _, f := range factFlags {
		less := slices.DeleteFunc(slices.Clone(need), func(s string) bool { return s == f })
		eq, err := x.equal(ctx, c, m.Symbol, slices.Concat(less, beside))
		if err != nil {
			return nil, err
		}
		if eq {
			need = less
		}
	}
	m.Evidence = append(m.Evidence, "no single one of them makes it go; "+strings.Join(need, " ")+" together do, and none of these can be left out")
	var out []string
	for _, f := range need {
		out = append(out, optimisation(f))
	}
	return out, nil
}

func optimisation(flag string) string { return strings.TrimPrefix(flag, "-fno-") }

// ripple tries whether forbidding copies of the body alone gives the same code
// as hiding it: then no fact about it is used, unless the function has a copy.
// A fact about another function that the body was copied into might be lost
// with that copy, so the code must also be free of facts to begin with.
func (x *explainer) ripple(ctx context.Context, m *Miss, _, beyond comparison) (bool, error) {
	eq, err := x.equal(ctx, beyond, m.Symbol, nil)
	if err != nil || !eq {
		return false, err
	}
	free, err := x.free(ctx, m.Symbol)
	if err != nil || !free {
		return false, err
	}
	d, err := x.compare(ctx, beyond, nil)
	if err != nil {
		return false, err
	}
	m.Class = Ripple
	m.Evidence = append(m.Evidence, "with the body only noinline, noclone and no_icf, all facts about it in use, its code is what it is with the body hidden",
		"its code as it is uses no facts: switching them off does not change it")
	from := code(d.result.Before, m.Symbol)
	if from != nil && !reaches(from, x.name) {
		m.Evidence = append(m.Evidence, "it has no copy of the body: where no copies are made, no reference leads from it to "+x.name+", by way of other functions and data of the unit either")
		return true, nil
	}
	between, err := x.between(ctx, m.Symbol)
	if err != nil {
		return false, err
	}
	if between != "" {
		m.Evidence = append(m.Evidence, "it has no copy of the body: with "+between+" declared noinline, which leaves its code as it is, hiding the body does not change it")
		return true, nil
	}
	m.Evidence = append(m.Evidence, "it has no copy of the body: GCC's account has no way for it there")
	return true, nil
}

// free reports whether a function's code, nothing hidden, is the same with the
// use of facts off.
func (x *explainer) free(ctx context.Context, symbol string) (bool, error) {
	if x.u.opt.FactsOff {
		return true, nil
	}
	d, err := x.u.compare(ctx, variant{}, variant{flags: factFlags})
	if err != nil {
		return false, err
	}
	return d.of(symbol) == same, nil
}

// between names the functions that a function calls on the way to the hidden
// body, if keeping those out of line leaves its code as it is, and then hiding
// the body does as well: what else it has can be no copy of the body.
func (x *explainer) between(ctx context.Context, symbol string) (string, error) {
	from := code(x.u.base, symbol)
	if from == nil {
		return "", nil
	}
	called := map[string]bool{}
	for _, part := range []*delta.Item{from, from.Cold} {
		if part == nil {
			continue
		}
		for _, r := range part.Refs {
			if to := r.Target.Item; to != nil && to != from && isLocalFunction(to) {
				called[to.Name] = true
			}
		}
	}
	names := sorted(called)
	if len(names) == 0 {
		return "", nil
	}
	keep := redeclare("__noinline__", names...)
	for _, c := range []comparison{{"keeping its callees", "", keep}, {"hiding the body with its callees kept", keep, keep + redeclare("__noipa__", x.name)}} {
		d, err := x.compare(ctx, c, nil)
		if err != nil || d == nil || d.of(symbol) != same {
			return "", err
		}
	}
	return strings.Join(names, ", "), nil
}

// reaches reports whether references lead from an item to a function, by way of
// any items of the unit.
func reaches(from *delta.Item, name string) bool {
	seen := map[*delta.Item]bool{from: true}
	for work := []*delta.Item{from}; len(work) > 0; work = work[1:] {
		it := work[0]
		next := []*delta.Item{it.Cold, it.Parent}
		for _, refs := range append(slices.Clone(it.EntryRefs), it.Refs) {
			for _, r := range refs {
				next = append(next, r.Target.Item)
			}
		}
		for _, to := range next {
			if to == nil || seen[to] {
				continue
			}
			if slices.ContainsFunc(to.Symbols, func(s *object.Symbol) bool { return delta.Source(s.Name) == name }) {
				return true
			}
			seen[to] = true
			work = append(work, to)
		}
	}
	return false
}

// cold tries whether the difference goes without guesses of frequency.
func (x *explainer) cold(ctx context.Context, m *Miss, hides, beyond comparison) (bool, error) {
	for _, c := range []comparison{hides, beyond} {
		for _, flags := range [][]string{coldFlags[:1], coldFlags[1:2], coldFlags[2:3], coldFlags} {
			eq, err := x.equal(ctx, c, m.Symbol, flags)
			if err != nil {
				return false, err
			}
			if !eq {
				continue
			}
			m.Class, m.Optimisations = Cold, nil
			for _, f := range flags {
				m.Optimisations = append(m.Optimisations, optimisation(f))
			}
			m.Evidence = append(m.Evidence, fmt.Sprintf("%s does not change its code with %s in both compiles, and does with the use of facts off", c.what, strings.Join(flags, " ")))
			return true, nil
		}
	}
	return false, nil
}

// kept tries, for a function that is gone, whether it stays what it is when it
// is kept by force: then its code as it was depends on nothing.
func (x *explainer) kept(ctx context.Context, m *Miss, hides, _ comparison) (bool, error) {
	if !m.Gone {
		return false, nil
	}
	eq, err := x.equal(ctx, hides, m.Symbol, nil)
	if err != nil || !eq {
		return false, err
	}
	m.Class = Ripple
	m.Evidence = append(m.Evidence, "declared noinline its code is what it was, with the body hidden and not: only where it is copied to moved")
	return true, nil
}

// sorted lists the names of a set.
func sorted(set map[string]bool) []string {
	var out []string
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// isLocalFunction reports whether an item is a static function under its own
// name.
func isLocalFunction(it *delta.Item) bool {
	return it.Kind == delta.Func && it.Parent == nil && !it.IsGlobal() && identifier.MatchString(it.Name)
}
