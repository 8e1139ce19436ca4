// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	"kmend/internal/closure"
	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild/types"
	"kmend/internal/object"
)

// binder ties the object of an extracted file to the unit that it is from, and
// by that to the running kernel.
type binder struct {
	p    *Plan
	w    *work // of the binary plan, with what the source way replaces
	o    *SourceObject
	e    *delta.Extraction
	out  *work
	must *CopyError
}

// bind makes the work of a unit whose new code is that of an extracted file.
func (b *Build) bind(p *Plan, w *work, o *SourceObject) (*work, error) {
	file, err := object.Read(o.Object)
	if err != nil {
		return nil, err
	}
	if _, err := delta.RestoreNames(file, o.Renamed, false); err != nil {
		return nil, err
	}
	part, err := delta.NewUnit(file)
	if err != nil {
		return nil, err
	}
	dump, err := restoredDump(*o)
	if err != nil {
		return nil, err
	}
	whole := w.clones[1]
	if whole == nil {
		whole = &compiler.Clones{}
	}
	k := &binder{p: p, w: w.sourceSet(), o: o, must: &CopyError{Source: w.source}}
	k.e = delta.CompareExtraction(w.result.After, part, [2]delta.Hosts{whole.Reached, dump.Reached})
	out := *k.w
	out.clones = [2]*compiler.Clones{}
	out.extracted = o
	for _, it := range w.result.New {
		out.newFunctions = append(out.newFunctions, delta.Source(it.Name))
	}
	out.piece, out.cl, out.found, out.drops = nil, nil, nil, nil
	out.unit = Unit{Edited: w.unit.Edited, Warnings: w.unit.Warnings}
	k.out = &out
	if err := k.types(); err != nil {
		return nil, err
	}
	if !k.functions() || !k.kinds() || !k.data() {
		return k.out, nil
	}
	k.out.cl = closure.Select(k.out.result, k.out.carried...)
	for _, r := range k.out.cl.Refusals {
		p.refuse(Refusal{Code: r.Code, File: w.source, Object: w.object, Symbol: r.Symbol, Why: r.Why, Advice: r.Advice})
	}
	k.identity()
	k.needs(whole)
	k.fitted(b.audited[w.source])
	if len(k.must.Functions) > 0 {
		return nil, k.must
	}
	return k.out, nil
}

func (k *binder) refuse(code, symbol, why, advice string) {
	k.p.refuse(Refusal{Code: code, File: k.w.source, Object: k.w.object, Symbol: symbol, Why: why, Advice: advice})
}

// types refuses declarations of the extracted file that are not the unit's: of
// types that are laid out otherwise, and of functions and variables with others.
func (k *binder) types() error {
	if k.w.unitOf == nil || len(k.o.Types) == 0 || len(k.w.unitOf.after.Types) == 0 {
		return nil // a compiler that does not describe types
	}
	c, err := types.Compare(k.w.unitOf.after.Types, k.o.Types)
	if err != nil {
		return fmt.Errorf("compare types: %w", err)
	}
	for _, list := range [][]types.Change{c.Types, c.Functions, c.Variables} {
		for _, ch := range list {
			k.p.refuse(Refusal{Code: CodeExtractedData, File: k.w.source, Object: k.w.object, Symbol: ch.Kind + " " + ch.Name,
				Why: "the extracted file declares it unlike the unit: " + ch.Detail, Advice: "take the unit's own declaration", Detail: changedLines(ch.Before, ch.After)})
		}
	}
	return nil
}

func (k *binder) copy(name, why string) {
	if !slices.Contains(k.must.Functions, name) {
		k.must.Functions = append(k.must.Functions, name)
		k.must.Why = append(k.must.Why, why)
	}
}

