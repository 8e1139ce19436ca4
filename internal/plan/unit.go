// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/closure"
	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/object"
	"kmend/internal/patch"
	"kmend/internal/runpre"
	"kmend/internal/special"
)

// work is one translation unit as part of one kernel object, on its way
// through the pipeline.
type work struct {
	source  string               // of the unit
	edits   []*patch.AppliedFile // files of the fix that it read, its own source or included
	object  string
	command *kbuild.Command
	unitOf  *compiled // what it was compiled to
	// asIs: functions as they are were asked for, and the bodies of bodyNames are
	// going to change.
	asIs      bool
	bodyNames []string
	result    *delta.Result
	clones    [2]*compiler.Clones // before, after; nil if GCC wrote none
	match     *runpre.UnitMatch
	cl        *closure.Closure
	found     map[*closure.Need]*Found
	drops     []closure.Drop
	// carried are functions that differ and are copied for their callers, since
	// they cannot be redirected; calls says which one a caller is replaced for.
	carried []*delta.Item
	calls   map[*delta.Item]string
	piece   *closure.Piece
	unit    Unit
	// extracted is the file that the new code is from; nil for the binary way.
	extracted    *SourceObject
	newFunctions []string // of the fix, by their names in the source
	// unitAudit is what the audit said of it; nil if there was none.
	unitAudit *Audit
}

// prove matches the unit as compiled before the fix with what runs.
func (w *work) prove(k *kernel.Kernel, modules *moduleCache) error {
	before := w.result.Before.File
	if w.object == Vmlinux {
		img, err := k.Image()
		if err != nil {
			return err
		}
		w.match, err = runpre.VmlinuxUnit(img, before, nil)
		return err
	}
	ko, err := modules.get(w.object)
	if err != nil {
		return err
	}
	w.match, err = runpre.ModuleUnit(ko, before, nil)
	return err
}

// matchOf is the verdict on an item, by whichever of its symbols has the best.
func (w *work) matchOf(it *delta.Item) (*runpre.FuncMatch, *object.Symbol) {
	var first *runpre.FuncMatch
	var sym *object.Symbol
	for _, s := range it.Symbols {
		m := w.match.Funcs[s]
		if m == nil {
			continue
		}
		if m.Verdict == runpre.Equal {
			return m, s
		}
		if first == nil {
			first, sym = m, s
		}
	}
	return first, sym
}

// functions checks every function to be replaced and describes it.
func (w *work) functions(p *Plan) []Function {
	var out []Function
	for _, ch := range w.cl.Replaced {
		m, _ := w.matchOf(ch.Before)
		if r := w.replaceable(ch.Before, m); r != nil {
			if why := w.calls[ch.After]; why != "" {
				r.Why = why + "; and " + r.Why
			}
			p.refuse(*r)
			continue
		}
		if cold := ch.Before.Cold; cold != nil {
			if cm, _ := w.matchOf(cold); cm == nil || cm.Verdict != runpre.Equal {
				p.refuse(w.mismatch(cold, cm))
				continue
			}
		}
		out = append(out, Function{
			Name: m.Symbol.Name, Sympos: m.Symbol.Sympos, Unit: w.source,
			Reason:     w.reason(ch),
			Difference: w.describeDifference(ch),
			RunPre: RunPre{
				Verdict: string(m.Verdict), Address: symbolPlace(m.Symbol), Size: m.Size, Normalised: ruleNames(m.Normalised),
			},
			OldSize: sizeWithCold(ch.Before), NewSize: sizeWithCold(ch.After),
		})
	}
	return out
}

func (w *work) describeDifference(ch delta.Change) string {
	if w.calls[ch.After] != "" {
		return "in nothing but which copy it calls"
	}
	if w.asIs {
		return "none yet"
	}
	return fmt.Sprintf("%s+%#x: %s", ch.Where.Name, ch.Offset, ch.What)
}

func sizeWithCold(it *delta.Item) uint64 {
	if it.Cold != nil {
		return it.Size + it.Cold.Size
	}
	return it.Size
}

func symbolPlace(s runpre.Symbol) string {
	return valuePlace(runpre.Value{Addr: s.Addr, Section: s.Section})
}

