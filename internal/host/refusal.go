// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"strings"
	"time"
)

// Codes of refusals. They are stable; docs/refusals.md explains them.
const (
	CodePath        = "untrusted-path"      // somebody other than root can change the file, or a directory above it
	CodeNotModule   = "not-a-livepatch"     // no livepatch module
	CodeOtherBuild  = "other-kernel-build"  // made for another build of a kernel
	CodeUnknown     = "kernel-unknown"      // nothing says which kernel it was made for, and kmend does not know the one that runs
	CodeRelease     = "other-release"       // vermagic of another release
	CodeObjections  = "verifier-objects"    // the verifier's objections
	CodeUnsigned    = "signature-required"  // the kernel takes signed modules only
	CodeNameTaken   = "name-taken"          // another module of that name is loaded, or one that cannot be shown to be the same
	CodePinned      = "disabled-and-pinned" // it was disabled, cannot go, and so cannot come back before a reboot
	CodeTransition  = "in-transition"       // another live patch is in transition
	CodeNeeds       = "needs-module"        // a module that it needs is not loaded
	CodeFtraceOff   = "ftrace-off"          // kernel.ftrace_enabled is 0
	CodeNoLivepatch = "no-livepatch"        // the kernel has no livepatch support, or /sys is not there
)

// Refusal is a reason not to do something. Nothing was changed.
type Refusal struct {
	Code   string `json:"code"`
	Where  string `json:"where"`            // file or module
	Why    string `json:"why"`              // what was found
	Advice string `json:"advice"`           // what to do
	Detail string `json:"detail,omitempty"` // lines: a verifier's objections
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: refused (%s): %s; %s", r.Where, r.Code, r.Why, r.Advice)
	if r.Detail != "" {
		s += "\n" + r.Detail
	}
	return s
}

// StallError says that a transition did not end in time, who holds it up, and
// what was done about it.
type StallError struct {
	Transition
	Timeout    time.Duration
	RolledBack bool  // all is as it was before
	Rollback   error // why not, if not
}

func (e *StallError) Error() string {
	verb, back := "load", "the live patch was disabled again and unloaded"
	if !e.Patching {
		verb, back = "unload", "the live patch was enabled again"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: the transition was not over after %v; ", verb, e.Name, e.Timeout.Round(time.Millisecond))
	switch {
	case e.RolledBack:
		b.WriteString(back)
	case e.Rollback != nil:
		fmt.Fprintf(&b, "going back failed: %v; see kmend status %s", e.Rollback, e.Name)
	}
	for _, line := range e.Explain() {
		b.WriteString("\n" + line)
	}
	b.WriteString("\ntry again when these tasks are at rest or ended, or with a longer --timeout")
	return b.String()
}
