// SPDX-License-Identifier: Apache-2.0

package browser

import (
	_ "embed"
	"fmt"
	"slices"
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
	for _, f := range append(tab.Faults(), tab.Unsaid()...) {
		t.Errorf("%s", f)
	}
	if wrong := tab.Wrong(); wrong != "" {
		t.Error(wrong)
	}
}

// Spoken is a part of the page as the browser tells it to a screen reader.
type Spoken struct {
	Role, Name string
	Focusable  bool
}

// Spoken are the parts of the page in the order in which they are read, texts
// and what has no role left out.
func (tab *Tab) Spoken() (parts []Spoken) {
	tab.t.Helper()
	type value struct {
		Value any `json:"value"`
	}
	var tree struct {
		Nodes []struct {
			ID         string `json:"nodeId"`
			Ignored    bool
			Role, Name value
			Children   []string `json:"childIds"`
			Properties []struct {
				Name  string
				Value value
			}
		}
	}
	tab.Do("Accessibility.enable", nil, nil)
	tab.Do("Accessibility.getFullAXTree", nil, &tree)
	at := map[string]int{}
	for i, n := range tree.Nodes {
		at[n.ID] = i
	}
	var read func(i int)
	read = func(i int) {
		n := tree.Nodes[i]
		s := Spoken{Role: fmt.Sprint(n.Role.Value), Name: fmt.Sprint(n.Name.Value)}
		for _, p := range n.Properties {
			s.Focusable = s.Focusable || p.Name == "focusable" && p.Value.Value == true
		}
		if !n.Ignored && !slices.Contains([]string{"StaticText", "InlineTextBox", "generic", "none"}, s.Role) {
			if n.Name.Value == nil {
				s.Name = ""
			}
			parts = append(parts, s)
		}
		for _, id := range n.Children {
			if child, ok := at[id]; ok {
				read(child)
			}
		}
	}
	if len(tree.Nodes) > 0 {
		read(0)
	}
	return parts
}

// Unsaid is what a screen reader cannot say: parts without a name that one
// would look for by it, and tables that are no tables any more.
func (tab *Tab) Unsaid() (found []string) {
	tab.t.Helper()
	named := []string{"link", "button", "combobox", "textbox", "searchbox", "image", "img", "table", "navigation", "region", "listbox", "option", "heading", "DisclosureTriangle"}
	tables := 0
	for _, s := range tab.Spoken() {
		if s.Name == "" && (slices.Contains(named, s.Role) || s.Role == "group" && s.Focusable) {
			found = append(found, "a screen reader finds no name of a "+s.Role)
		}
		if s.Role == "table" {
			tables++
		}
	}
	var there int
	tab.Eval("[...document.querySelectorAll('table')].filter((t) => t.checkVisibility()).length", &there)
	if tables != there {
		found = append(found, fmt.Sprintf("a screen reader finds %d of %d tables", tables, there))
	}
	return found
}
