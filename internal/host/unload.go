// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/nearest"
)

// NameOf is the name in /sys/module of what a user calls livepatch-x,
// livepatch_x or livepatch-x.ko.
func NameOf(arg string) string {
	if i := strings.LastIndexByte(arg, '/'); i >= 0 {
		arg = arg[i+1:]
	}
	return strings.ReplaceAll(strings.TrimSuffix(arg, ".ko"), "-", "_")
}

// Unload disables a live patch, sees the transition back to the old code
// through, and removes the module. If the transition does not end in time, or
// ctx ends, the live patch is enabled again.
func (h *Host) Unload(ctx context.Context, name string, opt Options) (*Outcome, error) {
	if err := h.needRoot("unload live patches"); err != nil {
		return nil, err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	h.tidy()
	opt = opt.withDefaults()
	o := &Outcome{Name: name, Outcome: WasAbsent}
	if plainName(name) == "" || !h.moduleLoaded(name) {
		return o, h.suggest(name)
	}
	if !strings.Contains(h.moduleTaint(name), "K") {
		return nil, &Refusal{Code: CodeNotModule, Where: name, Why: "the module is loaded and is no live patch", Advice: "see kmend list"}
	}
	if r, _ := h.record(name); r != nil {
		o.Path, o.SHA256 = r.Path, r.SHA256
	}
	begin := h.System.Now()
	if _, shown := h.patch(name); shown {
		if err := h.othersDone(ctx, name, opt); err != nil {
			return nil, err
		}
		if err := h.takeOut(ctx, name, opt); err != nil {
			return nil, err
		}
		o.TransitionMS = h.System.Now().Sub(begin).Milliseconds()
	}
	how, err := h.remove(ctx, name)
	if err != nil {
		return nil, err
	}
	if how == held {
		o.Outcome = DidDisable
		o.Warnings = append(o.Warnings, "the module stays in memory, without effect, until the next boot: something holds it (it was built never to be unloaded, or its removal was forced), and it cannot be enabled again before that")
		return o, nil
	}
	o.Outcome = DidUnload
	if err := h.dropRecord(name); err != nil { // it is out all the same
		o.Warnings = append(o.Warnings, err.Error())
	}
	return o, nil
}

// suggest tells of names that may have been meant.
func (h *Host) suggest(name string) error {
	all, err := h.patches()
	if err != nil {
		return err
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Name)
	}
	if near := nearest.Names(name, names, 3); len(near) > 0 {
		h.notice("no module %s is loaded; there is %s", name, strings.Join(near, ", "))
	}
	return nil
}

// takeOut disables a live patch and waits for the end of the transition, or goes
// back to what was.
func (h *Host) takeOut(ctx context.Context, name string, opt Options) error {
	p, shown := h.patch(name)
	if !shown {
		return nil
	}
	record, err := h.record(name)
	if err != nil {
		h.notice("%v", err)
	}
	if record != nil && record.State != stateUnloading {
		record.State = stateUnloading
		h.saveOrSay(record) // a full disk must not keep a live patch in
	}
	if p.State == Enabled || p.State == Patching {
		if err := h.turn(name, "0"); err != nil {
			return fmt.Errorf("disable %s: %w", name, err)
		}
	}
	_, err = h.await(ctx, name, opt)
	if errors.Is(err, errStalled) && opt.Force {
		err = h.force(context.WithoutCancel(ctx), name)
	}
	switch {
	case errors.Is(err, errStalled):
		stall := h.stalled(name, opt)
		stall.Rollback = h.putBack(ctx, name, record, opt)
		stall.RolledBack = stall.Rollback == nil
		return stall
	case err != nil && ctx.Err() != nil:
		if back := h.putBack(ctx, name, record, opt); back != nil {
			return fmt.Errorf("unload %s: interrupted (%w); going back failed: %w; see kmend status %s", name, err, back, name)
		}
		return fmt.Errorf("unload %s: interrupted (%w): it was enabled again", name, err)
	}
	return err
}

// putBack enables a live patch again that is on its way out.
func (h *Host) putBack(ctx context.Context, name string, record *Record, opt Options) error {
	ctx = context.WithoutCancel(ctx)
	if err := h.turn(name, "1"); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("enable %s: its transition ended in this moment: run kmend unload %s again", name, name)
		}
		return fmt.Errorf("enable %s: %w", name, err)
	}
	if _, err := h.await(ctx, name, Options{Timeout: rollbackTimeout, Progress: opt.Progress}); err != nil {
		return fmt.Errorf("enable %s: %w", name, err)
	}
	if record == nil {
		return nil
	}
	record.State = stateLoaded
	h.saveOrSay(record)
	return nil
}

// saveOrSay saves a record where the live patch matters more than what is
// remembered of it.
func (h *Host) saveOrSay(r *Record) {
	if err := h.saveRecord(r); err != nil {
		h.notice("%v", err)
	}
}
