// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kmend/internal/vm/wire"
)

// Config says what to prove. The zero value of an optional field is a default.
type Config struct {
	// Machine is the kernel and the machine; Run adds the modules.
	Machine Machine
	// Livepatch is the module to prove, a file.
	Livepatch string
	// Loads are the modules that the livepatch changes and those that they
	// and the livepatch need, in an order in which they can be loaded.
	Loads []Load
	// Functions are what the livepatch must replace, no more and no less.
	// Nil: whatever the kernel lists is taken, with a warning.
	Functions []FunctionID
	// Check is a shell command that exits with 0 when the fix is in effect.
	Check string
	// Pinned: the livepatch must not be unloadable (it keeps a reference to
	// itself, since code or data of it stay in use).
	Pinned bool

	Timeout           time.Duration // for everything; 0: 5 minutes
	TransitionTimeout time.Duration // for one transition; 0: 1 minute
	CheckTimeout      time.Duration // for one run of Check; 0: 1 minute

	// KernelLog is the file for the whole kernel log; "": none is kept.
	KernelLog string
	// Progress is told each phase when it begins.
	Progress func(phase string)
}

// Load is a module to load beside the livepatch.
type Load struct {
	Module
	// Target: the livepatch changes it. Else it is only needed by another.
	Target bool
}

// FunctionID names a function as sysfs does. Sympos 0 and 1 are the same there.
type FunctionID struct {
	Object string // "vmlinux" or the name of a module
	Name   string
	Sympos int
}

const vmlinux = "vmlinux"

// errStop ends a sequence whose reason is in the report already.
var errStop = errors.New("stop")

var errTimeout = errors.New("the time is over")

// Run proves a livepatch. The error is about the host: a missing tool, a file
// that cannot be read, a cancelled context. All that the guest has to say,
// including that it died, is in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	start := time.Now()
	p, err := newProof(cfg)
	if err != nil {
		return nil, err
	}
	inner, cancel := context.WithTimeoutCause(ctx, p.cfg.Timeout, errTimeout)
	defer cancel()
	err = p.prove(inner)
	if err == nil || errors.Is(err, errStop) {
		p.judgeLog()
		p.report.judge(err == nil)
		err = p.writeKernelLog()
	}
	if err != nil {
		return nil, err
	}
	p.report.WallMS = ms(time.Since(start))
	return p.report, nil
}

// proof is one Run under way.
type proof struct {
	cfg    Config
	report *Report

	guest *Guest
	boot  int
	phase string
	// log has every record of the kernel log, with the phase in which it was
	// read and whether that was before the livepatch was loaded in its boot.
	log       []loggedRecord
	touched   bool // the livepatch was loaded, or tried, in this boot
	functions map[FunctionID]*Function
	before    *Check // the check without the livepatch
	// lastConsole is what a guest that died wrote at last.
	lastConsole string
}

type loggedRecord struct {
	wire.Record
	boot     int
	phase    string
	baseline bool
}

func newProof(cfg Config) (*proof, error) {
	name, err := moduleName(cfg.Livepatch)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Minute
	}
	if cfg.TransitionTimeout == 0 {
		cfg.TransitionTimeout = time.Minute
	}
	if cfg.CheckTimeout == 0 {
		cfg.CheckTimeout = time.Minute
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	cfg.Machine.Shell = cfg.Machine.Shell || cfg.Check != ""
	cfg.Machine.Modules = append(slices.Clone(cfg.Machine.Modules), Module{Name: name, Path: cfg.Livepatch})
	p := &proof{
		report: &Report{Version: ReportVersion, Livepatch: name, Pinned: cfg.Pinned,
			Phases: []Phase{}, Functions: []Function{}, Transitions: []Transition{}}, // arrays in JSON, also when empty
		functions: map[FunctionID]*Function{},
	}
	for i, l := range cfg.Loads {
		if l.Name == name || slices.ContainsFunc(cfg.Loads[:i], func(o Load) bool { return o.Name == l.Name }) {
			return nil, fmt.Errorf("prove %s: the module %s is given twice", cfg.Livepatch, l.Name)
		}
		cfg.Machine.Modules = append(cfg.Machine.Modules, l.Module)
		p.report.Targets = append(p.report.Targets, Target{Name: l.Name, Needed: !l.Target})
	}
	if cfg.Functions != nil {
		for i, f := range cfg.Functions {
			f.Sympos = max(f.Sympos, 1)
			cfg.Functions[i] = f
			p.functions[f] = &Function{Object: f.Object, Name: f.Name, Sympos: f.Sympos}
		}
	} else {
		p.report.warn("it is not known which functions must be replaced; those that the kernel lists are taken")
	}
	if cfg.Machine, err = cfg.Machine.withDefaults(); err != nil {
		return nil, err
	}
	p.cfg = cfg
	p.report.Console, p.report.KernelLog = cfg.Machine.Console, cfg.KernelLog
	p.report.Kernel = Kernel{BuildID: cfg.Machine.BuildID, Image: cfg.Machine.Image}
	p.report.Machine = Setting{CPUs: cfg.Machine.CPUs, MemoryMB: cfg.Machine.MemoryMB,
		CPUModel: cfg.Machine.CPUModel, CommandLine: cfg.Machine.commandLine()}
	return p, nil
}

