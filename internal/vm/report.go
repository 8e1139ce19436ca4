// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"time"

	"kmend/internal/vm/wire"
)

// ReportVersion is the version of the report's JSON form.
const ReportVersion = 1

// Verdict is the answer of a proof.
type Verdict string

const (
	// Passed: every step was made and was as it must be.
	Passed Verdict = "passed"
	// Failed: something was seen that must not be.
	Failed Verdict = "failed"
	// Incomplete: nothing wrong was seen, but not all could be examined.
	Incomplete Verdict = "incomplete"
)

// Code says in one stable word why a verdict is not "passed".
type Code string

// The codes of failed and incomplete proofs.
const (
	CodeBoot          Code = "boot"               // the kernel did not come up
	CodeBuildID       Code = "build-id"           // another kernel runs
	CodeGuestDied     Code = "guest-died"         // the guest panicked or ended
	CodeGuestHung     Code = "guest-hung"         // the guest does not answer
	CodeTimeout       Code = "timeout"            // the time for the whole proof is over
	CodeLoad          Code = "load"               // the kernel refuses the livepatch
	CodeTransition    Code = "transition-stalled" // threads do not leave the old code, or the new
	CodeNotPatched    Code = "not-patched"        // an object that is loaded is not patched
	CodeFunctions     Code = "functions-differ"   // not the functions that are expected
	CodeNotEnabled    Code = "not-enabled"        // the livepatch is not enabled after its load
	CodeCheck         Code = "check"              // the check fails while patched
	CodeNotRestored   Code = "not-restored"       // the check differs before and after
	CodeDisable       Code = "disable"            // the livepatch cannot be disabled
	CodeUnload        Code = "unload"             // the livepatch cannot be unloaded
	CodeNotPinned     Code = "not-pinned"         // it could be unloaded, and must not be
	CodeKernelLog     Code = "kernel-log"         // a WARN, BUG, Oops and so on
	CodeTaint         Code = "taint"              // the kernel is tainted by more than the livepatch
	CodeTargetRefused Code = "target-refused"     // a module loads without the livepatch and not with it
	CodeTargetUnseen  Code = "target-unseen"      // a module could not be patched here, so nothing is known
	CodeLogLost       Code = "kernel-log-lost"    // the kernel log is not complete
	CodeGuest         Code = "guest"              // an operation in the guest failed
)

// incompleteCodes do not say that the livepatch is wrong.
var incompleteCodes = map[Code]bool{CodeBoot: true, CodeTargetUnseen: true, CodeLogLost: true}

// Reason says why a verdict is not "passed".
type Reason struct {
	Code  Code   `json:"code"`
	Phase string `json:"phase"`
	Text  string `json:"text"`
}

// Report is the result of Run. Times are in milliseconds of wall time on the
// host, unless a field says otherwise.
type Report struct {
	Version  int      `json:"version"`
	Verdict  Verdict  `json:"verdict"`
	Reasons  []Reason `json:"reasons,omitempty"` // empty when passed
	Warnings []string `json:"warnings,omitempty"`

	Livepatch string  `json:"livepatch"` // the module's name in the kernel
	Pinned    bool    `json:"pinned,omitempty"`
	Kernel    Kernel  `json:"kernel"`
	Machine   Setting `json:"machine"`

	Phases      []Phase      `json:"phases"`
	Targets     []Target     `json:"targets,omitempty"`
	Functions   []Function   `json:"functions"`
	Transitions []Transition `json:"transitions"`
	Checks      []Check      `json:"checks,omitempty"`
	Taint       Taint        `json:"taint"`
	Log         []LogEntry   `json:"log,omitempty"` // signs of trouble, and the kernel's words on the livepatch

	Console   string `json:"console,omitempty"`    // file with what the guest wrote to its console
	KernelLog string `json:"kernel_log,omitempty"` // file with the whole kernel log
	WallMS    int64  `json:"wall_ms"`
}

// Kernel is the kernel that ran.
type Kernel struct {
	Release string `json:"release"`
	BuildID string `json:"build_id"`
	Image   string `json:"image"` // file that was booted
}

