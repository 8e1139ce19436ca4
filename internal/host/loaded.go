// SPDX-License-Identifier: Apache-2.0

package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"kmend/internal/klp"
	"kmend/internal/verify"
)

// Limits of an answer of kmend status that is read.
const (
	MaxStatus    = 16 << 20 // bytes
	mostPatches  = 1000
	mostObjects  = 500   // of one live patch
	mostReplaced = 10000 // functions of one live patch
	mostName     = 512   // bytes of a name
	mostPath     = 4096  // bytes of a path
)

// inspector reads what is in a livepatch module.
type inspector = func(data []byte) (*verify.Module, error)

// ReadStatus reads an answer of kmend status --json, which may be of another
// machine, and refuses what none has given.
func ReadStatus(r io.Reader) (*Status, error) {
	const advice = "give the answer of kmend status --json"
	data, err := io.ReadAll(io.LimitReader(r, MaxStatus+1))
	if err != nil {
		return nil, fmt.Errorf("read what is loaded: %w", err)
	}
	if len(data) > MaxStatus {
		return nil, fmt.Errorf("read what is loaded: it has more than %d MB: %s", MaxStatus>>20, advice)
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read what is loaded: %w: %s", err, advice)
	}
	if err := s.sound(); err != nil {
		return nil, fmt.Errorf("read what is loaded: %w: %s", err, advice)
	}
	return &s, nil
}

// sound looks whether an answer is whole, and whether there is an end to it.
func (s *Status) sound() error {
	switch {
	case s.Version != 1:
		return fmt.Errorf("it has version %d, and this kmend reads version 1", s.Version)
	case !isBuildID(s.KernelID) || s.Patches == nil:
		return errors.New("it has no build id of a kernel, or no list of live patches")
	case len(s.Asked) > 0:
		return fmt.Errorf("%d live patches were asked for by name, so it may not tell of all that are loaded", len(s.Asked))
	case len(s.Patches) > mostPatches:
		return fmt.Errorf("it has more than %d live patches", mostPatches)
	}
	names := map[string]bool{}
	for i := range s.Patches {
		p := &s.Patches[i]
		if names[p.Name] {
			return fmt.Errorf("it has live patch %.60q twice", p.Name)
		}
		names[p.Name] = true
		if err := p.sound(); err != nil {
			return fmt.Errorf("live patch %.60q: %w", p.Name, err)
		}
	}
	for _, p := range s.Patches {
		for _, o := range p.Objects {
			for _, f := range o.Functions {
				if f.CoveredBy != "" && !names[f.CoveredBy] {
					return fmt.Errorf("live patch %.60q is missing, which replaces %.60q as well", f.CoveredBy, f.Name)
				}
			}
		}
	}
	return nil
}

func (p *Patch) sound() error {
	if plainName(p.Name) == "" || len(p.Path) > mostPath || len(p.BuildID) > mostName || len(p.SHA256) > mostName {
		return errors.New("its name, path or digest is none")
	}
	if _, ok := loadedStates[p.State]; !ok {
		return fmt.Errorf("its state is %.60q", p.State)
	}
	if len(p.Objects) > mostObjects {
		return fmt.Errorf("it has more than %d objects", mostObjects)
	}
	count := 0
	for _, o := range p.Objects {
		if plainName(o.Name) == "" {
			return fmt.Errorf("it has an object named %.60q", o.Name)
		}
		if count += len(o.Functions); count > mostReplaced {
			return fmt.Errorf("it has more than %d functions", mostReplaced)
		}
		for _, f := range o.Functions {
			if f.Name == "" || len(f.Name) > mostName || f.Sympos < 0 {
				return fmt.Errorf("it has a function named %.60q at position %d", f.Name, f.Sympos)
			}
		}
	}
	return nil
}

// loadedStates are the states of live patches for package verify.
var loadedStates = map[string]verify.LoadedState{
	Enabled: verify.LoadedEnabled, Patching: verify.LoadedPatching, Unpatching: verify.LoadedUnpatching, Disabled: verify.LoadedDisabled,
}

// OfKernel refuses an answer about another build of a kernel. where names it.
func (s *Status) OfKernel(where, name, id string) error {
	if s.KernelID == id {
		return nil
	}
	return &Refusal{Code: CodeOtherBuild, Where: where, Why: fmt.Sprintf("it is of the kernel build %s (%.60q), and the modules are held against %s, which is %s", s.KernelID, s.Release, name, id),
		Advice: "choose that kernel with -k; see kmend kernel list"}
}

