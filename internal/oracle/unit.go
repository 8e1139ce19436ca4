// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/delta"
	"kmend/internal/impact"
	"kmend/internal/object"
)

// Options say how a unit is opened.
type Options struct {
	Flags    []string // of a level, behind the options of the unit's own build
	FactsOff bool     // Flags switch off the use of facts about other functions already
	Jobs     int      // functions worked on at a time; 0: 2
	// Disassemble adds the instructions that differ to each miss and narrowing.
	Disassemble bool
	// Functions are names that the source is known to define although the unit,
	// as compiled here, may have no trace of them.
	Functions []string
}

// Unit is one translation unit that can be asked who depends on what. It is
// safe for concurrent use.
type Unit struct {
	Source string // name of the C file, for messages and to tell its own functions from those of headers
	Impact *impact.Unit
	opt    Options
	cc     Compiler
	base   *delta.Unit
	clones []byte
}

// Open compiles a unit as it is.
func Open(ctx context.Context, cc Compiler, source string, opt Options) (*Unit, error) {
	if opt.Jobs <= 0 {
		opt.Jobs = 2
	}
	u := &Unit{Source: source, opt: opt, cc: cc}
	obj, file, err := u.compile(ctx, variant{})
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", source, err)
	}
	if u.base, err = delta.NewUnit(file); err != nil {
		return nil, fmt.Errorf("audit %s: %w", source, err)
	}
	if u.Impact, err = impact.NewUnit(obj.Clones, file); err != nil {
		return nil, fmt.Errorf("audit %s: %w", source, err)
	}
	u.clones = obj.Clones
	return u, nil
}

// variant is one way to compile the unit.
type variant struct {
	tail  string   // behind the end of the source
	flags []string // behind those of the level
}

func (v variant) key() string { return v.tail + "\x00" + strings.Join(v.flags, "\x00") }

// compile makes and reads the object of a variant.
func (u *Unit) compile(ctx context.Context, v variant) (*Object, *object.File, error) {
	// -w: a redeclaration may draw a warning, which kbuild may make an error.
	flags := slices.Concat(u.opt.Flags, v.flags, []string{"-w"})
	obj, err := u.cc.Compile(ctx, v.tail, flags)
	if err != nil {
		return nil, nil, err
	}
	file, err := object.Read(obj.ELF)
	if err != nil {
		return nil, nil, fmt.Errorf("read the object: %w", err)
	}
	return obj, file, nil
}

// cut compiles a variant and cuts its object into items. Clones get the numbers
// that they have in like, if that is not nil.
func (u *Unit) cut(ctx context.Context, v variant, like *delta.Unit) (*delta.Unit, error) {
	if v.tail == "" && len(v.flags) == 0 && like == nil {
		return u.base, nil
	}
	_, file, err := u.compile(ctx, v)
	if err != nil {
		return nil, err
	}
	if like != nil {
		renumber(like.File, file)
	}
	d, err := delta.NewUnit(file)
	if err != nil {
		return nil, fmt.Errorf("read the object: %w", err)
	}
	return d, nil
}

// difference is what compiling a unit in two ways made different.
type difference struct {
	result  *delta.Result
	changed map[*delta.Item]delta.Change // by item before
}

// compare compiles two variants and compares them item by item.
func (u *Unit) compare(ctx context.Context, before, after variant) (*difference, error) {
	b, err := u.cut(ctx, before, nil)
	if err != nil {
		return nil, err
	}
	a, err := u.cut(ctx, after, b)
	if err != nil {
		return nil, err
	}
	d := &difference{result: delta.Compare(b, a), changed: map[*delta.Item]delta.Change{}}
	for _, c := range d.result.Changed {
		d.changed[c.Before] = c
	}
	return d, nil
}

// state is how a function fares between two compiles.
type state uint8

const (
	same     state = iota // its code is equal
	changed               // its code differs
	gone                  // only the first compile has it
	appeared              // only the second has it
	absent                // neither has it
)

// of is the state of the function of a symbol name.
func (d *difference) of(symbol string) state {
	b, a := code(d.result.Before, symbol), code(d.result.After, symbol)
	switch {
	case b == nil && a == nil:
		return absent
	case b == nil:
		return appeared
	case a == nil:
		return gone
	}
	if _, ok := d.changed[b]; ok || d.result.BeforeOf(a) != b {
		return changed
	}
	return same
}

// code is the function item of a name, or nil.
func code(u *delta.Unit, symbol string) *delta.Item {
	if it := u.Item(symbol); it != nil && it.Kind == delta.Func {
		return it
	}
	return nil
}

// Change is a function whose code differs when another's body is hidden.
type Change struct {
	Symbol string `json:"symbol"`
	Gone   bool   `json:"gone,omitempty"` // it is no function of its own then
	What   string `json:"what"`           // first difference, in words
}

