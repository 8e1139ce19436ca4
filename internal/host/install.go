// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Outcomes of Install and Uninstall.
const (
	DidInstall   = "installed"
	DidUpdate    = "updated" // another file of that name was installed before
	WasInstalled = "already-installed"
	DidUninstall = "uninstalled"
	NotInstalled = "not-installed"
)

// Install puts modules where they are loaded from at boot, each for the build of
// the kernel that it was made for, which need not be the one that runs. It loads
// nothing now.
//
// Each module takes three steps, any of which may be the last: the state file
// says what is about to be done, the module is put in place by rename, the state
// file says that it is done.
func (h *Host) Install(ctx context.Context, files []string) ([]*Outcome, error) {
	modules, unlock, err := h.begin(ctx, "install live patches", files)
	if err != nil {
		return nil, err
	}
	defer unlock()
	running, err := h.runningBuildID()
	if err != nil {
		return nil, err
	}
	var out []*Outcome
	for _, m := range modules {
		o := &Outcome{Name: m.Name, Path: m.Path, SHA256: m.SHA256, KernelID: m.KernelID}
		if o.KernelID == "" {
			o.KernelID = running // and kmend must know that: see fits
		}
		if !isBuildID(o.KernelID) {
			return nil, &Refusal{Code: CodeNotModule, Where: m.Path, Why: fmt.Sprintf("it names the kernel build %.60q, which is none", o.KernelID), Advice: "build it again"}
		}
		if o.Checked, err = h.fits(m, o.KernelID); err != nil {
			return nil, err
		}
		o.Warnings = m.Unclear
		out = append(out, o)
	}
	for i, m := range modules {
		if err := ctx.Err(); err != nil {
			return out[:i], err
		}
		if err := h.installOne(m, out[i]); err != nil {
			return out[:i], err
		}
	}
	warnings, err := h.enableUnit(ctx)
	if len(out) > 0 {
		last := out[len(out)-1]
		last.Warnings = append(last.Warnings, warnings...)
	}
	return out, err
}

func (h *Host) installOne(m *Module, o *Outcome) error {
	dir := installDir + "/" + o.KernelID
	h.step("make " + dir)
	if err := h.ownDir(dir, 0o755); err != nil {
		return err
	}
	if err := h.finish(o.KernelID); err != nil {
		return err
	}
	b, err := h.installedFor(o.KernelID)
	if err != nil {
		return err
	}
	for _, n := range b.Notes {
		h.notice("%s", n)
	}
	entry := InstalledModule{Name: m.Name, SHA256: m.SHA256, Release: m.Release, From: m.Path, Installed: h.System.Now(), Pending: installing}
	i := slices.IndexFunc(b.Modules, func(x InstalledModule) bool { return x.Name == m.Name })
	o.Outcome = DidInstall
	switch {
	case i < 0:
		i = len(b.Modules)
		b.Modules = append(b.Modules, entry)
	case b.Modules[i].SHA256 == m.SHA256 && b.Modules[i].Trouble == "" && b.Modules[i].Pending == "" && len(b.Notes) == 0:
		o.Outcome = WasInstalled
		return nil
	default:
		if b.Modules[i].SHA256 != m.SHA256 {
			o.Outcome = DidUpdate
		}
		entry.Previous = b.Modules[i].SHA256
		b.Modules[i] = entry
	}
	if err := h.saveState(b); err != nil {
		return err
	}
	h.step("put " + m.Name)
	if err := h.writeFile(h.installedPath(o.KernelID, m.Name), m.data, 0o644); err != nil {
		return fmt.Errorf("install %s: %w", m.Path, err)
	}
	b.Modules[i].Pending, b.Modules[i].Previous = "", ""
	if err := h.saveState(b); err != nil { // with the file in place it counts as installed
		o.Warnings = append(o.Warnings, fmt.Sprintf("%v; the module is in its place, and is loaded at boot all the same", err))
	}
	return nil
}

