// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/oracle"
)

// asTheyAre is compileAll for a request of functions instead of patches: each
// unit stands for itself before and after, and what has to be replaced along
// with the functions asked for is what depends on their bodies, since those are
// going to change.
func asTheyAre(ctx context.Context, p *Plan, q *Request) ([]*work, error) {
	tree, err := kbuild.Open(q.Kernel)
	if err != nil {
		return nil, err
	}
	f := &functionFinder{p: p, q: q, tree: tree}
	var found []*foundUnit
	err = q.stage(p, "commands", func() error {
		found, err = f.units(ctx)
		return err
	})
	if err != nil || len(p.Refusals) > 0 {
		return nil, err
	}
	observe := auditGate(p, q)
	var works []*work
	err = q.stage(p, "compile", func() error {
		for _, u := range found {
			some, err := f.works(ctx, u, observe)
			if err != nil {
				return err
			}
			works = append(works, some...)
		}
		return nil
	})
	return works, err
}

// foundUnit is a unit with the functions of it that were asked for.
type foundUnit struct {
	source  string
	command *kbuild.Command
	specs   []FunctionSpec
}

// works compiles a unit and marks what is to be replaced as changed.
func (f *functionFinder) works(ctx context.Context, u *foundUnit, observe bool) ([]*work, error) {
	if onPatchingPath(u.source) {
		f.p.refuse(Refusal{Code: CodePatchingPath, File: u.source, Why: "the kernel runs this code while it applies a live patch", Advice: "reboot into a fixed kernel"})
		return nil, nil
	}
	res, err := f.tree.Compile(ctx, kbuild.Job{Command: u.command})
	if err != nil {
		return nil, err
	}
	before, err := readUnit(res.Object)
	if err != nil {
		return nil, fmt.Errorf("read the object of %s: %w", u.source, err)
	}
	after, err := readUnit(res.Object)
	if err != nil {
		return nil, fmt.Errorf("read the object of %s: %w", u.source, err)
	}
	cc, err := oracle.KernelUnit(f.tree, f.q.Kernel.SourceDir, u.command)
	if err != nil {
		return nil, err
	}
	unit, err := oracle.Open(ctx, cc, u.source, oracle.Options{})
	if err != nil {
		return nil, err
	}
	asked, d, err := f.dependents(ctx, u, unit, before, res, observe)
	if err != nil || len(f.p.Refusals) > 0 {
		return nil, err
	}
	result := delta.Compare(before, after)
	for _, n := range d.names {
		if b := before.Item(n); b != nil && b.Kind == delta.Func && b.Parent == nil {
			result.Changed = append(result.Changed, delta.Change{Before: b, After: result.AfterOf(b), Where: b, What: d.why[n]})
		}
	}
	f.explain(u, asked, before, result)
	clones := [2]*compiler.Clones{unit.Impact.Clones, unit.Impact.Clones}
	objects := u.command.Modules
	if len(objects) == 0 {
		objects = []string{Vmlinux}
	}
	var out []*work
	for _, o := range objects {
		w := &work{source: u.source, object: o, command: u.command, unitOf: &compiled{source: u.source, command: u.command, before: res, after: res},
			result: result, clones: clones, asIs: true, bodyNames: d.names}
		w.unit.Edited = asked
		out = append(out, w)
	}
	return out, nil
}

// dependents finds the functions asked for in their unit, and who depends on them.
func (f *functionFinder) dependents(ctx context.Context, u *foundUnit, unit *oracle.Unit, before *delta.Unit, res *kbuild.Result, observe bool) (asked []string, d *dependents, err error) {
	for _, spec := range u.specs {
		name, err := f.function(ctx, u, spec, before, res, unit.Impact.Functions())
		if err != nil {
			return nil, nil, err
		}
		if !slices.Contains(asked, name) {
			asked = append(asked, name)
		}
	}
	if len(f.p.Refusals) > 0 {
		return nil, nil, nil
	}
	d = &dependents{unit: unit, why: map[string]string{}}
	for _, n := range asked {
		d.add(n, "it was asked for")
	}
	err = d.grow(ctx, observe)
	var not *oracle.NotHiddenError
	if errors.As(err, &not) {
		f.p.refuse(Refusal{Code: CodeNotCovered, File: u.source, Symbol: not.Name, Why: "which functions depend on its body could not be observed: " + not.Why, Advice: "review who depends on it, then use --no-audit"})
		return nil, nil, nil
	}
	return asked, d, err
}

// explain says of functions that are no symbol what is replaced in their place.
func (f *functionFinder) explain(u *foundUnit, asked []string, before *delta.Unit, result *delta.Result) {
	for _, n := range asked {
		if it := before.Item(n); it != nil && it.Kind == delta.Func {
			continue
		}
		var hosts []string
		for _, ch := range result.Changed {
			hosts = append(hosts, ch.Before.Name)
		}
		if len(hosts) == 0 {
			f.p.refuse(Refusal{Code: CodeNoFunction, File: u.source, Symbol: n, Why: "it is no function of its own in the kernel, and no function that could be replaced has its body", Advice: "there is nothing to patch"})
			continue
		}
		f.p.warn("no-symbol", fmt.Sprintf("%s: %s is no function of its own in the kernel (GCC copied it, or made clones of it): what depends on its body is replaced: %s", u.source, n, strings.Join(hosts, ", ")))
	}
}

// dependents are functions whose bodies may change, and all that depend on one.
type dependents struct {
	unit  *oracle.Unit
	names []string          // of the source, in the order found
	why   map[string]string // what showed it, for people
}

func (d *dependents) add(name, why string) bool {
	if _, have := d.why[name]; have {
		return false
	}
	d.names = append(d.names, name)
	d.why[name] = why
	return true
}

// grow adds whose code differs when the bodies are hidden, until nothing is
// added: what depends on a body that depends on one asked for must be replaced
// with that. Without observing, it goes by GCC's account of copied bodies.
func (d *dependents) grow(ctx context.Context, observe bool) error {
	for more := true; more; {
		more = false
		var changes []oracle.Change
		var err error
		if observe {
			changes, err = d.hide(ctx)
		} else {
			for _, n := range d.names {
				changes = append(changes, d.account(n)...)
			}
		}
		if err != nil {
			return err
		}
		for _, c := range changes {
			more = d.add(delta.Source(c.Symbol), c.What) || more
		}
	}
	return nil
}

// hide hides all bodies at once, or one after the other if GCC does not let one
// be hidden. Those that it copies by definition are all in its account.
func (d *dependents) hide(ctx context.Context) ([]oracle.Change, error) {
	changes, err := d.unit.Hide(ctx, d.names...)
	var not *oracle.NotHiddenError
	if !errors.As(err, &not) {
		return changes, err
	}
	var out []oracle.Change
	for _, n := range d.names {
		changes, err := d.unit.Hide(ctx, n)
		switch {
		case errors.As(err, &not) && not.AlwaysInline:
			changes = d.account(n)
		case err != nil:
			return nil, err
		}
		out = append(out, changes...)
	}
	return out, nil
}

// account lists the functions that have a copy of a body by GCC's account.
func (d *dependents) account(name string) (out []oracle.Change) {
	impacted, err := d.unit.Impact.Impacted(name)
	if err != nil { // no function that the account knows
		return nil
	}
	for _, i := range impacted {
		out = append(out, oracle.Change{Symbol: i.Symbol, What: "GCC copied " + name + " into it"})
	}
	return out
}
