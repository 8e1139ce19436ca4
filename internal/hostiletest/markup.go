// SPDX-License-Identifier: Apache-2.0

package hostiletest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hidden finds the first character that does not show as itself: a control
// character, a mark of direction, a byte that is no UTF-8. Line ends are none;
// tabs are, unless they are allowed. It gives "" if there is none.
func Hidden(text string, tabs bool) string {
	for i, r := range text {
		switch {
		case r == '\n' || r == '\t' && tabs:
			continue
		case r == utf8.RuneError && text[i] != "\ufffd"[0]:
		case r < 0x80 && !unicode.IsControl(r), r >= 0x80 && !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) && r != '\u2028' && r != '\u2029':
			continue
		}
		return fmt.Sprintf("%q at byte %d, in %.60q", text[i:i+min(4, len(text)-i)], i, text[max(0, i-20):min(len(text), i+40)])
	}
	return ""
}

// void are elements without an end (HTML, "Void elements").
var void = []string{"meta", "br", "col", "hr", "input"}

// allowed are the elements that pages of kmend have.
var allowed = strings.Fields(`html head title style body script a nav main section header footer div span p h1 h2 h3 h4 h5 h6 ul ol li dl dt dd
	table caption thead tbody tfoot tr th td details summary pre code strong em b i small sup sub time figure figcaption label select option button output noscript
	svg g path rect line circle text tspan desc defs marker polygon polyline ellipse ins del kbd abbr ` + strings.Join(void, " "))

var quotedValue = regexp.MustCompile(`"[^"]*"|'[^']*'`)

// Markup looks whether a page is made of whole elements that nest, of none but
// those that kmend's pages have, and leads nowhere but into itself.
func Markup(html string) error {
	html, ok := strings.CutPrefix(html, "<!DOCTYPE html>\n")
	if !ok || !strings.HasSuffix(html, "</html>\n") {
		return fmt.Errorf("it does not begin and end as a page: %.60q … %.60q", html, html[max(0, len(html)-60):])
	}
	var open []string
	for {
		at := strings.IndexByte(html, '<')
		if at < 0 {
			break
		}
		html = html[at+1:]
		end := strings.IndexByte(html, '>')
		if end < 0 {
			return fmt.Errorf("a tag does not end: %.80q", html)
		}
		tag := html[:end]
		html = html[end+1:]
		name := strings.TrimPrefix(tag, "/")
		if i := strings.IndexAny(name, " \n/"); i >= 0 {
			name = name[:i]
		}
		switch {
		case !slices.Contains(allowed, name):
			return fmt.Errorf("it has the element %.80q", tag)
		case tag[0] == '/':
			if len(open) == 0 || open[len(open)-1] != name {
				return fmt.Errorf("%q ends, and open are %q", name, open)
			}
			open = open[:len(open)-1]
			continue
		}
		if err := attributes(tag); err != nil {
			return err
		}
		if strings.HasSuffix(tag, "/") || slices.Contains(void, name) {
			continue
		}
		if name == "script" || name == "style" { // text that is no markup
			inside, rest, ok := strings.Cut(html, "</"+name+">")
			if !ok || strings.Contains(inside, "</"+name) {
				return fmt.Errorf("a %s does not end", name)
			}
			html = rest
			continue
		}
		open = append(open, name)
	}
	if len(open) > 0 {
		return fmt.Errorf("open are %q at the end", open)
	}
	return nil
}

// attributes looks for what would run or fetch something.
func attributes(tag string) error {
	last, bare := 0, ""
	for _, at := range quotedValue.FindAllStringIndex(tag, -1) {
		before := tag[last:at[0]]
		if strings.HasSuffix(before, " href=") && tag[at[0]+1] != '#' {
			return fmt.Errorf("a link leads out of the page: %.200q", tag)
		}
		bare, last = bare+before+`""`, at[1]
	}
	bare += tag[last:]
	if strings.Contains(bare, " on") || strings.Contains(bare, " src=") || strings.Count(bare, "href=") != strings.Count(bare, ` href=""`) {
		return fmt.Errorf("an attribute runs or fetches something: %.200q", tag)
	}
	return nil
}
