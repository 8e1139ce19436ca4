// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"kmend/internal/compiler"
	"kmend/internal/run"
	"os"
	"strings"
	"testing"
)

func TestTry(t *testing.T) {
	cc, err := compiler.Identify(t.Context(), strings.Fields(os.Getenv("TRYCC")))
	if err != nil {
		t.Fatal(err)
	}
	e, err := Examine(t.Context(), cc, Setting{"x", strings.Fields(os.Getenv("TRYFLAGS"))}, Options{Jobs: run.NewJobs(0), Switches: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range e.Results {
		fmt.Printf("%-20s used=%-5v unsafe=%-5v shown=%-20q off=%q without=%q claimed=%s broken=%.90s\n", r.Probe, r.Used, r.Unsafe, r.Shown, r.Off, r.Without, r.Claimed, r.Broken)
	}
}