// changes lists what differs, without the items that skip picks, by symbol.
func (d *difference) changes(skip func(*delta.Item) bool) []Change {
	var out []Change
	for _, c := range d.result.Changed {
		if !skip(c.Before) {
			out = append(out, Change{Symbol: c.Before.Name, What: fmt.Sprintf("%s+%#x: %s", c.Where.Name, c.Offset, c.What)})
		}
	}
	for _, it := range d.result.Removed {
		if !skip(it) {
			out = append(out, Change{Symbol: it.Name, Gone: true, What: "it is no function of its own any more"})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Symbol, b.Symbol) })
	return out
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// redeclare is the text that gives functions an attribute at the end of a
// source. typeof keeps the type, and extern the linkage that was declared
// before (C11 6.2.2p4); GCC 11 and 12 take the attribute after the definition.
// Attributes are named with underscores: the kernel has a macro noinline.
func redeclare(attribute string, names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "\n#undef %s\nextern __typeof__(%s) %s", n, n, n)
		if attribute != "" {
			fmt.Fprintf(&b, " __attribute__((%s))", attribute)
		}
		b.WriteByte(';')
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// NotHiddenError says why a body cannot be hidden.
type NotHiddenError struct {
	Name         string
	AlwaysInline bool // GCC copies it into every user by definition, and its dump names them all
	Why          string
}

func (e *NotHiddenError) Error() string { return fmt.Sprintf("hide the body of %s: %s", e.Name, e.Why) }

// hidden is the variant of the unit in which the bodies are opaque.
func hidden(flags []string, names ...string) variant {
	return variant{tail: redeclare("__noipa__", names...), flags: flags}
}

// notHidden turns a compiler's refusal into the reason that people know.
func notHidden(name string, err error) error {
	var refused *RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	e := &NotHiddenError{Name: name, Why: firstError(refused.Log)}
	// gcc/ipa-inline.c, tree-inline.c: expand_call_inline
	if strings.Contains(plainQuotes(refused.Log), "inlining failed in call to 'always_inline' '"+name+"'") {
		e.AlwaysInline, e.Why = true, "it is always_inline: every function that has it is in GCC's account by definition"
	}
	return e
}

func plainQuotes(s string) string { return strings.NewReplacer("‘", "'", "’", "'").Replace(s) }

func firstError(log string) string {
	for line := range strings.Lines(log) {
		if _, text, ok := strings.Cut(line, "error: "); ok {
			return "the compiler refuses it: " + strings.TrimSpace(text)
		}
	}
	return "the compiler refuses it"
}

// Hide compiles the unit with the bodies of functions hidden and returns whose
// code changed: not the functions themselves, their clones and cold parts. The
// error is a *NotHiddenError if GCC does not let one be hidden.
func (u *Unit) Hide(ctx context.Context, names ...string) ([]Change, error) {
	for _, n := range names {
		if !identifier.MatchString(n) {
			return nil, &NotHiddenError{Name: n, Why: "it is no name of the source"}
		}
	}
	d, err := u.compare(ctx, variant{}, hidden(nil, names...))
	if err != nil {
		return nil, notHidden(strings.Join(names, ", "), err)
	}
	return append(d.changes(func(it *delta.Item) bool { return u.own(it, names) }), d.unfolded(names)...), nil
}

// unfolded lists the functions that share the code of a hidden one since GCC
// folded equal bodies (-fipa-icf), and have code of their own when it is hidden.
func (d *difference) unfolded(names []string) []Change {
	var out []Change
	for _, n := range names {
		b, a := code(d.result.Before, n), code(d.result.After, n)
		if b == nil || a == nil {
			continue
		}
		for _, s := range b.Symbols {
			if own := code(d.result.After, s.Name); s.IsFunc() && own != nil && own != a {
				out = append(out, Change{Symbol: s.Name, What: "it shares the code of " + n + ", and has its own when that is hidden"})
			}
		}
	}
	return out
}

// own reports whether an item is code of one of the functions: a body of it
// under any of its names, a clone, a cold part.
func (u *Unit) own(it *delta.Item, names []string) bool {
	for _, s := range it.Symbols {
		if slices.Contains(names, delta.Source(s.Name)) {
			return true
		}
	}
	return slices.Contains(names, delta.Source(it.Name))
}

// Functions lists the functions that the unit's own C file defines, as far as
// they are in its object or their bodies were copied, by name; and how many
// more there are that run at the start or the end only.
func (u *Unit) Functions() (names []string, init int) {
	local := u.definedHere()
	for i := range u.Impact.Funcs {
		f := &u.Impact.Funcs[i]
		name := delta.Source(f.Name)
		if f.Init && identifier.MatchString(f.Name) {
			init++
		}
		if where, known := local[name]; known && !where || f.Init {
			local[name] = false
			continue
		}
		local[name] = true
	}
	for n, here := range local {
		if here && identifier.MatchString(n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, init
}

// definedHere tells for each function that the dump names as copied whether
// this C file defines it (field 3 of a node is the file, gcc/cgraph.cc).
func (u *Unit) definedHere() map[string]bool {
	out := map[string]bool{}
	for line := range bytes.Lines(u.clones) {
		fields := strings.Split(strings.TrimSpace(string(line)), ";")
		if len(fields) < 6 {
			continue
		}
		for _, node := range [][]string{fields[1:6], fields[min(6, len(fields)-5):]} {
			name := delta.Source(node[0])
			out[name] = out[name] || node[2] == u.Source || strings.HasSuffix(node[2], "/"+u.Source)
		}
	}
	return out
}