// Loaded is what an answer says, for package verify. What is in the files that
// the live patches are from is not known, since they are on another machine.
func (s *Status) Loaded() *verify.Loaded {
	l := &verify.Loaded{}
	for i := range s.Patches {
		p := &s.Patches[i]
		out := verify.LoadedPatch{Name: p.Name, State: loadedStates[p.State], BuildID: p.BuildID, SHA256: p.SHA256, Path: p.Path,
			Held: p.Users > 0, NotRead: "the files of that machine are not here"}
		if p.Transition != nil {
			out.Waits = p.Transition.brief()
		}
		for _, o := range p.Objects {
			object := verify.Object{Name: o.Name, Named: o.Name != klp.Vmlinux}
			for _, f := range o.Functions {
				object.Funcs = append(object.Funcs, verify.Func{OldName: f.Name, Sympos: uint64(f.Sympos)})
			}
			out.Objects = append(out.Objects, object)
		}
		l.Patches = append(l.Patches, out)
	}
	return l
}

// brief names some of those that hold a transition up; "" if they are not known.
func (t *Transition) brief() string {
	const most = 3
	var who []string
	for _, task := range t.Tasks[:min(len(t.Tasks), most)] {
		text := fmt.Sprintf("%.64s (pid %d)", task.Comm, task.PID)
		if task.Function != "" {
			text += fmt.Sprintf(" in %.200s", task.Function)
		}
		who = append(who, text)
	}
	if more := t.Waiting - len(who); more > 0 && len(who) > 0 {
		who = append(who, fmt.Sprintf("%d more", more))
	}
	return strings.Join(who, ", ")
}

// Loaded is what is loaded here, for package verify. s is this host's Status. A
// file that a live patch was loaded from is read if it is still the same.
func (h *Host) Loaded(s *Status, inspect func(data []byte) (*verify.Module, error)) *verify.Loaded {
	l := s.Loaded()
	l.Modules = h.loadOrder()
	for i := range l.Patches {
		p := &l.Patches[i]
		if p.State == verify.LoadedEnabled || p.State == verify.LoadedPatching {
			p.File, p.NotRead = h.loadedFrom(p, inspect)
		}
	}
	return l
}

// loadedFrom reads the file of a live patch; why says what stands in the way.
func (h *Host) loadedFrom(p *verify.LoadedPatch, inspect inspector) (m *verify.Module, why string) {
	if p.Path == "" {
		return nil, "kmend has no record of its load, so its file is not known"
	}
	data, err := h.readTrusted(p.Path)
	if err != nil {
		return nil, err.Error()
	}
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != p.SHA256 {
		return nil, p.Path + " is another file by now"
	}
	if m, err = inspect(data); err != nil {
		return nil, fmt.Sprintf("%s: %v", p.Path, err)
	}
	if m.Name != p.Name {
		return nil, fmt.Sprintf("%s is module %.60s", p.Path, m.Name)
	}
	return m, ""
}

// beside says what loading a module does to the live patches that are loaded:
// warnings in o, and a refusal where the kernel is sure to refuse it. No other
// one is in transition, and none has its name.
func (h *Host) beside(m *Module, o *Outcome) error {
	s, err := h.Status()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(s.Patches, func(p Patch) bool { return p.State != Disabled }) {
		return nil
	}
	report, inspect := m.report, inspector(nil)
	if report != nil {
		inspect = h.verifier.Inspect
	} else {
		if inspect, err = h.byTypes(); err == nil {
			report = &verify.Report{}
			report.Module, err = inspect(m.data)
		}
		if err != nil {
			o.Warnings = append(o.Warnings, fmt.Sprintf("what it does to the live patches that are loaded is not known: %v; see kmend status afterwards", err))
			return nil
		}
	}
	l := h.Loaded(s, inspect)
	l.Modules = nil // it may well be loaded before its objects are
	if m.report != nil {
		h.verifier.Locate(l)
	}
	return h.heed(m, o, verify.After(l, []*verify.Report{report}))
}

// byTypes reads modules by the types that the running kernel shows, where no more
// is known of it.
func (h *Host) byTypes() (inspector, error) {
	types, err := h.readBounded("/sys/kernel/btf/vmlinux", 64<<20)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", err)
	}
	facts, err := klp.LayoutsOf(types)
	if err != nil {
		return nil, err
	}
	return func(data []byte) (*verify.Module, error) { return verify.Inspect(data, facts) }, nil
}

// heed sorts findings into what is refused, warned of and told.
func (h *Host) heed(m *Module, o *Outcome, found []verify.Finding) error {
	var lines []string
	for _, f := range found {
		switch f.Severity {
		case verify.Objection:
			lines = append(lines, "  "+f.String())
		case verify.Warning:
			o.Warnings = append(o.Warnings, f.String())
		default:
			h.notice("%s", f)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &Refusal{Code: CodeObjections, Where: m.Path, Why: fmt.Sprintf("it does not fit what is loaded: %d objections", len(lines)),
		Advice: "unload what it does not fit first: kmend list", Detail: strings.Join(lines, "\n")}
}