// prove makes the whole sequence: modules first, then the livepatch first; in
// one boot where all can be unloaded again, else in two.
func (p *proof) prove(ctx context.Context) error {
	defer p.closeGuest()
	if err := p.start(ctx); err != nil {
		return err
	}
	if err := p.modulesFirst(ctx); err != nil {
		return err
	}
	if p.hasTargets() {
		again := p.cfg.Pinned
		if !again {
			if err := p.step(ctx, "unload the modules", func() error { return p.unloadModules(ctx) }); err != nil {
				return err
			}
			again = slices.ContainsFunc(p.report.Targets, func(t Target) bool { return t.Fixed && !t.Needed })
		}
		if again {
			if err := p.finish(ctx); err != nil {
				return err
			}
			if err := p.start(ctx); err != nil {
				return err
			}
		}
		if err := p.livepatchFirst(ctx); err != nil {
			return err
		}
	}
	return p.finish(ctx)
}

func (p *proof) hasTargets() bool {
	return slices.ContainsFunc(p.report.Targets, func(t Target) bool { return !t.Needed })
}

func (p *proof) start(ctx context.Context) error {
	p.boot++
	p.touched = false
	p.phase = "boot"
	p.cfg.Progress(p.phase)
	began := time.Now()
	m := p.cfg.Machine
	m.appendConsole = p.boot > 1
	g, err := Boot(ctx, m)
	p.report.Phases = append(p.report.Phases, Phase{p.phase, p.boot, ms(time.Since(began))})
	p.report.Machine.Boots = p.boot
	var wrong *BuildIDError
	var gone *GuestError
	switch {
	case errors.As(err, &wrong):
		p.report.Kernel.BuildID, p.report.Kernel.Release = wrong.Got, wrong.Release
		p.report.fail(CodeBuildID, p.phase, "%v", err)
		return errStop
	case errors.As(err, &gone):
		p.lastConsole = gone.Console
		p.report.fail(CodeBoot, p.phase, "%v", err)
		return errStop
	case err != nil:
		return p.stopped(err)
	}
	p.guest = g
	p.report.Kernel.Release = g.Greeting.Release
	p.report.Kernel.BuildID = g.Greeting.BuildID
	return p.readLog(ctx)
}

func (p *proof) closeGuest() {
	if p.guest != nil {
		if err := p.guest.Close(); err != nil {
			p.report.warn("%v", err)
		}
		p.guest = nil
	}
}

// finish takes the last look at the guest: log, taint, token.
func (p *proof) finish(ctx context.Context) error {
	err := p.step(ctx, "finish", func() error {
		after, err := p.taint(ctx)
		if err != nil {
			return err
		}
		p.report.Taint.After = taintNames(after | p.taintBits(p.report.Taint.After))
		if bad := after &^ (p.taintBits(p.report.Taint.Before) | livepatchTaint); bad != 0 {
			p.report.Taint.Unexpected = taintNames(bad)
			p.report.fail(CodeTaint, p.phase, "the kernel is tainted with %s beyond what loading a livepatch does", taintNames(bad))
		}
		return nil
	})
	if err == nil {
		err = p.explain(p.guest.Finish(ctx))
	}
	p.closeGuest()
	return err
}

func (p *proof) taint(ctx context.Context) (uint64, error) {
	b, err := p.guest.ReadFile(ctx, "/proc/sys/kernel/tainted")
	if err != nil {
		return 0, err
	}
	var flags uint64
	if _, err := fmt.Sscanf(string(b), "%d", &flags); err != nil {
		return 0, &GuestError{During: "read the taint flags", Cause: fmt.Sprintf("%.40q is no number", b)}
	}
	return flags, nil
}

func (p *proof) taintBits(names string) (flags uint64) {
	for _, c := range names {
		if i := strings.IndexRune(taintLetters, c); i >= 0 {
			flags |= 1 << i
		}
	}
	return flags
}

