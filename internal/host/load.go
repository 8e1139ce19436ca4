// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What became of a module.
const (
	DidLoad    = "loaded"
	WasLoaded  = "already-loaded"
	DidUnload  = "unloaded"
	WasAbsent  = "not-loaded"
	DidDisable = "disabled" // it has no effect any more, but stays in memory
)

// Outcome says what was done about one module.
type Outcome struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
	Path    string `json:"path,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	// Checked is kernel (everything), modinfo (what the module says), or install
	// (everything, when it was installed).
	Checked      string   `json:"checked,omitempty"`
	KernelID     string   `json:"kernel_build_id,omitempty"` // install, uninstall: for which kernel
	TransitionMS int64    `json:"transition_ms"`
	Forced       bool     `json:"forced,omitempty"`
	Warnings     []string `json:"warnings,omitempty"`
}

// Load loads a livepatch module and sees its transition through. If that does
// not end in time, or ctx ends, the live patch is disabled and unloaded again;
// the error is then a *StallError, or ctx's.
func (h *Host) Load(ctx context.Context, file string, opt Options) (*Outcome, error) {
	out, err := h.LoadAll(ctx, []string{file}, opt)
	if len(out) == 0 {
		return nil, err
	}
	return out[0], err
}

// LoadAll loads modules in the order given. All are checked before the first is
// loaded; at the first that cannot be loaded it stops, and the outcomes are of
// those before it.
func (h *Host) LoadAll(ctx context.Context, files []string, opt Options) ([]*Outcome, error) {
	modules, unlock, err := h.begin(ctx, "load live patches", files)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return h.loadModules(ctx, modules, opt)
}

// begin reads modules and makes this process the only kmend that changes
// something, until unlock is called. what is said to those who may not.
func (h *Host) begin(ctx context.Context, what string, files []string) (modules []*Module, unlock func(), err error) {
	if err := h.needRoot(what); err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		m, err := h.ReadModule(file)
		if err != nil {
			return nil, nil, err
		}
		modules = append(modules, m)
	}
	unlock, err = h.lock(ctx)
	return modules, unlock, err
}

// loadModules is LoadAll with the modules in memory and the lock held.
func (h *Host) loadModules(ctx context.Context, modules []*Module, opt Options) ([]*Outcome, error) {
	opt = opt.withDefaults()
	h.tidy()
	var out []*Outcome
	checked := make([]string, len(modules))
	for i, m := range modules {
		var err error
		if checked[i], err = h.fitsHost(m); err != nil {
			return nil, err
		}
	}
	for i, m := range modules {
		o := &Outcome{Name: m.Name, Path: m.Path, SHA256: m.SHA256, Checked: checked[i], Warnings: slices.Clone(m.Unclear)}
		if err := h.loadOne(ctx, m, o, opt); err != nil {
			return out, err
		}
		out = append(out, o)
	}
	return out, nil
}

func (h *Host) loadOne(ctx context.Context, m *Module, o *Outcome, opt Options) error {
	done, err := h.present(ctx, m, o, opt)
	if done || err != nil {
		return err
	}
	if err := h.othersDone(ctx, m.Name, opt); err != nil {
		return err
	}
	if err := h.beside(m, o); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("load %s: interrupted (%w) before it was loaded", m.Name, context.Cause(ctx))
	}
	record := &Record{Name: m.Name, Path: m.Path, SHA256: m.SHA256, BuildID: m.BuildID, Since: h.System.Now(), State: stateLoading}
	if err := h.saveRecord(record); err != nil {
		return err
	}
	h.step("insert " + m.Name)
	lines := h.System.Log()
	if err := h.System.InitModule(m.data); err != nil {
		said := lines()
		return errors.Join(&LoadError{Name: m.Name, Path: m.Path, Err: err, Log: said}, h.dropRecord(m.Name))
	}
	lines()
	return h.seeThrough(ctx, m.Name, record, o, opt)
}

// seeThrough waits for the transition of a module that is loaded now.
func (h *Host) seeThrough(ctx context.Context, name string, record *Record, o *Outcome, opt Options) error {
	took, err := h.await(ctx, name, opt)
	if errors.Is(err, errStalled) && opt.Force {
		record.Forced = true
		h.saveOrSay(record)
		err = h.force(context.WithoutCancel(ctx), name)
		o.Forced = err == nil
	}
	switch {
	case errors.Is(err, errStalled):
		stall := h.stalled(name, opt)
		stall.Rollback = h.takeBack(ctx, name, opt)
		stall.RolledBack = stall.Rollback == nil
		return stall
	case err != nil && ctx.Err() != nil:
		h.notice("taking %s back", name)
		if back := h.takeBack(ctx, name, opt); back != nil {
			return fmt.Errorf("load %s: interrupted (%w); going back failed: %w; see kmend status %s", name, err, back, name)
		}
		return fmt.Errorf("load %s: interrupted (%w): it was disabled again and unloaded", name, err)
	case err != nil:
		return err
	}
	// A module whose init does not enable it, or that has another name inside
	// than its modinfo says, loads without a complaint.
	if p, shown := h.patch(name); !shown || p.State != Enabled {
		err := fmt.Errorf("load %s: the module was loaded, but the kernel shows no enabled live patch of that name: it does not enable itself, or has another name inside; see kmend list", name)
		return errors.Join(err, h.takeBack(ctx, name, opt))
	}
	record.State = stateLoaded
	if err := h.saveRecord(record); err != nil { // it is live all the same
		o.Warnings = append(o.Warnings, err.Error())
	}
	o.Outcome, o.TransitionMS = DidLoad, took.Milliseconds()
	return nil
}

// takeBack disables and unloads a live patch whose transition was given up. It
// goes on after ctx has ended.
func (h *Host) takeBack(ctx context.Context, name string, opt Options) error {
	ctx = context.WithoutCancel(ctx)
	if err := h.turn(name, "0"); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("disable %s: %w", name, err)
	}
	if _, err := h.await(ctx, name, Options{Timeout: rollbackTimeout, Progress: opt.Progress}); err != nil {
		return fmt.Errorf("disable %s: %w", name, err)
	}
	switch how, err := h.remove(ctx, name); {
	case err != nil:
		return err
	case how == held:
		return fmt.Errorf("unload %s: something holds the module, so it stays in memory, disabled, until the next boot", name)
	}
	if err := h.dropRecord(name); err != nil { // a record of what is not loaded counts for nothing
		h.notice("%v", err)
	}
	return nil
}

// present looks whether a module of that name is there already. done says that
// there is nothing left to do. What a killed kmend left half-way is finished.
func (h *Host) present(ctx context.Context, m *Module, o *Outcome, opt Options) (done bool, err error) {
	if !h.moduleLoaded(m.Name) {
		return false, nil
	}
	p, shown := h.patch(m.Name)
	if !shown {
		return false, h.clearDisabled(ctx, m)
	}
	record, err := h.record(m.Name)
	if err != nil {
		h.notice("%v", err)
	}
	if why := h.differs(m, record); why != "" {
		return false, &Refusal{Code: CodeNameTaken, Where: m.Path, Why: fmt.Sprintf("a live patch %s is loaded already, %s", m.Name, why),
			Advice: "unload that first: kmend unload " + m.Name}
	}
	if p.State == Unpatching {
		h.notice("%s is being disabled: waiting for that", m.Name)
		if err := h.takeOut(ctx, m.Name, opt); err != nil {
			return false, err
		}
		return false, h.clearDisabled(ctx, m)
	}
	if p.State == Patching || record != nil && record.State != stateLoaded {
		if record == nil {
			record = &Record{Name: m.Name, Path: m.Path, SHA256: m.SHA256, BuildID: m.BuildID, Since: h.System.Now()}
		}
		if err := h.seeThrough(ctx, m.Name, record, o, opt); err != nil {
			return true, err
		}
	}
	o.Outcome = WasLoaded
	return true, nil
}

// differs says why the loaded module of that name is not this one, or cannot be
// shown to be; "" if it is.
func (h *Host) differs(m *Module, record *Record) string {
	live := h.moduleBuildID(m.Name)
	switch {
	case record != nil && record.State != stateLoading && record.SHA256 != m.SHA256:
		return "from " + record.Path + " with the digest " + record.SHA256
	case record != nil && record.State != stateLoading:
		return ""
	case live == "" || m.BuildID == "":
		return "not by kmend, and nothing shows that it is the same"
	case live != m.BuildID:
		return "with the build id " + live
	case m.Signed && record != nil && record.SHA256 != m.SHA256:
		return "from " + record.Path + " with the digest " + record.SHA256
	}
	return ""
}

// clearDisabled removes a livepatch module that is loaded and without effect, so
// that it can be loaded again; it cannot be enabled as it is.
func (h *Host) clearDisabled(ctx context.Context, m *Module) error {
	if !strings.Contains(h.moduleTaint(m.Name), "K") {
		return &Refusal{Code: CodeNameTaken, Where: m.Path, Why: fmt.Sprintf("a module %s is loaded that is no live patch", m.Name), Advice: "choose another name for the live patch"}
	}
	how, err := h.remove(ctx, m.Name)
	if err == nil && how == held {
		err = &Refusal{Code: CodePinned, Where: m.Path, Why: fmt.Sprintf("%s was disabled, and something holds the module in memory; the kernel cannot enable it again", m.Name),
			Advice: "restart the machine, or build the fix under another name: kmend build --name"}
	}
	return err
}

// othersDone waits until no other live patch is in transition: the kernel does
// one at a time.
func (h *Host) othersDone(ctx context.Context, name string, opt Options) error {
	all, err := h.patches()
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Name == name || p.State != Patching && p.State != Unpatching {
			continue
		}
		h.notice("%s is in transition: waiting for that", p.Name)
		_, err := h.await(ctx, p.Name, Options{Timeout: opt.Timeout, Progress: opt.Progress})
		if errors.Is(err, errStalled) {
			return &Refusal{Code: CodeTransition, Where: name, Why: fmt.Sprintf("live patch %s has been in transition for at least %v", p.Name, opt.Timeout.Round(time.Second)),
				Advice: "see who holds it up: kmend status " + p.Name, Detail: strings.Join(h.stalled(p.Name, opt).Explain(), "\n")}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// LoadError says that the kernel did not take a module.
type LoadError struct {
	Name, Path string
	Err        error    // the error number
	Log        []string // what the kernel said meanwhile
}

func (e *LoadError) Unwrap() error { return e.Err }

func (e *LoadError) Error() string {
	s := fmt.Sprintf("load %s: the kernel refuses it: %v", e.Path, e.Err)
	if why := e.why(); why != "" {
		s += ": " + why
	}
	const most = 20
	for _, l := range e.Log[:min(len(e.Log), most)] {
		s += "\n  kernel: " + l
	}
	return s
}

// why is what the error number means. EKEYREJECTED stands for four things, of
// which the kernel logs three (kernel/module/signing.c, module_sig_check).
func (e *LoadError) why() string {
	var errno unix.Errno
	errors.As(e.Err, &errno)
	said := strings.Join(e.Log, "\n")
	switch {
	case errno == unix.EKEYREJECTED && strings.Contains(said, "unavailable key"):
		return loadErrors[unix.ENOKEY]
	case errno == unix.EKEYREJECTED && strings.Contains(said, "unsigned module"):
		return "it is not signed, and the kernel takes signed modules only"
	case errno == unix.EKEYREJECTED && strings.Contains(said, "unsupported crypto"):
		return loadErrors[unix.ENOPKG]
	}
	return loadErrors[errno]
}

// loadErrors says what error numbers of init_module(2) mean (kernel/module/main.c,
// kernel/module/signing.c, kernel/livepatch/core.c).
var loadErrors = map[unix.Errno]string{
	unix.EBADMSG:      "its signature is broken or has a form that the kernel does not know",
	unix.ENOKEY:       "it is signed with a key that the kernel does not trust",
	unix.EKEYREJECTED: "its signature is not one of this module: it was changed after it was signed",
	unix.ENOPKG:       "the kernel does not have the algorithm of its signature",
	unix.EPERM:        "the right to load modules is missing, or the kernel is locked down",
	unix.EEXIST:       "a module of that name is loaded",
	unix.EBUSY:        "another live patch is in transition, ftrace is switched off, or a function cannot be traced",
	unix.ENOENT:       "a symbol that it needs is not there",
	unix.ENOEXEC:      "it is not for this kernel, or damaged",
	unix.EINVAL:       "the kernel's livepatch core does not accept it",
}
