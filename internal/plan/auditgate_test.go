// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	"kmend/internal/kernel"
)

// A plan without an audit says so, and why.
func TestNoAuditIsLoud(t *testing.T) {
	for id, want := range map[string]bool{
		"gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0":                  true,
		"x86_64-linux-gnu-gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0": true,
		"Debian clang version 14.0.6":                               false,
	} {
		p := &Plan{}
		if got := auditGate(p, &Request{Kernel: &kernel.Kernel{CompilerID: id}}); got != want || (len(p.Warnings) == 0) != want {
			t.Errorf("%s: audit %v with warnings %v, want %v", id, got, p.Warnings, want)
		}
	}
	p := &Plan{}
	if auditGate(p, &Request{Kernel: &kernel.Kernel{CompilerID: "gcc-12"}, NoAudit: true}) || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Text, "--no-audit") {
		t.Errorf("with --no-audit: warnings %v", p.Warnings)
	}
}
