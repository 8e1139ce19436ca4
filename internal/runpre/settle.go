// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
)

// settle turns attempts into verdicts. A function that is the only one of its
// name is decided if it is equal. Decided functions fix the addresses of
// sections; those, and the places of decided functions, decide about functions
// whose name several running functions have: being equal is not enough there,
// since the translation unit's own could be another one that differs.
func (u *unit) settle(funcs []*object.Symbol) {
	d := u.decide()
	for _, fn := range funcs {
		u.result.Funcs[fn] = u.verdict(fn, d)
		if m := u.result.Funcs[fn]; m.Verdict == Equal {
			u.record(d.decided[fn])
		}
	}
	u.recordMembers(d, funcs)
}

// decision is the state of settling.
type decision struct {
	live    map[*object.Symbol][]*attempt // equal and not in contradiction to decided ones
	decided map[*object.Symbol]*attempt
	fault   map[*object.Symbol]*difference // functions that contradict others
	bases   map[*object.Section]observation
	owner   map[*object.Section]*object.Symbol // which function fixed a base first
	order   [][]*object.Symbol                 // functions in emission order, by class
}

func (u *unit) decide() *decision {
	d := &decision{
		live: map[*object.Symbol][]*attempt{}, decided: map[*object.Symbol]*attempt{},
		fault: map[*object.Symbol]*difference{}, order: u.emissionOrder(),
	}
	for _, fn := range u.order {
		for _, a := range u.attempts[fn] {
			if a.err == nil {
				d.live[fn] = append(d.live[fn], a)
			}
		}
		if len(u.attempts[fn]) == 1 && len(d.live[fn]) == 1 {
			d.decided[fn] = d.live[fn][0]
		}
	}
	for u.agree(d) || u.choose(d) || u.byOrder(d) {
	}
	return d
}

// agree collects the section addresses of decided functions; true if it found
// a new contradiction.
func (u *unit) agree(d *decision) bool {
	found := false
	blame := func(fn *object.Symbol, why *difference) {
		if d.fault[fn] == nil {
			d.fault[fn], found = why, true
		}
	}
	d.bases, d.owner = map[*object.Section]observation{}, map[*object.Section]*object.Symbol{}
	for _, fn := range u.order {
		a := d.decided[fn]
		if a == nil || d.fault[fn] != nil {
			continue
		}
		for _, sec := range sortedSections(a.bases) {
			o := a.bases[sec]
			first, seen := d.bases[sec]
			if !seen {
				d.bases[sec], d.owner[sec] = o, fn
			} else if first.base != o.base {
				blame(fn, contradiction(sec, o, d.owner[sec], first))
				blame(d.owner[sec], contradiction(sec, first, fn, o))
			}
		}
		if in := u.unmet(d, a); in != nil {
			blame(fn, &difference{in.at, fmt.Sprintf("leads into %s at %+#x, but the running %s is not equal or has another instruction there",
				in.fn.Name, in.off, in.fn.Name)})
		}
	}
	return found
}

func sortedSections(m map[*object.Section]observation) []*object.Section {
	out := make([]*object.Section, 0, len(m))
	for sec := range m {
		out = append(out, sec)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Index < out[j].Index })
	return out
}

// unmet returns a reference into another function that leads to none of that
// function's candidates.
func (u *unit) unmet(d *decision, a *attempt) *interior {
	for i := range a.inner {
		in := &a.inner[i]
		met := false
		for _, t := range d.live[in.fn] {
			met = met || d.fault[in.fn] == nil && in.leadsTo(t)
		}
		if !met {
			return in
		}
	}
	return nil
}

func (in *interior) leadsTo(a *attempt) bool {
	off, ok := a.where(in.off)
	return ok && a.cand.place+uint64(off) == in.dest
}

// choose removes candidates of undecided functions that contradict decided
// ones, and decides those that something ties to the translation unit; true if
// it did either.
func (u *unit) choose(d *decision) bool {
	into := map[*object.Symbol][]*interior{} // references of decided functions
	for _, fn := range u.order {
		if a := d.decided[fn]; a != nil && d.fault[fn] == nil {
			for i := range a.inner {
				into[a.inner[i].fn] = append(into[a.inner[i].fn], &a.inner[i])
			}
		}
	}
	changed := false
	for _, fn := range u.order {
		if d.decided[fn] != nil || d.fault[fn] != nil || len(d.live[fn]) == 0 {
			continue
		}
		var keep, tied []*attempt
		for _, a := range d.live[fn] {
			ok := !contradicts(a, d.bases) && u.unmet(d, a) == nil
			for _, in := range into[fn] {
				ok = ok && in.leadsTo(a)
			}
			if ok {
				keep = append(keep, a)
				if len(into[fn]) > 0 || u.tied(d, a) {
					tied = append(tied, a)
				}
			}
		}
		changed = changed || len(keep) < len(d.live[fn])
		if d.live[fn] = keep; len(keep) == 0 {
			d.fault[fn] = &difference{why: "every running function of that name that it equals contradicts what other functions of the translation unit refer to"}
		} else if len(tied) == 1 {
			d.decided[fn], changed = tied[0], true
		}
	}
	return changed
}