// functions finds the functions to be replaced in the extracted file, which must
// have just those.
func (k *binder) functions() bool {
	before := len(k.p.Refusals)
	var changes []delta.Change
	want := map[string]bool{}
	for _, ch := range k.w.result.Changed {
		carried := slices.Contains(k.w.carried, ch.After)
		if !carried && isCloneName(ch.After.Name) {
			k.refuse(CodeCloneReplaced, ch.After.Name, "the fix changes this clone, whose interface GCC made up, and more than calls in functions that can be replaced uses it; C text cannot give it that interface",
				"build from the binary")
			continue
		}
		if !carried {
			want[ch.After.Name] = true
		}
		changes = append(changes, ch)
	}
	result, missing := k.w.result.OfPart(k.e, changes, k.ofHeader)
	for _, ch := range missing {
		if want[ch.After.Name] {
			k.refuse(CodeExtractedSet, ch.After.Name, "it has to be replaced, and the extracted file does not define it", "extract it, too")
		}
	}
	for own, name := range k.o.Renamed {
		if !want[name] {
			k.refuse(CodeExtractedSet, name, "the extracted file defines it as "+own+", to replace it, and the fix does not need that", "leave its name as it is")
		}
	}
	for name := range want {
		if !slices.Contains(slicesOf(k.o.Renamed), name) && !slices.ContainsFunc(missing, func(ch delta.Change) bool { return ch.After.Name == name }) {
			k.refuse(CodeExtractedSet, name, "it has to be replaced, and the extracted file defines it under its own name, as a copy", "rename it")
		}
	}
	k.out.result = result
	k.out.carried, k.out.calls = nil, map[*delta.Item]string{}
	for _, it := range k.w.carried {
		if f := k.partOf(it); f != nil {
			k.out.carried = append(k.out.carried, f)
		}
	}
	for it, why := range k.w.calls {
		if f := k.partOf(it); f != nil {
			k.out.calls[f] = why
		}
	}
	return len(k.p.Refusals) == before
}

// ofHeader reports whether a function that the extracted file has out of a
// header, as the unit has it, is the kernel's: both compiles gave it the same
// code, so there is no need of a second one, with an address of its own.
func (k *binder) ofHeader(f *delta.ExtractedFunc) bool {
	name := f.Part.Name
	if f.What != "" || slices.Contains(k.o.Copied, name) || slices.Contains(k.w.carried, f.Whole) {
		return false
	}
	return !slices.ContainsFunc(k.w.result.Changed, func(ch delta.Change) bool { return ch.After == f.Whole })
}

func slicesOf(m map[string]string) (out []string) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// partOf is a function of the unit in the extracted file, or nil.
func (k *binder) partOf(whole *delta.Item) *delta.Item {
	for i := range k.e.Funcs {
		if k.e.Funcs[i].Whole == whole {
			return k.e.Funcs[i].Part
		}
	}
	return nil
}

// kinds refuses what has no place in an extracted file.
func (k *binder) kinds() bool {
	before := len(k.p.Refusals)
	const advice = "extract functions only: declare the rest"
	for _, it := range k.e.Part.Items {
		switch it.Kind {
		case delta.InitCode, delta.InitData, delta.ExitCode:
			k.refuse(CodeInitCode, it.Name, fmt.Sprintf("the extracted file has %s (section %s), which runs at the start or the end only", it.Kind, it.Section.Name), advice)
		case delta.PerCPU:
			k.refuse(CodePerCPUChanged, it.Name, "the extracted file defines a per-CPU variable; that memory is laid out at boot", "declare it")
		case delta.Export:
			k.refuse(CodeExportChanged, it.Name, "the extracted file exports a symbol, as the kernel does already", "leave EXPORT_SYMBOL out")
		case delta.Registration:
			k.refuse(CodeExtractedData, it.Name, fmt.Sprintf("the extracted file has data that the kernel finds by its section (%s), as the unit has", it.Section.Name), advice)
		}
	}
	return len(k.p.Refusals) == before
}