// step runs one phase: it is marked in the kernel log, timed, and what the
// kernel logged during it is read at its end, also when it failed.
func (p *proof) step(ctx context.Context, name string, do func() error) error {
	p.phase = name
	p.cfg.Progress(name)
	began := time.Now()
	defer func() {
		p.report.Phases = append(p.report.Phases, Phase{name, p.boot, ms(time.Since(began))})
	}()
	if err := p.explain(p.guest.Mark(ctx, name)); err != nil {
		return err
	}
	err := p.explain(do())
	if logErr := p.readLog(ctx); err == nil {
		err = logErr
	}
	return err
}

func (p *proof) readLog(ctx context.Context) error {
	records, lost, err := p.guest.Log(ctx)
	for _, r := range records {
		p.log = append(p.log, loggedRecord{r, p.boot, p.phase, !p.touched})
	}
	if lost > 0 {
		p.report.fail(CodeLogLost, p.phase, "the kernel logged faster than could be read; %d times records were lost", lost)
	}
	if err != nil {
		var gone *GuestError
		if errors.As(err, &gone) && len(p.report.Reasons) > 0 {
			return errStop // the reason of the guest's end is there already
		}
	}
	return p.explain(err)
}

// explain turns an error into a reason, where it is about the guest.
func (p *proof) explain(err error) error {
	var gone *GuestError
	var op *OpError
	switch {
	case err == nil || errors.Is(err, errStop):
		return err
	case errors.As(err, &gone):
		code := CodeGuestDied
		if gone.Timeout {
			code = CodeGuestHung
		}
		p.lastConsole = gone.Console
		p.report.fail(code, p.phase, "%v", err)
		return errStop
	case errors.As(err, &op):
		p.report.fail(CodeGuest, p.phase, "%v", err)
		return errStop
	}
	return p.stopped(err)
}

// stopped tells the end of the proof's own time, which is a result, from a
// cancelled context and from errors of the host, which are none.
func (p *proof) stopped(err error) error {
	if errors.Is(err, errTimeout) {
		p.report.fail(CodeTimeout, p.phase, "not finished after %v, while: %s", p.cfg.Timeout, p.phase)
		return errStop
	}
	return err
}

// judgeLog puts the kernel log's signs of trouble into the report.
func (p *proof) judgeLog() {
	var baseline, tested []wire.Record
	phases := map[string]string{} // text to the first phase that has it
	for _, r := range p.log {
		if r.baseline {
			baseline = append(baseline, r.Record)
			continue
		}
		tested = append(tested, r.Record)
		if _, ok := phases[r.Text]; !ok {
			phases[r.Text] = r.phase
		}
		if r.Kernel() && strings.HasPrefix(r.Text, "livepatch: ") {
			p.report.Log = append(p.report.Log, LogEntry{Phase: r.phase, Text: r.Text})
		}
	}
	known := findings(baseline)
	for _, f := range known {
		p.report.Log = append(p.report.Log, LogEntry{Phase: "before the livepatch", Text: f.Text, Excused: true, Trace: f.trace()})
	}
	bad, excused := unexcused(findings(tested), known)
	for _, f := range excused {
		p.report.Log = append(p.report.Log, LogEntry{Phase: phases[f.Text], Text: f.Text, Excused: true, Trace: f.trace()})
	}
	for _, f := range bad {
		p.report.Log = append(p.report.Log, LogEntry{Phase: phases[f.Text], Text: f.Text, Trouble: true, Trace: f.trace()})
		p.report.fail(CodeKernelLog, phases[f.Text], "the kernel says: %s", f.Text)
	}
	if len(known) > 0 {
		p.report.warn("the kernel complained %d times before the livepatch was loaded; the same words do not count later", len(known))
	}
}

func (p *proof) writeKernelLog() error {
	if p.cfg.KernelLog == "" {
		return nil
	}
	var b strings.Builder
	boot := 1
	for _, r := range p.log {
		if r.boot != boot {
			boot = r.boot
			fmt.Fprintf(&b, "\n--- boot %d ---\n", boot)
		}
		fmt.Fprintf(&b, "[%5d.%06d] %s\n", r.Micros/1e6, r.Micros%1e6, r.Text)
	}
	if p.lastConsole != "" {
		fmt.Fprintf(&b, "\n--- the guest does not answer any more; the end of its console ---\n%s\n", p.lastConsole)
	}
	if err := os.WriteFile(p.cfg.KernelLog, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write the kernel log: %w", err)
	}
	return nil
}