// replaceable returns why a function cannot be replaced, or nil.
func (w *work) replaceable(it *delta.Item, m *runpre.FuncMatch) *Refusal {
	refuse := func(code, why, advice string) *Refusal {
		return &Refusal{Code: code, File: w.source, Object: w.object, Symbol: it.Name, Why: why, Advice: advice}
	}
	switch {
	case m == nil || m.Verdict == runpre.Missing || m.Verdict == runpre.Mismatch && !m.Weak:
		r := w.mismatch(it, m)
		return &r
	case m.Verdict == runpre.Mismatch:
		return refuse(CodeWeakOverridden, "it is weak, and the function of that name that runs is another object's: "+m.Why, "fix the definition that the kernel uses")
	case m.Verdict == runpre.Ambiguous:
		return refuse(CodeAmbiguousSymbol, "more than one running function could be it: "+m.Why, "reboot into a fixed kernel")
	case m.Symbol.Sympos < 0:
		return refuse(CodeAmbiguousSymbol, "its position among the symbols of that name is not stable, since some are freed after start", "reboot into a fixed kernel")
	case !m.Fentry:
		return refuse(CodeNoFentry, "it does not begin with a call of __fentry__ (notrace, noinstr, or a directory without tracing), so the kernel cannot redirect it",
			"patch its callers instead, if they can be")
	}
	return nil
}

func (w *work) mismatch(it *delta.Item, m *runpre.FuncMatch) Refusal {
	why := "it was not compared"
	if m != nil {
		why = fmt.Sprintf("what was compiled from the unpatched source is not what runs (%s at +%#x: %s)", m.Verdict, m.Offset, m.Why)
	}
	return Refusal{Code: CodeRunPreMismatch, File: w.source, Object: w.object, Symbol: it.Name, Why: why,
		Advice: "check that source, configuration and compiler are those of the running kernel"}
}

func ruleNames(rules map[runpre.Rule]int) []string {
	out := []string{}
	for _, r := range runpre.Rules {
		if n := rules[r]; n > 0 {
			out = append(out, fmt.Sprintf("%s ×%d", r, n))
		}
	}
	return out
}

// reason explains why a function is in the patch. Two witnesses: the lines of
// the fix, and GCC's own account of the bodies it copied.
func (w *work) reason(ch delta.Change) Reason {
	if why := w.calls[ch.After]; why != "" {
		return Reason{Kind: Calls, Via: []string{}, Text: why}
	}
	for _, e := range w.unit.Edited {
		if w.asIs && ch.After.Name == e {
			return Reason{Kind: Requested, Via: []string{}, Text: "it was asked for"}
		}
		if !w.asIs && sameFunction(ch.After.Name, e) {
			return Reason{Kind: Edited, Via: []string{}, Text: "the fix changes " + e}
		}
	}
	for i, c := range w.clones {
		if c == nil {
			continue
		}
		name := []*delta.Item{ch.Before, ch.After}[i].Name
		for _, e := range w.unit.Edited {
			path := c.Path(e, name)
			if path == nil {
				continue
			}
			via := []string{path[0].From.Name}
			for _, p := range path {
				via = append(via, p.To.Name)
			}
			return Reason{Kind: Inlines, Via: via, Text: fmt.Sprintf("GCC copied %s into it", e)}
		}
	}
	if w.asIs {
		return Reason{Kind: Affected, Via: []string{}, Text: "its code differs when the bodies asked for are hidden: " + ch.What}
	}
	return Reason{Kind: Affected, Via: []string{}, Text: "its code differs: " + ch.What}
}

// resolve finds every need; what cannot be found is refused.
func (w *work) resolve(p *Plan, r *resolver, newGlobals map[string]*newGlobal) error {
	w.found = map[*closure.Need]*Found{}
	for _, n := range w.cl.Needs {
		if g := newGlobals[n.Extern]; n.Item == nil && g != nil {
			w.found[n] = &Found{Reference: Reference{Name: n.Extern, How: ByPatch, Object: w.object, Proof: "new in " + g.work.source}}
			continue
		}
		f, err := r.resolve(n)
		var nf *notFound
		if errors.As(err, &nf) {
			p.refuse(Refusal{Code: nf.code, File: w.source, Object: w.object, Symbol: n.Name(), Why: nf.why, Advice: nf.advice})
			continue
		}
		if err != nil {
			return err
		}
		w.found[n] = f
		w.moduleKeys(p, n, f)
	}
	return nil
}

// moduleKeys deals with keys that a module owns. Jump labels and static calls
// are set up before the module's symbols are known, so such an entry cannot be
// kept. Without it a tracepoint stays off in the patched function; anything
// else would change what the code does.
func (w *work) moduleKeys(p *Plan, n *closure.Need, f *Found) {
	if f.How != ByKlp || f.Object == Vmlinux {
		return
	}
	for _, u := range n.Uses {
		if !u.KeyUse() {
			continue
		}
		site := fmt.Sprintf("%s+%#x", u.From.Name, u.Offset)
		refuse := func(why string) {
			code, alt := CodeModuleStaticKey, "static_key_enabled(&key)"
			if u.Section == special.StaticCallSites {
				code, alt = CodeModuleStaticCall, "a plain call through static_call_query()"
			}
			p.refuse(Refusal{Code: code, File: w.source, Object: w.object, Symbol: n.Name(),
				Why: fmt.Sprintf("%s uses it, and %s; the kernel sets such sites up before it knows the module's symbols", site, why), Advice: "use " + alt + " in the fix"})
		}
		switch {
		case u.Section == special.JumpTable && strings.HasPrefix(n.Name(), "__tracepoint_"):
			if !isNop(u.From, u.Offset) {
				refuse("the site does not start as a no-op")
				continue
			}
		case u.Section == special.StaticCallSites && strings.HasPrefix(n.Name(), "__SCK__tp_func_"):
		default:
			refuse(fmt.Sprintf("module %s owns it", f.Object))
			continue
		}
		w.drops = append(w.drops, closure.Drop{From: u.From, Section: u.Section, Offset: u.Offset})
		w.unit.Dropped = append(w.unit.Dropped, Dropped{Function: u.From.Name, Section: u.Section, Key: n.Name(),
			Why: "the tracepoint of module " + f.Object + " stays off in the patched function"})
	}
}

