// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The kernel's own names (Documentation/ABI/testing/sysfs-kernel-livepatch).
const livepatchSysfs = "/sys/kernel/livepatch/"

// modulesFirst is the usual order: the modules run, then the livepatch comes.
func (p *proof) modulesFirst(ctx context.Context) error {
	phase := "look at the kernel before"
	if len(p.report.Targets) > 0 {
		phase = "load the modules without the livepatch"
	}
	if err := p.step(ctx, phase, func() error { return p.baseline(ctx) }); err != nil {
		return err
	}
	if err := p.check(ctx, "check before", false); err != nil {
		return err
	}
	if err := p.enable(ctx, "load the livepatch"); err != nil {
		return err
	}
	if err := p.step(ctx, "read back what is patched", func() error { return p.verify(ctx, false) }); err != nil {
		return err
	}
	if err := p.check(ctx, "check while patched", true); err != nil {
		return err
	}
	if err := p.disable(ctx, "disable the livepatch"); err != nil {
		return err
	}
	if err := p.check(ctx, "check after", false); err != nil {
		return err
	}
	return p.step(ctx, "unload the livepatch", func() error { return p.unloadLivepatch(ctx) })
}

// livepatchFirst is the other order: modules that come while the livepatch is
// there are patched on the way in (klp_module_coming). 6.1 can do that once for
// each module under one loaded livepatch: relocations that were applied are not
// cleared when the module goes, and applying them again is refused.
func (p *proof) livepatchFirst(ctx context.Context) error {
	if err := p.enable(ctx, "load the livepatch first"); err != nil {
		return err
	}
	if err := p.step(ctx, "load the modules under the livepatch", func() error { return p.loadUnder(ctx) }); err != nil {
		return err
	}
	if err := p.step(ctx, "read back what is patched now", func() error { return p.verify(ctx, true) }); err != nil {
		return err
	}
	p.judgeTargets()
	if !slices.ContainsFunc(p.report.Targets, func(t Target) bool { return !t.Needed && t.Coming != loaded }) {
		if err := p.check(ctx, "check with the livepatch first", true); err != nil {
			return err
		}
	}
	if err := p.disable(ctx, "disable the livepatch again"); err != nil {
		return err
	}
	return p.step(ctx, "unload the livepatch again", func() error { return p.unloadLivepatch(ctx) })
}

// loaded is what a Target says of a module that loads; else it is the error.
const loaded = "loaded"

// load loads a module; a kernel that refuses it is a result. The error is nil
// then.
func (p *proof) load(ctx context.Context, name string) (outcome string, err error) {
	err = p.guest.Load(ctx, name, "")
	var op *OpError
	switch {
	case err == nil || errors.Is(err, syscall.EEXIST):
		return loaded, nil
	case errors.As(err, &op) && op.Errno != 0:
		return op.Errno.Error(), nil
	}
	return "", err
}

// baseline loads the modules without the livepatch, unloads them, and loads
// them again: what the kernel logs here does not count against the livepatch,
// and what cannot be unloaded here never can.
func (p *proof) baseline(ctx context.Context) error {
	for i := range p.report.Targets {
		t := &p.report.Targets[i]
		outcome, err := p.load(ctx, t.Name)
		if err != nil {
			return err
		}
		t.Baseline = outcome
	}
	if err := p.unloadModules(ctx); err != nil {
		return err
	}
	for i := range p.report.Targets {
		t := &p.report.Targets[i]
		if t.Baseline != loaded {
			continue
		}
		outcome, err := p.load(ctx, t.Name)
		if err != nil {
			return err
		}
		if outcome != loaded {
			return &OpError{Text: fmt.Sprintf("the module %s, without the livepatch, loads once but not again: %s", t.Name, outcome)}
		}
	}
	return nil
}

// unloadModules unloads what can be unloaded, dependants first.
func (p *proof) unloadModules(ctx context.Context) error {
	for i := len(p.report.Targets) - 1; i >= 0; i-- {
		t := &p.report.Targets[i]
		if t.Baseline != loaded || t.Fixed {
			continue
		}
		err := p.guest.Unload(ctx, t.Name, 500*time.Millisecond)
		var op *OpError
		switch {
		case err == nil:
		case errors.As(err, &op) && op.Errno != 0:
			t.Fixed = true
		default:
			return err
		}
	}
	return nil
}

