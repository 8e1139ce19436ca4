// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strings"
)

// Codes of refusals. They are stable; docs/refusals.md explains each.
const (
	CodeHeaderChanged    = "header-changed"
	CodeAssembly         = "assembly"
	CodeVDSO             = "vdso"
	CodeBootCode         = "boot-code"
	CodeBuildFile        = "build-file"
	CodeUnsupportedFile  = "unsupported-file"
	CodeFileAdded        = "file-added"
	CodeFileRemoved      = "file-removed"
	CodePatchingPath     = "patching-path"
	CodeNotApplied       = "does-not-apply"
	CodeNotBuilt         = "not-built"
	CodeNotCompiled      = "does-not-compile"
	CodeUnsupportedCode  = "unsupported-code"
	CodeLayoutChanged    = "layout-changed"
	CodeInterfaceChanged = "interface-changed"
	CodeCRCChanged       = "crc-changed"
	CodeDataChanged      = "data-changed"
	CodeInitCode         = "init-code"
	CodeInitReference    = "init-reference"
	CodeExitCode         = "exit-code"
	CodePerCPUChanged    = "percpu-changed"
	CodeExportChanged    = "export-changed"
	CodeAmbiguousStatic  = "ambiguous-static"
	CodeNoFentry         = "no-fentry"
	CodeRunPreMismatch   = "run-pre-mismatch"
	CodeWeakOverridden   = "weak-overridden"
	CodeAmbiguousSymbol  = "ambiguous-symbol"
	CodeUnresolved       = "unresolved-symbol"
	CodeUnproved         = "unproved-reference"
	CodeModuleStaticKey  = "module-static-key"
	CodeModuleStaticCall = "module-static-call"
	CodeModuleSpecial    = "module-special-reference"
	CodeNoFunction       = "no-function"
	CodeNeverCalled      = "never-called"
	CodeNotCovered       = "impact-not-covered"
	CodeVerify           = "verify-objection"
	CodeKernelConfig     = "kernel-config"
	CodeStateDuplicated  = "state-duplicated"
	CodeExtractedSet     = "extracted-set"
	CodeExtractedText    = "extraction-unproved"
	CodeExtractedData    = "extracted-data"
	CodeCloneReplaced    = "clone-replaced"
	CodeWaysDisagree     = "ways-disagree"
	CodeNotExtracted     = "not-extracted"
	CodePolicy           = "policy"
)

// Refusal is one reason why there is no patch. Several may come together.
type Refusal struct {
	Code   string `json:"code"`
	File   string `json:"file"`
	Object string `json:"object"`
	Symbol string `json:"symbol"`
	Why    string `json:"why"`
	Advice string `json:"advice"`
	Detail string `json:"detail"` // several lines: a compiler's diagnostics, a hunk
}

// String is the refusal in one line.
func (r Refusal) String() string {
	var place []string
	for _, s := range []string{r.File, r.Object, r.Symbol} {
		if s != "" {
			place = append(place, s)
		}
	}
	s := r.Code + ": "
	if len(place) > 0 {
		s += strings.Join(place, ": ") + ": "
	}
	s += r.Why
	if r.Advice != "" {
		s += "; " + r.Advice
	}
	return s
}

// RefusedError is what commands return for a refused plan.
type RefusedError struct{ Refusals []Refusal }

// Error counts the refusals and gives the first.
func (e *RefusedError) Error() string {
	if len(e.Refusals) == 0 {
		return "refused"
	}
	if n := len(e.Refusals); n > 1 {
		return fmt.Sprintf("refused for %d reasons, first: %s", n, e.Refusals[0])
	}
	return "refused: " + e.Refusals[0].String()
}
