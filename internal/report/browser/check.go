// SPDX-License-Identifier: Apache-2.0

package browser

import (
	_ "embed"
	"testing"
)

//go:embed check.js
var checkScript string

// Faults are what shuts readers out, or breaks the layout: text with too little
// contrast, pictures and fields without a name, tables without headers, headings
// that skip a level, an id that is there twice, links that lead nowhere in the
// page, and a page that is wider than the window.
func (tab *Tab) Faults() (found []string) {
	tab.t.Helper()
	tab.Eval(checkScript, &found)
	return found
}

// Check fails the test for each fault, and for whatever went Wrong.
func (tab *Tab) Check(t testing.TB) {
	t.Helper()
	for _, f := range tab.Faults() {
		t.Errorf("%s", f)
	}
	if wrong := tab.Wrong(); wrong != "" {
		t.Error(wrong)
	}
}