// tied reports whether an undecided candidate belongs to this translation unit:
// a decided function refers to it, or it refers to a static that a decided
// function refers to, or into a decided function.
func (u *unit) tied(d *decision, a *attempt) bool {
	for _, in := range a.inner {
		if t := d.decided[in.fn]; t != nil && d.fault[in.fn] == nil && in.leadsTo(t) {
			return true
		}
	}
	for sec, o := range a.bases {
		if known, ok := d.bases[sec]; ok && known.base == o.base && (sec == a.fn.Section || u.private(sec)) {
			return true
		}
	}
	return false
}

// private reports whether code of other translation units cannot name anything
// in the section.
func (u *unit) private(sec *object.Section) bool {
	for _, s := range u.members[sec] {
		if !s.IsLocal() {
			return false
		}
	}
	return len(u.members[sec]) > 0
}

func contradicts(a *attempt, bases map[*object.Section]observation) bool {
	for sec, o := range a.bases {
		if known, ok := bases[sec]; ok && known.base != o.base {
			return true
		}
	}
	return false
}

func contradiction(sec *object.Section, o observation, other *object.Symbol, theirs observation) *difference {
	return &difference{o.at, fmt.Sprintf("section %s would be at %#x by this function and at %#x by %s+%#x",
		sec.Name, o.base, theirs.base, other.Name, theirs.at)}
}

func (u *unit) verdict(fn *object.Symbol, d *decision) *FuncMatch {
	m := &FuncMatch{Weak: fn.Bind == bindWeak}
	all, a := u.attempts[fn], d.decided[fn]
	switch {
	case d.fault[fn] != nil:
		m.Verdict, m.Why, m.Offset = Mismatch, d.fault[fn].why, d.fault[fn].off
	case a != nil:
		m.Verdict, m.Symbol, m.Size = Equal, a.cand, a.end-a.cand.place
		m.Normalised, m.Fentry = a.rules, a.fentry
		if a.cand.Sympos < 0 && !strings.HasPrefix(fn.Section.Name, ".init") {
			m.Verdict = Ambiguous
			m.Why = fmt.Sprintf("the position of %s among the module's symbols of that name changes when the module's init part is dropped", fn.Name)
		}
	case len(all) == 0:
		m.Verdict = Missing
		m.Why = fmt.Sprintf("no running function is named %s", fn.Name)
		if u.run.defines(fn.Name) {
			m.Why += fmt.Sprintf(" with the same binding (%s)", binding(fn))
		}
	case len(d.live[fn]) > 0:
		m.Verdict = Ambiguous
		m.Why = fmt.Sprintf("%d running functions are named %s, %d of them equal to it (the first at %#x), and nothing else in the translation unit tells which one is its own",
			len(all), fn.Name, len(d.live[fn]), d.live[fn][0].cand.Addr)
	default:
		best := all[0]
		for _, a := range all[1:] {
			if a.err.off > best.err.off {
				best = a
			}
		}
		m.Verdict, m.Why, m.Offset = Mismatch, best.err.why, best.err.off
		if len(all) > 1 {
			m.Why = fmt.Sprintf("none of %d running functions of that name is equal; the nearest, at %#x: %s", len(all), best.cand.Addr, m.Why)
		}
	}
	return m
}

func binding(s *object.Symbol) string {
	if s.IsLocal() {
		return "local"
	}
	return "global"
}

// record stores the values that an equal function established.
func (u *unit) record(a *attempt) {
	for s, t := range a.values {
		u.result.Values[s] = u.value(s, t)
	}
	u.result.Values[a.fn] = u.value(a.fn, target{addr: a.cand.place})
}

func (u *unit) value(s *object.Symbol, t target) Value {
	if t.name != "" {
		return Value{External: t.name, Named: -1}
	}
	v := Value{Symbols: u.run.at(t.addr), Named: -1}
	v.Section, v.Addr = u.run.locate(t.addr)
	for i, x := range v.Symbols {
		if x.Name == s.Name && !s.IsSection() && (v.Named < 0 || x.Global == !s.IsLocal()) {
			v.Named = i
		}
	}
	return v
}

// recordMembers adds the named symbols of sections that equal functions refer
// to, where the running symbol table has that name at their place.
func (u *unit) recordMembers(d *decision, funcs []*object.Symbol) {
	for _, fn := range funcs {
		if u.result.Funcs[fn].Verdict != Equal {
			continue
		}
		for sec, o := range d.decided[fn].bases {
			for _, s := range u.members[sec] {
				if _, done := u.result.Values[s]; !done && s.Bind != bindWeak && u.run.has(s.Name, !s.IsLocal(), o.base+s.Value) {
					u.result.Values[s] = u.value(s, target{addr: o.base + s.Value})
				}
			}
		}
	}
}
