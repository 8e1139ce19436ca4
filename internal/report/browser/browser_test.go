// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const faulty = `<!DOCTYPE html><html lang="en"><title>x</title>
<main><h1>one</h1><h3>three</h3><p id="a" style="color:#999">pale</p><p id="a">twice</p>
<a href="#nowhere">link</a><svg></svg><input><table><tr><td>1</td></tr></table>
<button></button><table><tr><th scope="col">2</th></tr><tr><td>3</td></tr></table><table role="presentation"><tr><td>4</td></tr></table>
<pre style="overflow:auto;width:50px">wide wide wide wide</pre><div style="width:3000px">wide</div></main>
<img src="http://127.0.0.1:9/x.png"><script>console.log("said"); setTimeout(() => { throw new Error("thrown"); }, 0);</script></html>`

// TestFaultsAreFound: a page with each of the faults fails each of the checks.
func TestFaultsAreFound(t *testing.T) {
	name := filepath.Join(t.TempDir(), "faulty.html")
	if err := os.WriteFile(name, []byte(faulty), 0o644); err != nil {
		t.Fatal(err)
	}
	tab := Start(t).Open(t, name, View{Width: 800, Height: 600})
	found := strings.Join(append(tab.Faults(), tab.Unsaid()...), "\n")
	for _, want := range []string{"the page is 3", "skips a level", "there twice", "leads nowhere", "picture without a name", "field without a label",
		"table without headers", "cannot be reached by the keyboard", "contrast of 2.8",
		"no name of a button", "no name of a table", "1 of 3 tables"} {
		if !strings.Contains(found, want) {
			t.Errorf("no %q among\n%s", want, found)
		}
	}
	tab.Eval("new Promise((r) => setTimeout(() => setTimeout(r, 0), 0))", nil) // behind the one that throws
	wrong := tab.Wrong()
	for _, want := range []string{"request: ", "console: ", "exception: "} {
		if !strings.Contains(wrong, want) {
			t.Errorf("no %q among\n%s", want, wrong)
		}
	}
}