// Uninstall removes an installed module, for all builds of kernels or for the one
// that is given. What is loaded stays loaded.
func (h *Host) Uninstall(ctx context.Context, name, id string) ([]*Outcome, error) {
	if err := h.needRoot("uninstall live patches"); err != nil {
		return nil, err
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	all, err := h.Installed()
	if err != nil {
		return nil, err
	}
	var out []*Outcome
	for i := range all.Builds {
		if err := h.finish(all.Builds[i].BuildID); err != nil {
			return nil, err
		}
		b := &all.Builds[i]
		if id != "" && b.BuildID != id {
			continue
		}
		at := slices.IndexFunc(b.Modules, func(m InstalledModule) bool { return m.Name == name })
		if at < 0 {
			continue
		}
		o := &Outcome{Name: name, Outcome: DidUninstall, KernelID: b.BuildID}
		if err := h.uninstallOne(b, at, o); err != nil {
			return out, err
		}
		if h.moduleLoaded(name) && b.Running {
			o.Warnings = append(o.Warnings, "it is loaded and stays so until the next boot: take it out with kmend unload "+name)
		}
		out = append(out, o)
	}
	if len(out) == 0 {
		out = append(out, &Outcome{Name: name, Outcome: NotInstalled})
	}
	return out, nil
}

func (h *Host) uninstallOne(b *InstalledBuild, at int, o *Outcome) error {
	name := b.Modules[at].Name
	b.Modules[at].Pending = removing
	if err := h.saveState(b); err != nil {
		return err
	}
	if err := h.removeFile(b.BuildID, name); err != nil {
		return err
	}
	b.Modules = slices.Delete(b.Modules, at, at+1)
	if err := h.saveState(b); err != nil { // a removal that was begun counts as done
		o.Warnings = append(o.Warnings, fmt.Sprintf("%v; the module is gone, and is not loaded at boot", err))
		return nil
	}
	if len(b.Modules) > 0 || len(b.Notes) > 0 {
		return nil
	}
	// Nothing is left for this build: its directory goes, too. That it does not
	// matters to nobody.
	h.step("remove the state of " + b.BuildID)
	_ = os.Remove(h.path(installDir, b.BuildID, stateFile))
	_ = os.Remove(h.path(installDir, b.BuildID))
	return nil
}

func (h *Host) removeFile(id, name string) error {
	h.step("remove " + name)
	if err := os.Remove(h.installedPath(id, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("uninstall %s: %w", name, err)
	}
	if err := syncDir(h.path(installDir, id)); err != nil {
		return fmt.Errorf("uninstall %s: %w", name, err)
	}
	return nil
}

// finish clears up what a killed kmend left of the installation for one build:
// unfinished files, and removals that were begun. The caller holds the lock.
func (h *Host) finish(id string) error {
	sweep(h.path(installDir, id))
	b, err := h.readState(id)
	if b == nil || err != nil {
		return nil // the reader of the state says so
	}
	var begun []string
	b.Modules = slices.DeleteFunc(b.Modules, func(m InstalledModule) bool {
		if m.Pending == removing {
			begun = append(begun, m.Name)
		}
		return m.Pending == removing
	})
	if len(begun) == 0 {
		return nil
	}
	for _, name := range begun {
		if err := h.removeFile(id, name); err != nil {
			return err
		}
	}
	return h.saveState(b)
}

// LoadInstalled loads what is installed for the build of the kernel that runs,
// in the order of the installations. One that cannot be loaded does not keep the
// others from it; the error then tells of all.
func (h *Host) LoadInstalled(ctx context.Context, opt Options) ([]*Outcome, error) {
	if err := h.needRoot("load what is installed"); err != nil {
		return nil, err
	}
	id, err := h.runningBuildID()
	if err != nil {
		return nil, err
	}
	if !h.exists(installDir + "/" + id) {
		return nil, nil
	}
	unlock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	b, err := h.installedFor(id)
	if err != nil {
		return nil, err
	}
	for _, n := range b.Notes {
		h.notice("%s", n)
	}
	var out []*Outcome
	var failed []error
	for i := range b.Modules {
		m := &b.Modules[i]
		if m.Trouble != "" {
			failed = append(failed, fmt.Errorf("load %s: %s", m.Name, m.Trouble))
			continue
		}
		o, err := h.loadModules(ctx, []*Module{m.data}, opt)
		out = append(out, o...)
		if err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return out, errors.Join(failed...)
}
