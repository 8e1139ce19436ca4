// SPDX-License-Identifier: Apache-2.0

package runpre

import (
	"fmt"
	"sort"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// Verdict is the outcome for one function.
type Verdict string

const (
	Equal     Verdict = "equal"     // exactly one running function is this one
	Mismatch  Verdict = "mismatch"  // running functions of that name exist, none is this one
	Missing   Verdict = "missing"   // nothing of that name runs
	Ambiguous Verdict = "ambiguous" // more than one running function could be this one, or it cannot be addressed
)

// Rule names a difference between the two ways of compiling that is understood
// and normalised.
type Rule string

const (
	// RuleBranchWidth: a branch has a displacement of 1 byte on one side and 4
	// on the other. Without -ffunction-sections the assembler knows the distance
	// to another function of the translation unit and shortens the branch; all
	// that follows shifts, so branches within the function may change too.
	RuleBranchWidth Rule = "branch-width"
	// RuleNopLength: padding no-ops of different length at the same place.
	RuleNopLength Rule = "nop-length"
	// RuleResolved (modules): a branch to another function of the translation
	// unit has a relocation in the object and none in the module, since the
	// assembler resolved it.
	RuleResolved Rule = "resolved-branch"
	// RuleOverriddenWeak: behind the function lies the body of a weak function
	// of the translation unit that another object overrides. It is dead and has
	// no name; its code was compared too.
	RuleOverriddenWeak Rule = "overridden-weak"
	// RuleNameless: behind the function lies another one that has no name, as
	// the weak functions of other units that were overridden. It was not compared.
	RuleNameless Rule = "nameless-neighbour"
	// RuleOutline: a jump to nameless code in another section (.altinstr_aux,
	// made by asm goto); that code was compared as part of the function.
	RuleOutline Rule = "outline-code"
	// RuleBTFIDs: a reference into .BTF_ids, whose contents are filled in after
	// linking; its symbols were compared, its contents were not.
	RuleBTFIDs Rule = "btf-ids"
	// RuleOrder: several running functions are equal; the one chosen is the one
	// that lies where the compiler put it among the others of its translation
	// unit.
	RuleOrder Rule = "emission-order"
)

// Rules lists all rules in a fixed order.
var Rules = []Rule{RuleBranchWidth, RuleNopLength, RuleResolved, RuleOverriddenWeak, RuleNameless, RuleOutline, RuleBTFIDs, RuleOrder}

// Symbol is a symbol of what runs.
type Symbol struct {
	Name string
	// Addr is the link-time address in vmlinux (the offset in the per-CPU area
	// for per-CPU symbols); in a module the offset in Section.
	Addr    uint64
	Section string // modules only: the section's name in the .ko
	Global  bool
	// Sympos is what a livepatch has to give as symbol position: 0 for a unique
	// name, else counted from 1. -1 if the position is not stable: see
	// ModuleSympos; that is so for all symbols of a module's init sections.
	Sympos int

	place uint64 // address in the running space
}

// Value is where a symbol of the object really is.
type Value struct {
	// External: a module refers to this name outside itself. Nothing else is
	// set then.
	External string
	// Addr and Section as in Symbol.
	Addr    uint64
	Section string
	// Symbols are all running symbols exactly there, in table order.
	Symbols []Symbol
	// Named is the index in Symbols of the one with the name of the object's
	// symbol, -1 if there is none (section symbols).
	Named int
}

// FuncMatch is the outcome for one function of the object.
type FuncMatch struct {
	Verdict Verdict
	// Symbol is the running function; set if Equal.
	Symbol Symbol
	Size   uint64 // bytes of the running function, without padding after it; set if Equal
	// Why says for all verdicts but Equal what was found.
	Why string
	// Offset is where in the object's function the first difference lies.
	Offset uint64
	// Normalised counts the uses of rules.
	Normalised map[Rule]int
	// Fentry: the running function starts with a call to __fentry__, possibly
	// after endbr64, so that ftrace can redirect it.
	Fentry bool
	// Weak: the object's function is weak; a mismatch then usually means that
	// another object's strong function of the same name is the one that runs.
	Weak bool
}

// UnitMatch is the outcome for functions of one translation unit.
type UnitMatch struct {
	Funcs map[*object.Symbol]*FuncMatch
	// Values has every symbol that the relocations of equal functions name,
	// string and constant pools apart, and every symbol of a section whose
	// address followed from them if what runs has its name there.
	Values map[*object.Symbol]Value
}

// Functions lists the functions that an object defines: STT_FUNC symbols with
// a size in executable sections, in table order.
func Functions(f *object.File) []*object.Symbol {
	var out []*object.Symbol
	for _, s := range f.Symbols {
		if isFunction(s) {
			out = append(out, s)
		}
	}
	return out
}

func isFunction(s *object.Symbol) bool {
	return s != nil && s.IsFunc() && s.Section != nil && s.Section.IsExec() && s.Size > 0 && s.Name != ""
}

// inBounds reports whether the function lies within its section's contents.
func inBounds(fn *object.Symbol) bool {
	n := uint64(len(fn.Section.Data))
	return fn.Value <= n && fn.Size <= n-fn.Value
}

// VmlinuxUnit compares functions of the object f of a built-in translation unit
// with the kernel image. funcs nil stands for Functions(f). The error is about
// the request or a damaged object; differences are verdicts.
func VmlinuxUnit(img *kernel.Image, f *object.File, funcs []*object.Symbol) (*UnitMatch, error) {
	return matchUnit(&vmlinux{mem: img, syms: img.Symbols()}, f, funcs)
}

// ModuleUnit compares functions of the object f of a translation unit with the
// module ko, as shipped, that it is part of. funcs nil stands for Functions(f).
func ModuleUnit(ko, f *object.File, funcs []*object.Symbol) (*UnitMatch, error) {
	m, err := newModule(ko)
	if err != nil {
		return nil, err
	}
	return matchUnit(m, f, funcs)
}

// running is what runs, as one space of addresses.
type running interface {
	// functions lists the running functions of that name and binding.
	functions(name string, global bool) []Symbol
	// room is the number of bytes from a function to the next symbol.
	room(s Symbol) uint64
	// code returns at most n bytes of code at addr.
	code(addr uint64, n int) []byte
	// data returns the n bytes of contents at addr.
	data(addr uint64, n int) ([]byte, error)
	// readsTo decodes what a field of the running bytes that a relocation of
	// type t modifies stands for: symbol plus addend.
	readsTo(addr uint64, field []byte, t uint32) (target, error)
	// relocated is the number of relocations that modify [from, to); a linked
	// image has none.
	relocated(from, to uint64) int
	// has reports whether a symbol of that name is at addr; global: whether a
	// global one is.
	has(name string, global bool, addr uint64) bool
	// defines reports whether there is any symbol of that name.
	defines(name string) bool
	// at lists the symbols at addr.
	at(addr uint64) []Symbol
	// linked: references are final; otherwise some are relocations.
	linked() bool
	// locate splits a running address into section name ("" for vmlinux) and
	// address.
	locate(addr uint64) (section string, off uint64)
}

// target is what a reference in running code leads to: an address, or for
// modules an undefined symbol (name not empty) plus an addend.
type target struct {
	name string
	addr uint64
}

// attempt is one function of the object compared with one running function.
type attempt struct {
	fn     *object.Symbol
	cand   Symbol
	err    *difference // nil: equal
	end    uint64      // running address after the last instruction
	rules  map[Rule]int
	bases  map[*object.Section]observation // where sections must be
	values map[*object.Symbol]target       // where symbols must be
	fentry bool
	starts []start                  // instructions, in ascending order
	outer  map[sectionOffset]uint64 // nameless code that was compared, and where
	inner  []interior               // references into other functions
}

// interior is a reference to an instruction within a function, such as the
// jump back from a cold part. Offsets within functions shift with branch
// widths, so it says nothing before that function is compared.
type interior struct {
	fn   *object.Symbol
	off  int    // in fn
	dest uint64 // running address
	at   uint64 // offset of the reference, for messages
}

// observation is a section address that followed from the relocation at offset
// at of the function.
type observation struct {
	base uint64
	at   uint64
}

// difference is the first place where two functions differ.
type difference struct {
	off uint64
	why string
}

// unit is the work on one object.
type unit struct {
	run      running
	f        *object.File
	members  map[*object.Section][]*object.Symbol // named symbols by section, by value
	checked  map[sectionAt]*sectionCheck
	weak     []*object.Symbol
	attempts map[*object.Symbol][]*attempt
	order    []*object.Symbol
	result   *UnitMatch
}

type sectionAt struct {
	sec  *object.Section
	base uint64
}

type sectionOffset struct {
	sec *object.Section
	off uint64
}

// sectionCheck is the answer to whether a section can be at an address, and
// what follows from the references in it.
type sectionCheck struct {
	err   error
	rule  Rule // a rule that was used, or ""
	bases map[*object.Section]observation
	inner []interior
}

func matchUnit(run running, f *object.File, funcs []*object.Symbol) (*UnitMatch, error) {
	if funcs == nil {
		funcs = Functions(f)
	}
	u := newUnit(run, f)
	for _, fn := range funcs {
		if !isFunction(fn) {
			return nil, fmt.Errorf("match %q: not a function that the object defines", symbolName(fn))
		}
		if !inBounds(fn) {
			return nil, fmt.Errorf("match %q: %d bytes at %#x lie outside section %q: the object is damaged", fn.Name, fn.Size, fn.Value, fn.Section.Name)
		}
		if _, dup := u.attempts[fn]; dup {
			continue
		}
		u.try(fn)
	}
	// The rest of the translation unit tells where its statics and functions are.
	for _, fn := range Functions(f) {
		if _, done := u.attempts[fn]; !done && inBounds(fn) {
			u.try(fn)
		}
	}
	u.settle(funcs)
	return u.result, nil
}

func symbolName(s *object.Symbol) string {
	if s == nil {
		return ""
	}
	return s.Name
}

func newUnit(run running, f *object.File) *unit {
	u := &unit{
		run: run, f: f,
		members:  map[*object.Section][]*object.Symbol{},
		checked:  map[sectionAt]*sectionCheck{},
		attempts: map[*object.Symbol][]*attempt{},
		result:   &UnitMatch{Funcs: map[*object.Symbol]*FuncMatch{}, Values: map[*object.Symbol]Value{}},
	}
	for _, s := range f.Symbols {
		if s.Section != nil && !s.IsSection() && s.Name != "" {
			u.members[s.Section] = append(u.members[s.Section], s)
		}
	}
	for _, fn := range Functions(f) {
		if fn.Bind == bindWeak && inBounds(fn) {
			u.weak = append(u.weak, fn)
		}
	}
	for _, m := range u.members {
		sort.SliceStable(m, func(i, j int) bool { return m[i].Value < m[j].Value })
	}
	return u
}

// try compares fn with every running function of its name.
func (u *unit) try(fn *object.Symbol) {
	u.order = append(u.order, fn)
	u.attempts[fn] = []*attempt{}
	for _, c := range u.run.functions(fn.Name, !fn.IsLocal()) {
		a := newAttempt(fn, c)
		if fn.Bind != bindWeak {
			a.bases[fn.Section] = observation{base: c.place - fn.Value}
		}
		a.err = u.compare(a)
		u.attempts[fn] = append(u.attempts[fn], a)
	}
}

func newAttempt(fn *object.Symbol, cand Symbol) *attempt {
	return &attempt{
		fn: fn, cand: cand, rules: map[Rule]int{},
		bases: map[*object.Section]observation{}, values: map[*object.Symbol]target{},
	}
}
