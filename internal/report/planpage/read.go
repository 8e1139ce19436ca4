// SPDX-License-Identifier: Apache-2.0

package planpage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"kmend/internal/plan"
	"kmend/internal/vm"
)

// MaxInput bounds a plan or a result of kmend test, in bytes. That of a fix of one
// file has some 10 kB; a page shows a text in several places.
const MaxInput = 8 << 20

// ReadPlan reads a plan and checks that it is one that this version knows. What
// it says is not believed anywhere; it is only shown.
func ReadPlan(name string, r io.Reader) (*plan.Plan, error) {
	p := &plan.Plan{}
	if err := readDocument("plan", name, r, p); err != nil {
		return nil, err
	}
	switch {
	case p.Version != plan.FormatVersion:
		return nil, fmt.Errorf("read the plan %s: it has version %d, and this kmend knows version %d: make the page with the kmend that made the plan", name, p.Version, plan.FormatVersion)
	case p.Verdict != plan.Patch && p.Verdict != plan.Nothing && p.Verdict != plan.Refused:
		return nil, fmt.Errorf("read the plan %s: %q is no verdict of a plan: give the plan.json of kmend build, or what kmend plan --json prints", name, p.Verdict)
	case p.Verdict == plan.Refused && len(p.Refusals) == 0:
		return nil, fmt.Errorf("read the plan %s: it is refused and has no reason: it is damaged, make it again", name)
	}
	return p, nil
}

// ReadTest reads the result of kmend test --json, and checks that it is about
// the plan: the same live patch and the same kernel.
func ReadTest(name string, r io.Reader, p *plan.Plan) (*vm.Report, error) {
	t := &vm.Report{}
	if err := readDocument("result of the virtual machine", name, r, t); err != nil {
		return nil, err
	}
	known := t.Verdict == vm.Passed || t.Verdict == vm.Failed || t.Verdict == vm.Incomplete
	switch {
	case t.Version != vm.ReportVersion:
		return nil, fmt.Errorf("read the result %s: it has version %d, and this kmend knows version %d: make it again with kmend test --json", name, t.Version, vm.ReportVersion)
	case !known:
		return nil, fmt.Errorf("read the result %s: %q is no verdict: give what kmend test --json prints", name, t.Verdict)
	case t.Livepatch != p.Name:
		return nil, fmt.Errorf("use the result %s: it is about the live patch %q, and the plan about %q: run kmend test on the plan's module", name, t.Livepatch, p.Name)
	case t.Kernel.BuildID != "" && t.Kernel.BuildID != p.Kernel.BuildID:
		return nil, fmt.Errorf("use the result %s: the kernel with build id %q ran, and the plan is for %q: run kmend test with the plan's kernel", name, t.Kernel.BuildID, p.Kernel.BuildID)
	}
	return t, nil
}

// readDocument reads one JSON document and nothing behind it.
func readDocument(what, name string, r io.Reader, into any) error {
	data, err := io.ReadAll(io.LimitReader(r, MaxInput+1))
	if err != nil {
		return fmt.Errorf("read the %s %s: %w", what, name, err)
	}
	if len(data) > MaxInput {
		return fmt.Errorf("read the %s %s: it has more than %d MB, which none has", what, name, MaxInput>>20)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read the %s %s: it is no JSON document of kmend: %w", what, name, err)
	}
	if rest := strings.TrimSpace(string(data[dec.InputOffset():])); rest != "" {
		return fmt.Errorf("read the %s %s: something follows the document, at byte %d: give one document", what, name, dec.InputOffset())
	}
	return nil
}
