// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"fmt"
	"sort"
	"strings"

	"kmend/internal/object"
)

// settle turns attempts into verdicts: functions that only one running
// function equals fix the addresses of sections; those addresses decide among
// several equal candidates.
func (u *unit) settle(funcs []*object.Symbol) {
	live := u.equals()
	d := u.decide(live)
	if u.undecided(funcs, live) {
		// The rest of the translation unit may know where the functions are.
		if u.tryRest() {
			live = u.equals()
			d = u.decide(live)
		}
		for u.byOrder(d, live) {
			d = u.decide(live)
		}
	}
	for _, fn := range funcs {
		u.result.Funcs[fn] = u.verdict(fn, live[fn], d.fault[fn])
		if m := u.result.Funcs[fn]; m.Verdict == Equal {
			u.record(live[fn][0])
		}
	}
	u.recordMembers(d.bases)
}

// equals lists the attempts that found no difference.
func (u *unit) equals() map[*object.Symbol][]*attempt {
	live := map[*object.Symbol][]*attempt{}
	for fn, all := range u.attempts {
		for _, a := range all {
			if a.err == nil {
				live[fn] = append(live[fn], a)
			}
		}
	}
	return live
}

func (u *unit) undecided(funcs []*object.Symbol, live map[*object.Symbol][]*attempt) bool {
	for _, fn := range funcs {
		if len(live[fn]) > 1 {
			return true
		}
	}
	return false
}

// tryRest compares the functions that were not asked for; false if there are none.
func (u *unit) tryRest() bool {
	more := false
	for _, fn := range Functions(u.f) {
		if _, done := u.attempts[fn]; !done && inBounds(fn) {
			u.try(fn)
			more = true
		}
	}
	u.tryInner()
	return more
}

// decision is what decided functions agree on.
type decision struct {
	bases map[*object.Section]observation
	owner map[*object.Section]*object.Symbol
	fault map[*object.Symbol]*difference // functions that contradict others
}

// decide drops candidates that contradict what decided functions established,
// until nothing changes.
func (u *unit) decide(live map[*object.Symbol][]*attempt) *decision {
	d := &decision{fault: map[*object.Symbol]*difference{}}
	for u.agree(d, live) || u.drop(d, live) {
	}
	return d
}

// agree collects the section addresses of functions with one candidate; true
// if it found a new contradiction.
func (u *unit) agree(d *decision, live map[*object.Symbol][]*attempt) bool {
	found := false
	blame := func(fn *object.Symbol, why *difference) {
		if d.fault[fn] == nil {
			d.fault[fn], found = why, true
		}
	}
	d.bases, d.owner = map[*object.Section]observation{}, map[*object.Section]*object.Symbol{}
	for _, fn := range u.order {
		if len(live[fn]) != 1 || d.fault[fn] != nil {
			continue
		}
		a := live[fn][0]
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
		if in := u.unmet(d, a, live); in != nil {
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
func (u *unit) unmet(d *decision, a *attempt, live map[*object.Symbol][]*attempt) *interior {
	for i := range a.inner {
		in := &a.inner[i]
		met := false
		for _, t := range live[in.fn] {
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

// drop removes candidates that contradict what is established; true if it
// removed one.
func (u *unit) drop(d *decision, live map[*object.Symbol][]*attempt) bool {
	into := map[*object.Symbol][]*interior{}
	for _, fn := range u.order {
		if len(live[fn]) == 1 && d.fault[fn] == nil {
			a := live[fn][0]
			for i := range a.inner {
				into[a.inner[i].fn] = append(into[a.inner[i].fn], &a.inner[i])
			}
		}
	}
	dropped := false
	for _, fn := range u.order {
		if len(live[fn]) < 2 || d.fault[fn] != nil {
			continue
		}
		var keep []*attempt
		for _, a := range live[fn] {
			ok := !contradicts(a, d.bases) && u.unmet(d, a, live) == nil
			for _, in := range into[fn] {
				ok = ok && in.leadsTo(a)
			}
			if ok {
				keep = append(keep, a)
			}
		}
		if len(keep) == len(live[fn]) {
			continue
		}
		dropped = true
		if live[fn] = keep; len(keep) == 0 {
			d.fault[fn] = &difference{why: "every running function that it equals contradicts what other functions of the translation unit refer to"}
		}
	}
	return dropped
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

func (u *unit) verdict(fn *object.Symbol, live []*attempt, fault *difference) *FuncMatch {
	m := &FuncMatch{Weak: fn.Bind == bindWeak}
	all := u.attempts[fn]
	switch {
	case fault != nil:
		m.Verdict, m.Why, m.Offset = Mismatch, fault.why, fault.off
	case len(live) == 1:
		a := live[0]
		m.Verdict, m.Symbol, m.Size = Equal, a.cand, a.end-a.cand.place
		m.Normalised, m.Fentry = a.rules, a.fentry
		if a.cand.Sympos < 0 && !strings.HasPrefix(fn.Section.Name, ".init") {
			m.Verdict = Ambiguous
			m.Why = fmt.Sprintf("the position of %s among the module's symbols of that name changes when the module's init part is dropped", fn.Name)
		}
	case len(live) > 1:
		m.Verdict = Ambiguous
		m.Why = fmt.Sprintf("%d running functions named %s are equal to it, at %#x and %#x among others, and nothing else in the translation unit tells them apart",
			len(live), fn.Name, live[0].cand.Addr, live[1].cand.Addr)
	case len(all) == 0:
		m.Verdict = Missing
		m.Why = fmt.Sprintf("no running function is named %s", fn.Name)
		if u.run.defines(fn.Name) {
			m.Why += fmt.Sprintf(" with the same binding (%s)", binding(fn))
		}
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

// recordMembers adds the named symbols of sections whose address is known from
// equal functions and at whose place the running symbol table has that name.
func (u *unit) recordMembers(bases map[*object.Section]observation) {
	used := map[*object.Section]bool{}
	for fn, m := range u.result.Funcs {
		if m.Verdict != Equal {
			continue
		}
		for _, a := range u.attempts[fn] {
			if a.err == nil && a.cand.place == m.Symbol.place {
				for sec := range a.bases {
					used[sec] = true
				}
			}
		}
	}
	for sec := range used {
		o, ok := bases[sec]
		if !ok {
			continue
		}
		for _, s := range u.members[sec] {
			if _, done := u.result.Values[s]; !done && s.Bind != bindWeak && u.run.has(s.Name, !s.IsLocal(), o.base+s.Value) {
				u.result.Values[s] = u.value(s, target{addr: o.base + s.Value})
			}
		}
	}
}