// data ties the data that the extracted file defines to the unit's. State must
// be the kernel's, unless the fix adds it; what has a name must say the same.
func (k *binder) data() bool {
	before := len(k.p.Refusals)
	for _, a := range k.e.Part.Items {
		if a.Kind != delta.State && a.Kind != delta.OnceFlag && a.Kind != delta.Rodata || a.Size == 0 {
			continue
		}
		w := k.e.WholeOf(a)
		switch {
		case a.Kind == delta.Rodata && w == nil: // a constant: its contents are all there is to it
		case w == nil:
			why := k.e.Ambiguous(a)
			if why == "" {
				why = "nothing in the unit's object is that variable"
			}
			k.refuse(CodeStateDuplicated, a.Name, fmt.Sprintf("%s of the extracted code would be a second one beside the kernel's: %s", a.Kind, why),
				"build from the binary, or have the functions that use it copied the way that GCC inlined them")
		case a.Kind == delta.State && !numbered(a) && k.w.result.BeforeOf(w) != nil:
			k.refuse(CodeExtractedData, a.Name, "the extracted file defines this variable of the unit: GCC would take for granted that no other code writes it", "declare it")
		case a.Kind != delta.OnceFlag && k.e.Unlike(a) != "":
			k.refuse(CodeExtractedData, a.Name, fmt.Sprintf("the extracted file defines this %s unlike the unit: %s", a.Kind, k.e.Unlike(a)), "declare it")
		}
	}
	return len(k.p.Refusals) == before
}

// numbered reports whether a data item has a name that the compiler numbered, as
// it does for static locals: C code outside the function cannot name them.
func numbered(it *delta.Item) bool {
	_, yes := delta.Stem(it.Name)
	return yes
}

// identity refuses copies of functions whose address becomes a value: the
// running kernel has that function too, and whoever compares the two addresses
// would take them for different.
func (k *binder) identity() {
	for _, it := range k.out.result.New {
		f := k.e.Func(it.Name)
		if f == nil || k.w.result.BeforeOf(f.Whole) == nil || slices.Contains(k.w.carried, f.Whole) {
			continue
		}
		for _, u := range it.Users {
			taken := false
			eachRef(u, func(r *delta.Ref) { taken = taken || r.Target.Item == it && !r.Branch && r.Add == 0 })
			if taken && u != it {
				k.refuse(CodeExtractedData, it.Name, fmt.Sprintf("the extracted file copies it, and %s uses its address as a value: the kernel has it at another one", u.Name), "declare it")
				break
			}
		}
	}
}

// needs ties the names that the extracted file only declares to the unit's items.
func (k *binder) needs(dump *compiler.Clones) {
	after := k.w.result.After
	for _, n := range k.out.cl.Needs {
		if n.Item != nil {
			continue
		}
		it := after.Defined(n.Extern)
		if it == nil {
			k.outside(n, dump)
			continue
		}
		b := k.w.result.BeforeOf(it)
		switch {
		case it.Kind == delta.InitCode || it.Kind == delta.InitData || it.Kind == delta.ExitCode:
			k.refuse(CodeInitReference, n.Extern, fmt.Sprintf("the extracted code refers to %s, which is freed after start", it.Kind), "patch a function that does not use init code or data")
		case k.w.result.Ambiguous[it] != "":
			k.refuse(CodeAmbiguousStatic, n.Extern, "the extracted code uses it, and whether it is a variable of the running kernel cannot be told: "+k.w.result.Ambiguous[it],
				"give the variables distinct names in the fix")
		case b == nil && it.Kind == delta.Func:
			k.copy(n.Extern, n.Extern+" is new in the fix")
		case b == nil:
			k.refuse(CodeExtractedData, n.Extern, fmt.Sprintf("the extracted file only declares this %s, which the fix adds", it.Kind), "define it in the extracted file")
		case it.Kind == delta.Func && k.oldCode(it):
			k.copy(n.Extern, n.Extern+" changes, and the kernel goes on having the old one under that name")
		default:
			n.Item, n.Before = it, b
		}
	}
}

