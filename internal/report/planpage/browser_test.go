// SPDX-License-Identifier: Apache-2.0

package planpage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// TestInABrowser: the page opens from the disk on a desk, on a phone, in the
// dark and for print; it asks for nothing, and shuts nobody out.
func TestInABrowser(t *testing.T) {
	c := browser.Start(t)
	t.Run("without scripts", func(t *testing.T) { textIsThere(t, c) })
	t.Run("links and folds", func(t *testing.T) { linksAndFolds(t, c) })
	t.Run("attacks", func(t *testing.T) { attacksDoNothing(t, c) })
	page := file(t, example(t))
	for name, v := range map[string]browser.View{
		"desktop": {Width: 1300, Height: 900}, "phone": {Width: 390, Height: 844}, "narrow": {Width: 320, Height: 600},
		"dark": {Width: 1300, Height: 900, Dark: true}, "print": {Width: 800, Height: 900, Print: true},
	} {
		t.Run(name, func(t *testing.T) {
			tab := c.Open(t, page, v)
			tab.Screenshot("plan-"+name, true)
			tab.Check(t)
		})
	}
}

// texts are places of the page and what must be read there.
var texts = map[string]string{
	"h1":                         "livepatch_example",
	"#main":                      "0xffffffff81000000",
	"section:has(> #fix)":        "if (!length)",
	"#f-0-0":                     "GCC copied parse into it",
	"#f-0-0 .add":                "if (!length)",
	"#f-0-0 .code .del":          "mov",
	"section:has(> #units)":      "where running code that was matched finds it",
	"section:has(> #test)":       "the check exits with 1",
	"section:has(> #test) table": "boot",
	"section:has(> #timings)":    "0.75 s in all",
}

func textIsThere(t *testing.T, c *browser.Chromium) {
	tab := c.Open(t, file(t, example(t)), browser.View{Width: 1300, Height: 900, NoScript: true})
	for selector, want := range texts {
		if got := tab.Text(selector); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %q", selector, want, got)
		}
	}
	if wrong := tab.Wrong(); wrong != "" {
		t.Error(wrong)
	}
}

func linksAndFolds(t *testing.T, c *browser.Chromium) {
	tab := c.Open(t, file(t, example(t)), browser.View{Width: 1300, Height: 900})
	tab.Click(`a[href="#f-1-0"]`)
	var at string
	tab.Eval("location.hash", &at)
	if at != "#f-1-0" {
		t.Errorf("the link led to %q", at)
	}
	visible := "document.querySelector('#f-0-0 details tbody').checkVisibility()"
	var before, after bool
	tab.Eval(visible, &before)
	tab.Click("#f-0-0 details > summary")
	tab.Eval(visible, &after)
	if before || !after {
		t.Errorf("the source that did not change is shown: before the click %v, after it %v", before, after)
	}
	// Everything that a mouse can do the keyboard can: the first stop leads past the contents.
	tab.Eval("location.hash = ''; document.activeElement.blur(); 0", nil)
	tab.Do("Page.reload", nil, nil)
	tab.Eval("new Promise((r) => document.readyState === 'complete' ? r(1) : addEventListener('load', () => r(1)))", nil)
	tab.Press("Tab")
	var focus string
	tab.Eval("document.activeElement.className", &focus)
	if focus != "skip" {
		t.Errorf("the first stop of the keyboard is %q", focus)
	}
}

// attacksDoNothing: what a plan says does not run, or become a part of the
// document.
func attacksDoNothing(t *testing.T, c *browser.Chromium) {
	tab := c.Open(t, file(t, hostile(t)), browser.View{Width: 390, Height: 844})
	var found struct {
		Pwned          *string
		Images, Others int
	}
	tab.Eval(`({Pwned: document.body.dataset.pwned, Images: document.images.length,
		Others: document.querySelectorAll("[onerror], iframe, object, embed, form, base, link, a:not([href^='#'])").length})`, &found)
	if found.Pwned != nil || found.Images != 0 || found.Others != 0 {
		t.Errorf("text became markup: %+v", found)
	}
	tab.Check(t)
}