// enable loads the livepatch and waits until all threads run the new code.
func (p *proof) enable(ctx context.Context, phase string) error {
	return p.step(ctx, phase, func() error {
		name := p.report.Livepatch
		if !p.touched { // modules and the check may have tainted the kernel by now
			flags, err := p.taint(ctx)
			if err != nil {
				return err
			}
			p.report.Taint.Before = taintNames(flags | p.taintBits(p.report.Taint.Before))
		}
		p.touched = true
		err := p.guest.Load(ctx, name, "")
		var op *OpError
		if errors.As(err, &op) {
			p.report.fail(CodeLoad, phase, "the kernel refuses the livepatch %s: %s", name, op.Text)
			return errStop
		}
		if err != nil {
			return err
		}
		// A module that loads and registers no livepatch must not look like
		// one whose transition is over.
		if b, err := p.guest.ReadFile(ctx, livepatchSysfs+name+"/enabled"); err != nil || strings.TrimSpace(string(b)) != "1" {
			if errors.As(err, &op) || err == nil {
				p.report.fail(CodeNotEnabled, phase, "%s is loaded, and %s%s/enabled is not 1", name, livepatchSysfs, name)
				return errStop
			}
			return err
		}
		return p.transition(ctx, true)
	})
}

func (p *proof) disable(ctx context.Context, phase string) error {
	return p.step(ctx, phase, func() error {
		err := p.guest.WriteFile(ctx, livepatchSysfs+p.report.Livepatch+"/enabled", []byte("0"), 0)
		var op *OpError
		if errors.As(err, &op) {
			p.report.fail(CodeDisable, phase, "the livepatch cannot be disabled: %s", op.Text)
			return errStop
		}
		if err != nil {
			return err
		}
		return p.transition(ctx, false)
	})
}

// transition waits for the end of a transition. When it takes long, the kernel
// is asked to say in its log why.
func (p *proof) transition(ctx context.Context, patching bool) error {
	const soon = 4 * time.Second
	began := time.Now()
	name := p.report.Livepatch
	done, blockers, err := p.guest.WaitTransition(ctx, name, min(soon, p.cfg.TransitionTimeout))
	if err == nil && !done {
		// Not every kernel has it, and it is only for the log.
		err = p.guest.WriteFile(ctx, "/sys/kernel/debug/dynamic_debug/control", []byte("file kernel/livepatch/transition.c +p"), 0)
		if op := new(OpError); err == nil || errors.As(err, &op) {
			done, blockers, err = p.guest.WaitTransition(ctx, name, max(p.cfg.TransitionTimeout-soon, 0))
		}
	}
	if err != nil {
		return err
	}
	t := Transition{Phase: p.phase, Patching: patching, Done: done, MS: ms(time.Since(began)), Blockers: blockers}
	p.report.Transitions = append(p.report.Transitions, t)
	if !done {
		who := make([]string, 0, len(blockers))
		for _, b := range blockers[:min(len(blockers), 5)] {
			who = append(who, fmt.Sprintf("%s (%d)", b.Comm, b.TID))
		}
		p.report.fail(CodeTransition, p.phase, "the transition is not over after %v; %d threads did not switch: %s",
			time.Since(began).Round(time.Second), len(blockers), strings.Join(who, ", "))
		return errStop
	}
	return nil
}