// Setting is the machine it ran on.
type Setting struct {
	CPUs        int    `json:"cpus"`
	MemoryMB    int    `json:"memory_mb"`
	CPUModel    string `json:"cpu_model"`
	CommandLine string `json:"command_line"`
	Boots       int    `json:"boots"`
}

// Phase is one step of the proof.
type Phase struct {
	Name   string `json:"name"`
	Boot   int    `json:"boot"` // 1 or 2
	WallMS int64  `json:"wall_ms"`
}

// Target is a kernel module that the livepatch changes, or that such a module
// needs.
type Target struct {
	Name   string `json:"name"`
	Needed bool   `json:"needed_only,omitempty"` // not patched itself
	// Baseline is how it loads without the livepatch: "loaded", or the error.
	Baseline string `json:"baseline"`
	// First: it was loaded before the livepatch, and was patched by its load.
	First bool `json:"patched_when_loaded_first"`
	// Coming is how it loads when the livepatch is there already; "" when
	// that was not tried.
	Coming string `json:"coming,omitempty"`
	// Applied: the kernel said that it applied the livepatch to the module
	// while that was loading. True even for a module whose own start then
	// fails for want of hardware.
	Applied bool `json:"patched_while_loading"`
	// Fixed: the module cannot be unloaded, so the second order took a boot
	// of its own.
	Fixed bool `json:"not_unloadable,omitempty"`
}

// Function is a function that the livepatch replaces, as sysfs lists it.
type Function struct {
	Object  string `json:"object"` // "vmlinux" or a module's name
	Name    string `json:"name"`
	Sympos  int    `json:"sympos"`  // 1 when it is the only one of that name, as in sysfs
	Patched bool   `json:"patched"` // by sysfs, in at least one of the two orders
	// WhileLoading: its module was patched while that loaded (Target.Applied).
	// Where Patched is false the module did not start in this machine, so the
	// function was found and patched, and never ran.
	WhileLoading bool `json:"patched_while_loading,omitempty"`
	Handler      bool `json:"handler"` // ftrace lists livepatch's handler for a function of that name
}

// Transition is one switch of all threads from the old code to the new or back.
type Transition struct {
	Phase    string `json:"phase"`
	Patching bool   `json:"patching"` // to the new code
	Done     bool   `json:"done"`
	MS       int64  `json:"ms"`
	// Blockers are the threads that did not switch in time.
	Blockers []wire.Task `json:"blockers,omitempty"`
}

// Check is one run of the check command.
type Check struct {
	Phase    string `json:"phase"`
	Patched  bool   `json:"patched"` // the livepatch was in effect
	Exit     int    `json:"exit"`    // 0: the fix is in effect
	TimedOut bool   `json:"timed_out,omitempty"`
	Output   string `json:"output"`
	Cut      bool   `json:"output_cut,omitempty"`
	MS       int64  `json:"ms"`
}

// Taint are the kernel's taint flags, spelled as in its "Tainted:".
type Taint struct {
	Before     string `json:"before"`
	After      string `json:"after"`
	Unexpected string `json:"unexpected,omitempty"`
}

// LogEntry is a line of the kernel log that matters.
type LogEntry struct {
	Phase   string   `json:"phase"`
	Text    string   `json:"text"`
	Trouble bool     `json:"trouble,omitempty"` // it counts against the livepatch
	Excused bool     `json:"excused,omitempty"` // trouble that is there without the livepatch, too
	Trace   []string `json:"trace,omitempty"`
}

// fail adds a reason.
func (r *Report) fail(code Code, phase, format string, args ...any) {
	r.Reasons = append(r.Reasons, Reason{code, phase, fmt.Sprintf(format, args...)})
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// judge sets the verdict. finished says that the sequence went to its end with
// the token echoed: without it nothing passes.
func (r *Report) judge(finished bool) {
	r.Verdict = Passed
	for _, reason := range r.Reasons {
		if !incompleteCodes[reason.Code] {
			r.Verdict = Failed
			return
		}
		r.Verdict = Incomplete
	}
	if !finished && r.Verdict == Passed {
		r.Verdict = Incomplete
		r.fail(CodeGuest, "", "the sequence did not reach its end")
	}
}

func ms(d time.Duration) int64 { return d.Milliseconds() }
