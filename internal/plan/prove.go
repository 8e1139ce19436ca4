// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/object"
	"kmend/internal/oracle"
)

// Rules of a Proof.
const (
	// RuleFunctionName: what __func__ says has the prefix of an extracted
	// function. Levelled; nothing else may differ.
	RuleFunctionName = "function-name"
	// RuleLine: the line in an entry of the bug table. Levelled.
	RuleLine = "line"
	// RuleUnitKnowledge: the whole unit gives the code of the part once GCC is
	// kept from using what it cannot know of the part: the bodies of functions
	// that the part only declares, who calls those that it defines, who has the
	// addresses of static variables. This is proof by a compile of its own.
	RuleUnitKnowledge = "unit-knowledge"
	// RuleCalleeInlined names a part of that: the unit's account says that a
	// function that the part calls was copied into the function in the unit.
	RuleCalleeInlined = "callee-inlined"
	// RuleClone names another: the unit's function calls a clone (.isra,
	// .constprop, .part), the part's does not, or the other way round.
	RuleClone = "clone"
	// RuleInlining: the accounts of the two compiles do not have the same bodies
	// in the function. Taken as a reason only where the texts are equal.
	RuleInlining = "inlining"
	// RuleNotInlined: a helper that the unit has in its callers only is a
	// function of its own in the part. Only where the texts are equal.
	RuleNotInlined = "callee-not-inlined"
)

// proofInput is what an extraction is proved from.
type proofInput struct {
	whole, part         *delta.Unit
	levelled            map[*object.Symbol]bool // names of functions that were restored in the part
	wholeDump, partDump *compiler.Clones        // the part's with the unit's names
	replaced            []string                // functions that get callers from outside
	textEqual           bool
	// apart compiles the whole unit with a tail behind its text, nil if the
	// compiler refuses that.
	apart func(tail string) (*delta.Unit, error)
}

// Prove compares the functions that an extracted file defines with the same
// functions of the whole unit: after the fix if patched, else before it.
func (b *Build) Prove(ctx context.Context, o SourceObject, patched bool) ([]Proof, error) {
	w, err := b.workOf(o.Source)
	if err != nil {
		return nil, err
	}
	res, overlay := w.unitOf.before, map[string][]byte(nil)
	if patched {
		res, overlay = w.unitOf.after, w.unitOf.overlay
	}
	in := proofInput{textEqual: o.TextEqual}
	if in.whole, err = readUnit(res.Object); err != nil {
		return nil, fmt.Errorf("prove the extraction of %s: %w", o.Source, err)
	}
	file, err := object.Read(o.Object)
	if err != nil {
		return nil, fmt.Errorf("prove the extraction of %s: %w", o.Source, err)
	}
	if in.levelled, err = delta.RestoreNames(file, o.Renamed, true); err != nil {
		return nil, err
	}
	if in.part, err = delta.NewUnit(file); err != nil {
		return nil, fmt.Errorf("prove the extraction of %s: %w", o.Source, err)
	}
	if in.wholeDump, err = compiler.ParseClones(res.Clones); err != nil {
		return nil, err
	}
	if in.partDump, err = restoredDump(o); err != nil {
		return nil, err
	}
	for _, n := range o.Renamed {
		in.replaced = append(in.replaced, n)
	}
	slices.Sort(in.replaced)
	in.apart = func(tail string) (*delta.Unit, error) { return b.compileApart(ctx, w, overlay, tail) }
	proofs, err := in.prove()
	if err != nil {
		return nil, fmt.Errorf("prove the extraction of %s: %w", o.Source, err)
	}
	return proofs, nil
}

// restoredDump is the account of an extracted file's compile with the unit's
// names.
func restoredDump(o SourceObject) (*compiler.Clones, error) {
	c, err := compiler.ParseClones(o.Clones)
	if err != nil {
		return nil, err
	}
	return c.Renamed(func(name string) string {
		stem := delta.Source(name)
		if to, ok := o.Renamed[stem]; ok {
			return to + name[len(stem):]
		}
		return name
	}), nil
}

// compileApart compiles a whole unit with a tail; nil if GCC refuses it.
func (b *Build) compileApart(ctx context.Context, w *work, overlay map[string][]byte, tail string) (*delta.Unit, error) {
	tree, err := kbuild.Open(b.request.Kernel)
	if err != nil {
		return nil, err
	}
	text, ok := overlay[w.source]
	if !ok {
		if text, err = sourceText(b.request.Kernel, w.source); err != nil {
			return nil, err
		}
	}
	with := maps.Clone(overlay)
	if with == nil {
		with = map[string][]byte{}
	}
	with[w.source] = append(text[:len(text):len(text)], tail...)
	// -w: a redeclaration may draw a warning, which kbuild may make an error.
	r, err := tree.Compile(ctx, kbuild.Job{Command: w.command, Overlay: with, Flags: []string{"-w"}})
	var refused *kbuild.CompileError
	if errors.As(err, &refused) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return readUnit(r.Object)
}

