// SPDX-License-Identifier: Apache-2.0

package explorer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmend/internal/impact/index"
	"kmend/internal/report/browser"
)

func file(t *testing.T, in Input) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(name, []byte(write(t, in)), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

var desk = browser.View{Width: 1300, Height: 900}

func TestInABrowser(t *testing.T) {
	c := browser.Start(t)
	first := build(t)
	l, err := ReadLevels("l.json", strings.NewReader(measured))
	if err != nil {
		t.Fatal(err)
	}
	page := file(t, Input{Builds: []Build{{"plain", first}, {"none", build(t, "-fno-inline")}}, Levels: l})
	for name, v := range map[string]browser.View{"desktop": desk, "phone": {Width: 390, Height: 844}, "dark": {Width: 1300, Height: 900, Dark: true}, "print": {Width: 800, Height: 900, Print: true}} {
		t.Run(name, func(t *testing.T) {
			tab := c.Open(t, page, v)
			tab.Eval("location.hash = 'function=inc.h:2:shared'; 0", nil)
			tab.Await("an answer", "#answer", "inlined into uses3")
			tab.Screenshot("index-"+name, true)
			tab.Check(t)
		})
	}
	t.Run("search", func(t *testing.T) { search(t, c, page) })
	t.Run("answers", func(t *testing.T) { sameAnswers(t, c, page, first) })
	t.Run("without scripts", func(t *testing.T) { withoutScripts(t, c, page) })
	t.Run("attack", func(t *testing.T) { attack(t, c, page) })
}

// search is used by the keyboard, by the mouse, and by a link.
func search(t *testing.T, c *browser.Chromium, page string) {
	tab := c.Open(t, page, desk)
	state := func(what string, want ...string) {
		t.Helper()
		tab.Await(what, "#explore", want...)
	}
	tab.Eval("document.getElementById('search').focus(); 0", nil)
	tab.Type("MID")
	state("after typing", "1 function found.", "one.c:5, 1 symbol")
	tab.Press("ArrowDown")
	var active string
	tab.Eval("document.getElementById(document.getElementById('search').getAttribute('aria-activedescendant')).getAttribute('aria-selected')", &active)
	if active != "true" {
		t.Errorf("the chosen option is %q", active)
	}
	tab.Press("Enter")
	state("after Enter", "one.c:5: known to 1 unit; 1 symbol would have to be replaced", "inlined into top", "kmend impact --index FILE one.c:5:middle")
	var focus, expanded string
	tab.Eval("document.activeElement.innerText", &focus)
	tab.Eval("document.getElementById('search').getAttribute('aria-expanded')", &expanded)
	if focus != "middle" || expanded != "false" {
		t.Errorf("the focus is on %q, the list expanded: %s", focus, expanded)
	}
	tab.Eval("document.getElementById('search').select(); 0", nil)
	tab.Type("one fie")
	state("words", "fields")
	tab.Click("#option-0")
	state("after a click", "isra clone fields.isra.0", "clone called by caller2", "2 symbols would have to be replaced")
	tab.Eval("document.getElementById('search').select(); 0", nil)
	tab.Type("nothing like it")
	state("unknown", "0 functions found.")
	tab.Press("Escape")
	tab.Click("#worst ~ div a")
	state("by link", "shared", "inc.h:2: known to 2 units", "no fentry: cannot be replaced itself", "freed after the start")
	tab.Eval("location.hash = 'function=gone.c:1:gone'; 0", nil)
	state("a link of another build", "No function of this build is gone.c:1:gone.")
	if wrong := tab.Wrong(); wrong != "" {
		t.Error(wrong)
	}
}

// sameAnswers: for every function the page finds as many symbols as the index,
// of the small build and of the one that $KMEND_TEST_INDEX names.
func sameAnswers(t *testing.T, c *browser.Chromium, page string, x *index.Index) {
	pages := map[string]*index.Index{page: x}
	if name := os.Getenv("KMEND_TEST_INDEX"); name != "" {
		large, err := index.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = large.Close() })
		pages[file(t, Input{Builds: []Build{{"large", large}}})] = large
	}
	for page, x := range pages {
		var got struct {
			Names  []string
			Counts []int
		}
		c.Open(t, page, desk).Eval("({Names: kmend.text.names, Counts: kmend.text.names.map((_, f) => kmend.counted(f))})", &got)
		q := x.NewQuery()
		i, some := 0, 0
		err := q.Each(func(f *index.Function) bool {
			if n := q.Count(f); i >= len(got.Names) || f.Name != got.Names[i] || n != got.Counts[i] {
				t.Errorf("%s: %d symbols in the index; the page has %v", f.Name, n, got)
				return false
			} else if n > 0 {
				some++
			}
			i++
			return true
		})
		if err != nil || i != len(got.Names) || some < 5 {
			t.Errorf("%d functions of %d, %d with dependents, %v", i, len(got.Names), some, err)
		}
	}
}

func withoutScripts(t *testing.T, c *browser.Chromium, page string) {
	tab := c.Open(t, page, browser.View{Width: 1300, Height: 900, NoScript: true})
	for selector, want := range map[string]string{
		"header": "3 units", "#main": "The search needs JavaScript", "section:has(> #worst)": "inc.h:2", "section:has(> #levels)": "only-inline-static",
		"section:has(> #builds)": "none against plain", "section:has(> #distribution)": "mean",
	} {
		if got := tab.Text(selector); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %q", selector, want, got)
		}
	}
	var shown bool
	tab.Eval("document.getElementById('search').checkVisibility()", &shown)
	if shown {
		t.Error("a search that cannot work is shown")
	}
}

// attack: a file whose name is markup is text wherever it comes up.
func attack(t *testing.T, c *browser.Chromium, page string) {
	tab := c.Open(t, page, desk)
	tab.Eval("document.getElementById('search').focus(); 0", nil)
	tab.Type("strange")
	tab.Press("Enter")
	tab.Await("after Enter", "#answer", odd, "inlined into estranged")
	var found struct {
		Pwned  *string
		Images int
	}
	tab.Eval("({Pwned: document.body.dataset.pwned, Images: document.images.length})", &found)
	if found.Pwned != nil || found.Images != 0 {
		t.Errorf("%+v", found)
	}
	if wrong := tab.Wrong(); wrong != "" {
		t.Error(wrong)
	}
}