// isNop reports whether the instruction at off is one of the no-ops a jump
// label starts as (arch/x86/include/asm/jump_label.h).
func isNop(it *delta.Item, off uint64) bool {
	code := it.Data()[off:]
	for _, nop := range []string{"\x0f\x1f\x44\x00\x00", "\x66\x90"} {
		if strings.HasPrefix(string(code), nop) {
			return true
		}
	}
	return false
}

// describe fills what the plan says of the unit.
func (w *work) describe() {
	w.unit.Source, w.unit.Object = w.source, w.object
	w.unit.Unmoved = w.unmoved()
	w.unit.emptyNotNil()
	for _, it := range w.cl.Included {
		w.unit.Included = append(w.unit.Included, Part{Name: it.Name, Kind: it.Kind.String(), Why: w.partReason(it), Size: it.Size})
	}
	for _, it := range w.result.Removed {
		w.unit.Removed = append(w.unit.Removed, it.Name)
	}
	for _, it := range w.result.Before.Items {
		if it.Kind != delta.Func {
			continue
		}
		m, _ := w.matchOf(it)
		switch {
		case m == nil:
		case m.Verdict == runpre.Equal:
			w.unit.Match.Equal++
		default:
			w.unit.Match.Others++
			if len(w.unit.Match.Examples) < 5 {
				w.unit.Match.Examples = append(w.unit.Match.Examples, fmt.Sprintf("%s: %s: %s", it.Name, m.Verdict, m.Why))
			}
		}
	}
}

// unmoved lists where the two witnesses disagree: functions that GCC says an
// edited one was copied into, and whose code is the same all the same, as when
// the changed part was folded away there.
func (w *work) unmoved() []string {
	if w.clones[1] == nil {
		return nil
	}
	replaced := map[*delta.Item]bool{}
	for _, ch := range w.result.Changed {
		replaced[ch.After] = true
	}
	var out []string
	for _, e := range w.unit.Edited {
		reached := w.clones[1].Reached(e)
		for _, it := range w.result.After.Items {
			if it.Kind == delta.Func && it.Parent == nil && reached[it.Name] && !replaced[it] && w.result.BeforeOf(it) != nil {
				out = append(out, e+" → "+it.Name)
			}
		}
	}
	return out
}

// emptyNotNil makes lists that hold nothing [] in JSON, never null.
func (u *Unit) emptyNotNil() {
	for _, list := range []*[]string{&u.Edited, &u.Removed, &u.Match.Examples, &u.Unmoved, &u.Warnings} {
		if *list == nil {
			*list = []string{}
		}
	}
	if u.Included == nil {
		u.Included = []Part{}
	}
	if u.References == nil {
		u.References = []Reference{}
	}
	if u.Dropped == nil {
		u.Dropped = []Dropped{}
	}
}

// newInFix reports whether the binary plan's unit has a new function of a name.
func (w *work) newInFix(name string) bool {
	return slices.ContainsFunc(w.newFunctions, func(n string) bool { return n == delta.Source(name) })
}

func (w *work) partReason(it *delta.Item) string {
	for _, ch := range w.cl.Replaced {
		switch it {
		case ch.After:
			return "replaced"
		case ch.After.Cold:
			return "cold part of " + ch.After.Name
		}
	}
	if it.Parent != nil {
		return "cold part of " + it.Parent.Name
	}
	if slices.Contains(w.carried, it) {
		return "has no fentry: copied for its callers, which are replaced"
	}
	switch it.Kind {
	case delta.Func:
		switch {
		case w.extracted == nil:
		case slices.Contains(w.extracted.Copied, delta.Source(it.Name)):
			return "function of the unit, copied for the new code"
		case w.newInFix(it.Name):
		default:
			return "function of a header"
		}
	case delta.AltAux:
		return "part of the new code's alternatives"
	case delta.Const:
		return "constant of the new code"
	case delta.DebugSite:
		return "dynamic debug site of the new code"
	}
	return "new"
}