// prove gives one Proof for each function of the part, those of headers
// included, in the order of its object.
func (in *proofInput) prove() ([]Proof, error) {
	e := delta.CompareExtraction(in.whole, in.part, in.hosts())
	var apart *delta.Extraction
	tried := false
	knowing := func() (*delta.Extraction, error) {
		if tried {
			return apart, nil
		}
		tried = true
		u, err := in.apart(in.tail())
		if err != nil || u == nil {
			return nil, err
		}
		apart = delta.CompareExtraction(u, in.part, in.hosts())
		return apart, nil
	}
	var out []Proof
	for _, it := range in.part.Items {
		if it.Kind != delta.Func || it.Parent != nil {
			continue
		}
		p := Proof{Function: it.Name, Verdict: ProofIdentical, Rules: []RuleCount{}, PartSize: sizeWithCold(it)}
		f := e.Func(it.Name)
		if f != nil {
			p.WholeSize = sizeWithCold(f.Whole)
		}
		if err := in.judge(&p, it, f, knowing); err != nil {
			return nil, err
		}
		p.count(RuleFunctionName, in.namesIn(it))
		if f != nil {
			p.count(RuleLine, f.Lines)
		}
		if len(p.Rules) > 0 && p.Verdict == ProofIdentical {
			p.Verdict = ProofNamed
		}
		out = append(out, p)
	}
	return out, nil
}

// count adds a rule that was used.
func (p *Proof) count(rule string, n int) {
	if n > 0 {
		p.Rules = append(p.Rules, RuleCount{Rule: rule, Count: n})
	}
}

// judge says why a function of the part differs from the whole's, if it does.
func (in *proofInput) judge(p *Proof, it *delta.Item, f *delta.ExtractedFunc, knowing func() (*delta.Extraction, error)) error {
	if f != nil && f.What == "" {
		return nil
	}
	p.Verdict, p.Difference = ProofUnexplained, "the unit has no function of that name: GCC copied it into its callers, or made clones of it"
	if f != nil {
		p.Difference = fmt.Sprintf("%s+%#x: %s", f.Where.Name, f.Offset, f.What)
	}
	apart, err := knowing()
	if err != nil {
		return err
	}
	inlined, clones := in.calleesInlined(it), in.cloneCalls(it, f)
	if apart != nil {
		if a := apart.Func(it.Name); a != nil && a.What == "" {
			p.Verdict = ProofNamed
			p.count(RuleUnitKnowledge, 1)
			p.count(RuleCalleeInlined, inlined)
			p.count(RuleClone, clones)
			return nil
		}
	}
	if !in.textEqual {
		return nil
	}
	switch {
	case f == nil && in.copiedAway(it.Name):
		p.count(RuleNotInlined, 1)
	case f != nil && in.dataLost(f) == "":
		p.count(RuleInlining, differing(bodiesIn(in.wholeDump, it.Name), bodiesIn(in.partDump, it.Name)))
		p.count(RuleClone, clones)
	}
	if len(p.Rules) > 0 {
		p.Verdict = ProofNamed
	}
	return nil
}

func (in *proofInput) hosts() [2]delta.Hosts {
	return [2]delta.Hosts{in.wholeDump.Reached, in.partDump.Reached}
}

// tail is what takes from GCC what it does not know of the part.
func (in *proofInput) tail() string {
	var hidden, called, variables []string
	for _, s := range in.part.File.Symbols {
		it := in.whole.Defined(s.Name)
		if !s.IsUndefined() || !oracle.Identifier(s.Name) {
			continue
		}
		switch {
		case it == nil && in.wholeDump.Names(s.Name) && !undefinedIn(in.whole, s.Name), it != nil && it.Kind == delta.Func:
			if !slices.Contains(in.replaced, s.Name) {
				hidden = append(hidden, s.Name)
			}
		case it != nil && (it.Kind == delta.State || it.Kind == delta.Rodata) && !it.IsGlobal():
			variables = append(variables, s.Name)
		}
	}
	for _, n := range in.replaced {
		if it := in.whole.Item(n); it != nil && !it.IsGlobal() && oracle.Identifier(n) {
			called = append(called, n)
		}
	}
	return oracle.ApartTail(hidden, called, variables)
}

// namesIn counts the restored function names that an item refers to, or a
// dynamic debug site of it.
func (in *proofInput) namesIn(it *delta.Item) int {
	found := map[*delta.Item]bool{}
	var visit func(u *delta.Item, deep bool)
	visit = func(u *delta.Item, deep bool) {
		if u == nil {
			return
		}
		for _, refs := range append([][]delta.Ref{u.Refs}, u.EntryRefs...) {
			for i := range refs {
				t := refs[i].Target.Item
				switch {
				case t == nil:
				case len(t.Symbols) > 0 && in.levelled[t.Symbols[0]]:
					found[t] = true
				case deep && t.Kind == delta.DebugSite:
					visit(t, false)
				}
			}
		}
	}
	visit(it, true)
	visit(it.Cold, true)
	return len(found)
}