// outside looks at a name that the unit with the fix does not define. If it uses
// it, the name is another unit's. Else the name may have been the unit's own,
// and gone; the kernel may have something else under it.
func (k *binder) outside(n *closure.Need, dump *compiler.Clones) {
	switch {
	case undefinedIn(k.w.result.Before, n.Extern) || undefinedIn(k.w.result.After, n.Extern) || slices.Contains(k.o.Elsewhere, n.Extern):
	case dump.Names(n.Extern):
		k.copy(n.Extern, n.Extern+noFunction)
	case slices.ContainsFunc(n.Uses, func(u closure.Use) bool { return !u.Branch }):
		k.refuse(CodeExtractedData, n.Extern, "the extracted code uses it, and the unit's object neither has nor uses anything of that name: a variable that GCC did away with there, and the kernel does not have",
			"define it in the extracted file if it is a constant")
	}
}

// noFunction ends a sentence about a function that only GCC's account knows.
const noFunction = " is no function of its own in the kernel: GCC copied it into its callers, or made clones of it"

// undefinedIn reports whether a unit uses a symbol that it does not define. GCC's
// account may have a body of that name all the same: a header's, to be inlined
// only (gnu_inline), of a function that is elsewhere (fortify-string.h).
func undefinedIn(u *delta.Unit, name string) bool {
	return slices.ContainsFunc(u.File.Symbols, func(s *object.Symbol) bool { return s.Name == name && s.IsUndefined() })
}

// oldCode reports whether a function of the unit changes and is not redirected.
func (k *binder) oldCode(it *delta.Item) bool {
	changes := slices.ContainsFunc(k.w.result.Changed, func(ch delta.Change) bool { return ch.After == it })
	return changes && slices.Contains(k.w.carried, it)
}

// fitted looks at the static functions that the extracted code calls where they
// are and that GCC fitted to the calls that it saw (the audit's narrowed). What
// it saw of a function of the unit with the fix is seen from the unit's object:
// a call that is there from the same function, as often, is one of them. A call
// that the unit has only in a copied body, or through a clone, may have been
// gone when GCC looked at the callers.
func (k *binder) fitted(seen *unitAudit) {
	audit := k.auditOf(seen)
	if audit == nil {
		return
	}
	for _, c := range seen.narrowed {
		name := c.Symbol
		if !slices.ContainsFunc(k.out.cl.Needs, func(n *closure.Need) bool { return n.Item != nil && n.Extern == name }) {
			continue
		}
		covered := k.w.covers(name)
		switch {
		case covered == CoveredReplaced: // the kernel redirects it to code that is fitted to nothing
		case k.w.asIs:
			k.copy(name, "GCC fitted "+name+" to the calls that the unit has, and edits are going to make others")
			continue
		case covered != CoveredUnchanged:
			k.copy(name, "GCC fitted "+name+" to the calls that the unit had before the fix")
			continue
		default:
			if caller := k.otherCalls(name); caller != "" {
				k.copy(name, fmt.Sprintf("GCC fitted %s to the calls that it saw in the unit, and %s does not call it there as it does in the extracted file", name, caller))
				continue
			}
		}
		audit.Narrowed = append(audit.Narrowed, Dependent{Function: name, Covered: covered, What: c.What})
	}
	k.out.unit.Audit = audit
}

// auditOf is the audit of the unit as the plan with the binary way has it,
// without what is about the new code's calls; nil if there was none.
func (k *binder) auditOf(seen *unitAudit) *Audit {
	if seen == nil || k.w.unitAudit == nil {
		return nil
	}
	out := *k.w.unitAudit
	out.Narrowed = []Dependent{}
	return &out
}

// otherCalls finds a function that refers to another one in the extracted file
// and not as often in the unit; empty if there is none.
func (k *binder) otherCalls(name string) string {
	target := k.w.result.After.Defined(name)
	for _, it := range k.e.Part.Items {
		if it.Kind != delta.Func || it.Parent != nil {
			continue
		}
		in := 0
		eachRef(it, func(r *delta.Ref) {
			if r.Target.Extern == name {
				in++
			}
		})
		if in == 0 {
			continue
		}
		was := 0
		if f := k.e.Func(it.Name); f != nil {
			eachRef(f.Whole, func(r *delta.Ref) {
				if r.Target.Item == target {
					was++
				}
			})
		}
		if was != in {
			return strings.TrimSuffix(it.Name, ".cold")
		}
	}
	return ""
}