// check runs the check command, where there is one.
func (p *proof) check(ctx context.Context, phase string, patched bool) error {
	if p.cfg.Check == "" {
		return nil
	}
	return p.step(ctx, phase, func() error {
		res, err := p.guest.Shell(ctx, p.cfg.CheckTimeout, p.cfg.Check)
		if err != nil {
			return err
		}
		c := Check{Phase: phase, Patched: patched, Exit: res.Exit, TimedOut: res.TimedOut, Output: res.Output, Cut: res.Cut, MS: ms(res.Elapsed)}
		p.report.Checks = append(p.report.Checks, c)
		switch {
		case patched && c.Exit != 0:
			p.report.fail(CodeCheck, phase, "the check %s while the livepatch is in effect%s", c.ended(), lastLine(c.Output))
		case patched:
		case p.before == nil:
			p.before = &c
			if c.Exit == 0 {
				p.report.warn("the check succeeds without the livepatch, too: it cannot tell fixed from unfixed")
			}
		case c.Exit != p.before.Exit:
			p.report.fail(CodeNotRestored, phase, "the check %s before the livepatch and %s after it was disabled%s", p.before.ended(), c.ended(), lastLine(c.Output))
		}
		return nil
	})
}

func (c *Check) ended() string {
	if c.TimedOut {
		return "does not end in time"
	}
	return "ends with " + strconv.Itoa(c.Exit)
}

func lastLine(output string) string {
	output = strings.TrimSpace(output)
	if output == "" {
		return ""
	}
	line := output[strings.LastIndexByte(output, '\n')+1:]
	return fmt.Sprintf("; it says: %.200s", line)
}

func (p *proof) unloadLivepatch(ctx context.Context) error {
	name := p.report.Livepatch
	err := p.guest.Unload(ctx, name, 5*time.Second)
	var op *OpError
	refused := errors.As(err, &op)
	switch {
	case err != nil && !refused:
		return err
	case p.cfg.Pinned && err == nil:
		p.report.fail(CodeNotPinned, p.phase, "%s was unloaded, and must not be: code or data of it stay in use", name)
	case p.cfg.Pinned && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EAGAIN):
		p.report.fail(CodeNotPinned, p.phase, "unloading %s fails, but not since it is in use: %s", name, op.Text)
	case !p.cfg.Pinned && err != nil:
		p.report.fail(CodeUnload, p.phase, "the livepatch is disabled and cannot be unloaded: %s", op.Text)
		return errStop
	}
	return nil
}

// loadUnder loads the modules while the livepatch is enabled.
func (p *proof) loadUnder(ctx context.Context) error {
	for i := range p.report.Targets {
		t := &p.report.Targets[i]
		outcome, err := p.load(ctx, t.Name)
		if err != nil {
			return err
		}
		t.Coming = outcome
	}
	if err := p.readLog(ctx); err != nil {
		return err
	}
	for i := range p.report.Targets {
		t := &p.report.Targets[i]
		words := fmt.Sprintf("livepatch: applying patch '%s' to loading module '%s'", p.report.Livepatch, t.Name)
		t.Applied = slices.ContainsFunc(p.log, func(r loggedRecord) bool {
			return r.Kernel() && r.boot == p.boot && r.Text == words
		})
	}
	return nil
}

// judgeTargets compares the two orders of loading.
func (p *proof) judgeTargets() {
	for _, t := range p.report.Targets {
		switch {
		case t.Coming != t.Baseline:
			p.report.fail(CodeTargetRefused, p.phase, "the module %s: %s without the livepatch, %s with it", t.Name, t.Baseline, t.Coming)
		case t.Needed:
		case t.Coming != loaded && t.Applied:
			p.report.warn("the module %s does not start in this machine (%s): its functions were patched while it loaded, and did not run", t.Name, t.Baseline)
		case !t.Applied && t.First && t.Fixed:
			p.report.warn("the module %s cannot be unloaded and was there already: it was patched only after it was loaded", t.Name)
		case !t.Applied:
			p.report.fail(CodeTargetUnseen, p.phase, "the module %s (%s) was not patched while it loaded: nothing is known of its functions in this order", t.Name, t.Coming)
		}
	}
}

// verify reads back from sysfs which objects are patched and which functions
// the livepatch has.
func (p *proof) verify(ctx context.Context, coming bool) error {
	dir := livepatchSysfs + p.report.Livepatch
	names, err := p.guest.List(ctx, dir)
	if err != nil {
		return err
	}
	handled, err := p.handled(ctx)
	if err != nil {
		return err
	}
	found := map[FunctionID]bool{}
	for _, object := range names {
		switch object {
		case "enabled", "force", "transition", "replace", "stack_order":
			continue
		}
		if err := p.verifyObject(ctx, object, coming, found, handled); err != nil {
			return err
		}
	}
	p.compareFunctions(found)
	p.report.Functions = p.sortedFunctions()
	for _, f := range p.report.Functions {
		if f.Patched && !f.Handler && handled != nil && !coming {
			p.report.warn("ftrace lists no livepatch handler for %s of %s under that name", f.Name, f.Object)
		}
	}
	return nil
}