// calleesInlined counts the functions that the part's function uses by name and
// that the unit's account has copied into it.
func (in *proofInput) calleesInlined(it *delta.Item) int {
	n := 0
	bodies := bodiesIn(in.wholeDump, it.Name)
	for name := range externsOf(it) {
		if bodies[name] > 0 {
			n++
		}
	}
	return n
}

// cloneCalls counts the clones that one of the two functions uses and the other
// does not.
func (in *proofInput) cloneCalls(it *delta.Item, f *delta.ExtractedFunc) int {
	if f == nil {
		return 0
	}
	return differing(clonesOf(f.Whole), clonesOf(it))
}

// dataLost names a variable that the unit's function uses and that neither the
// part uses, nor a function that the unit has copied into this one. That is no
// matter of inlining: the part may have a variable of its own in its place, of
// which GCC believed that nobody writes it, so that nothing is left of it.
func (in *proofInput) dataLost(f *delta.ExtractedFunc) string {
	have := map[string]bool{}
	for _, it := range in.part.Items {
		if it.Kind.IsCode() && it.Parent == nil {
			maps.Copy(have, dataOf(it))
		}
	}
	for name := range bodiesIn(in.wholeDump, f.Whole.Name) {
		if it := in.whole.Defined(name); it != nil && it.Kind == delta.Func {
			maps.Copy(have, dataOf(it))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dataOf(f.Whole))) {
		if !have[name] {
			return name
		}
	}
	return ""
}

// dataOf names the variables that a function uses, without the numbers of the
// compiler, and what it uses of other units otherwise than by calling it.
func dataOf(it *delta.Item) map[string]bool {
	out := map[string]bool{}
	eachRef(it, func(r *delta.Ref) {
		switch t := r.Target.Item; {
		case t == nil && r.Target.Extern != "" && !r.Branch:
			out[r.Target.Extern] = true
		case t == nil:
		case t.Kind == delta.State || t.Kind == delta.PerCPU || t.Kind == delta.Rodata && len(t.Symbols) > 0:
			stem, _ := delta.Stem(t.Name)
			out[stem] = true
		}
	})
	return out
}

// copiedAway reports whether the unit's account says of a function that its body
// was copied elsewhere.
func (in *proofInput) copiedAway(name string) bool {
	return in.wholeDump.Names(delta.Source(name)) && len(in.wholeDump.Reached(delta.Source(name))) > 0
}

// eachRef calls for every reference of a function, its cold part included.
func eachRef(it *delta.Item, do func(*delta.Ref)) {
	for _, part := range []*delta.Item{it, it.Cold} {
		if part == nil {
			continue
		}
		for i := range part.Refs {
			do(&part.Refs[i])
		}
		for _, refs := range part.EntryRefs {
			for i := range refs {
				do(&refs[i])
			}
		}
	}
}

func externsOf(it *delta.Item) map[string]bool {
	out := map[string]bool{}
	eachRef(it, func(r *delta.Ref) {
		if r.Target.Extern != "" {
			out[r.Target.Extern] = true
		}
	})
	return out
}

func clonesOf(it *delta.Item) map[string]bool {
	out := map[string]bool{}
	eachRef(it, func(r *delta.Ref) {
		if t := r.Target.Item; t != nil && t.Kind == delta.Func && t != it && t.Parent != it && isCloneName(t.Name) {
			out[t.Name] = true
		}
	})
	return out
}

// isCloneName reports whether GCC made the function of that name from another
// one, with an interface of its own perhaps.
func isCloneName(name string) bool {
	return slices.ContainsFunc([]string{".isra.", ".constprop.", ".part."}, func(s string) bool { return strings.Contains(name, s) })
}

// bodiesIn counts how often a compile copied the body of each function, or a
// part of it (.part), into the function of a name.
func bodiesIn(c *compiler.Clones, into string) map[string]int {
	out, reached := map[string]int{}, map[compiler.Node]bool{}
	for again := true; again; {
		again = false
		for _, cl := range c.Clones {
			if (cl.To.Name == into || reached[cl.To]) && !reached[cl.From] && cl.From.Name != into {
				reached[cl.From], again = true, true
			}
		}
	}
	for _, cl := range c.Clones {
		if (cl.To.Name == into || reached[cl.To]) && cl.From.Name != into {
			out[unnumbered(cl.From.Name)]++
		}
	}
	return out
}

// unnumbered is the name of a function or clone without the compiler's number.
func unnumbered(name string) string {
	if i := strings.LastIndexByte(name, '.'); i > 0 && strings.Trim(name[i+1:], "0123456789") == "" {
		return name[:i]
	}
	return name
}

// differing counts the names that two sets do not have alike.
func differing[V comparable](a, b map[string]V) (n int) {
	for name := range a {
		if a[name] != b[name] {
			n++
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			n++
		}
	}
	return n
}