func (p *proof) verifyObject(ctx context.Context, object string, coming bool, found map[FunctionID]bool, handled map[string]bool) error {
	dir := livepatchSysfs + p.report.Livepatch + "/" + object
	state, err := p.guest.ReadFile(ctx, dir+"/patched")
	if err != nil {
		return err
	}
	patched := strings.TrimSpace(string(state)) == "1"
	isLoaded := object == vmlinux
	if i := slices.IndexFunc(p.report.Targets, func(t Target) bool { return t.Name == object }); i >= 0 {
		t := &p.report.Targets[i]
		isLoaded = t.Baseline == loaded
		if coming {
			isLoaded = t.Coming == loaded
		} else {
			t.First = patched
		}
	} else if object != vmlinux && !coming {
		p.report.fail(CodeTargetUnseen, p.phase, "the livepatch changes the module %s, which was not given to be loaded", object)
	}
	if isLoaded && !patched {
		p.report.fail(CodeNotPatched, p.phase, "%s is loaded, and %s/patched is %q", object, dir, strings.TrimSpace(string(state)))
	}
	names, err := p.guest.List(ctx, dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		name, pos, ok := strings.Cut(n, ",")
		if !ok {
			continue // the attribute "patched"
		}
		sympos, err := strconv.Atoi(pos)
		if err != nil {
			return &OpError{Text: fmt.Sprintf("%s/%s is not FUNCTION,POSITION", dir, n)}
		}
		id := FunctionID{object, name, sympos}
		found[id] = true
		f := p.functions[id]
		if f == nil {
			f = &Function{Object: object, Name: name, Sympos: sympos}
			p.functions[id] = f
		}
		f.Patched = f.Patched || patched
		f.Handler = f.Handler || handled[name]
		f.WhileLoading = slices.ContainsFunc(p.report.Targets, func(t Target) bool { return t.Name == object && t.Applied })
	}
	return nil
}

// compareFunctions checks that the kernel lists exactly the expected functions.
func (p *proof) compareFunctions(found map[FunctionID]bool) {
	if p.cfg.Functions == nil {
		if len(found) == 0 {
			p.report.fail(CodeFunctions, p.phase, "the livepatch replaces no function")
		}
		return
	}
	for _, id := range p.cfg.Functions {
		if !found[id] {
			p.report.fail(CodeFunctions, p.phase, "the livepatch does not replace %s,%d of %s", id.Name, id.Sympos, id.Object)
		}
		delete(found, id)
	}
	for id := range found {
		p.report.fail(CodeFunctions, p.phase, "the livepatch replaces %s,%d of %s, which is not expected", id.Name, id.Sympos, id.Object)
	}
}

func (p *proof) sortedFunctions() []Function {
	out := make([]Function, 0, len(p.functions))
	for _, f := range p.functions {
		out = append(out, *f)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i], out[j]
		if a.Object != b.Object {
			return a.Object < b.Object
		}
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.Sympos < b.Sympos
	})
	return out
}

// handled returns the names of the functions that ftrace lists with livepatch's
// handler; nil when the kernel has no such list.
func (p *proof) handled(ctx context.Context) (map[string]bool, error) {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		b, err := p.guest.ReadFile(ctx, dir+"/enabled_functions")
		if op := new(OpError); errors.As(err, &op) {
			continue
		}
		if err != nil {
			return nil, err
		}
		names := map[string]bool{}
		for line := range strings.Lines(string(b)) {
			if name, _, ok := strings.Cut(line, " "); ok && strings.Contains(line, "klp_ftrace_handler") {
				names[name] = true
			}
		}
		return names, nil
	}
	return nil, nil
}
