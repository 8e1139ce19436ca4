// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
)

// edit replaces a stretch of the document in what is written of it.
type edit struct {
	from, to int32
	text     string
}

// source is a stretch of the document as it is, with edits made.
func (c *cutter) source(from, to int32, edits []edit) string {
	sort.Slice(edits, func(i, j int) bool { return edits[i].from < edits[j].from })
	var b bytes.Buffer
	at := from
	for _, e := range edits {
		if e.from < at || e.to > to {
			continue
		}
		b.Write(c.doc.Text[at:e.from])
		b.WriteString(e.text)
		at = e.to
	}
	b.Write(c.doc.Text[at:to])
	return b.String()
}

// lineMarked is raw text of the document with line markers made directives.
func (c *cutter) lineMarked(at int32, raw string) string {
	var b strings.Builder
	f, line := c.doc.Position(at)
	fmt.Fprintf(&b, "#line %d \"%s\"\n", line, c.doc.Files[f])
	for text := range strings.Lines(raw) {
		if strings.HasPrefix(text, "# ") {
			if n, name, ok := marker(text); ok {
				if name != `""` {
					fmt.Fprintf(&b, "#line %d %s\n", n, name)
				}
				continue
			}
		}
		b.WriteString(text)
	}
	return b.String()
}

// marker reads a line marker: # LINE "FILE" FLAGS (GCC's cpp, Preprocessor
// Output).
func marker(text string) (line int, file string, ok bool) {
	f := strings.Fields(text)
	if len(f) < 3 || f[0] != "#" || !strings.HasPrefix(f[2], `"`) {
		return 0, "", false
	}
	n, err := strconv.Atoi(f[1])
	end := strings.LastIndexByte(text, '"')
	return max(n, 1), text[strings.IndexByte(text, '"') : end+1], err == nil
}

// tidy takes out line markers and what #if left: runs of empty lines, and empty
// lines where a block begins. at is where the first line is; it returns where
// each line that is left is.
func tidy(text string, at Origin) (string, []Origin) {
	var b strings.Builder
	var lines []Origin
	empty, opened := 0, false // opened: the line before opens a block
	for line := range strings.Lines(text) {
		here := at
		if at.Line > 0 {
			at.Line++
		}
		switch {
		case strings.HasPrefix(line, "# "):
			if n, name, ok := marker(line); ok {
				at = Origin{}
				if name = strings.Trim(name, `"`); name != "" {
					at = Origin{path.Clean(name), n}
				}
			}
			continue
		case strings.TrimSpace(line) == "":
			if empty++; empty > 1 || opened {
				continue
			}
		default:
			empty, opened = 0, strings.HasSuffix(strings.TrimSpace(line), "{")
		}
		b.WriteString(line)
		lines = append(lines, here)
	}
	return b.String(), lines
}

func (c *cutter) originOf(off int32) Origin {
	f, line := c.doc.Position(off)
	return Origin{path.Clean(c.doc.Files[f]), line}
}

// tokens prints expanded tokens [first,last), with new names for those in
// rename (by token) and without those in drop.
func (c *cutter) tokens(first, last int, rename map[int]string, drop func(string) bool) string {
	var b strings.Builder
	column, prev := 0, ""
	for i := first; i < last; i++ {
		t := &c.u.Tokens[i]
		text := c.u.Names.Text(t.Name)
		same := c.ownName(i, last)
		if drop != nil && drop(text) {
			i += same
			continue
		}
		if drop != nil && drop("inline") && c.inlineAttribute(i, last) {
			i += inlineAttributeLen - 1
			continue
		}
		if r, ok := rename[i]; ok {
			text = r
		}
		switch {
		case prev == "":
		case column+len(text) > 96:
			b.WriteString("\n\t")
			column = 8
		case t.Flags&ctext.SpaceBefore != 0 || glued(prev, text):
			b.WriteByte(' ')
			column++
		}
		b.WriteString(text)
		column += len(text)
		prev = text
		i += same
	}
	return b.String()
}

// ownName is for a token that is the name of a macro whose expansion begins with
// that very name how many more tokens the macro makes, else 0: written out, the
// name would be expanded once more (the kernel's inline).
func (c *cutter) ownName(i, last int) int {
	t := &c.u.Tokens[i]
	m := c.doc.MacroAt(t.Name, t.From)
	if m == nil || m.FuncLike || len(m.Body) == 0 || m.Body[0].Name != t.Name {
		return 0
	}
	all := c.objectLike(nil, m, t.From, 8)
	if i+len(all) > last || !slices.EqualFunc(all, c.u.Tokens[i:i+len(all)], func(n ctext.Name, t ctext.Token) bool { return n == t.Name }) {
		return 0
	}
	return len(all) - 1
}

// objectLike appends what a macro without parameters expands to, if it uses only
// such, nested no more than depth.
func (c *cutter) objectLike(out []ctext.Name, m *ctext.Macro, at int32, depth int) []ctext.Name {
	const longest = 64 // tokens; what is longer is none of ownName's
	for _, t := range m.Body {
		in := c.doc.MacroAt(t.Name, at)
		switch {
		case len(out) > longest || depth == 0:
			return out
		case in == nil || in.FuncLike || in == m || len(in.Body) > 0 && in.Body[0].Name == t.Name:
			out = append(out, t.Name)
		default:
			out = c.objectLike(out, in, at, depth-1)
		}
	}
	return out
}

const inlineAttributeLen = 6 // tokens: __attribute__ ( ( NAME ) )

// inlineAttribute reports whether tokens are an attribute that makes sense for
// inline functions only (the kernel's inline is a macro with __gnu_inline__,
// include/linux/compiler_types.h). GCC warns of one without.
func (c *cutter) inlineAttribute(i, last int) bool {
	if i+inlineAttributeLen > last || c.u.Names.Text(c.u.Tokens[i].Name) != "__attribute__" {
		return false
	}
	return slices.Contains([]string{"gnu_inline", "always_inline"}, strings.Trim(c.u.Names.Text(c.u.Tokens[i+3].Name), "_")) && c.u.Names.Text(c.u.Tokens[i+4].Name) == ")"
}

// glued reports whether two tokens would become another one without a space.
func glued(a, b string) bool {
	x, y := a[len(a)-1], b[0]
	if wordByte(x) && (wordByte(y) || y == '"' || y == '\'') {
		return true
	}
	return strings.IndexByte("+-&|<>=#.*/%^!:", x) >= 0 && strings.IndexByte("+-&|<>=#.*/%^!:", y) >= 0
}

// linkage are the words of a definition that its declaration for use elsewhere
// does not have.
var linkage = []string{"static", "extern", "inline", "__inline", "__inline__", "__always_inline", "noinline", "noinline_for_stack", "__init", "__exit", "__ref"}

// plain reports whether the text of an item is its own: one item of one chunk,
// with the tokens of its head spelled where they stand.
func (c *cutter) plain(item int, names map[string]bool) bool {
	it := &c.u.Items[item]
	if len(c.chunks[it.Chunk]) != 1 {
		return false
	}
	for i := range it.Decls {
		d := &it.Decls[i]
		if d.Space == csyntax.Ordinary && d.Kind != csyntax.Enumerator && (!names[c.u.Names.Text(d.Name)] || c.u.Tokens[d.Tok].Expanded()) {
			return false
		}
	}
	return true
}

// words is the unexpanded text of a stretch without some of its words.
func (c *cutter) words(from, to int32, drop []string) (string, bool) {
	toks, err := c.doc.Lex(from, to)
	if err != nil {
		return "", false
	}
	var edits []edit
	for i := range toks {
		t := &toks[i]
		if slices.Contains(drop, c.doc.Names.Text(t.Name)) {
			end := t.To
			for end < to && (c.doc.Text[end] == ' ' || c.doc.Text[end] == '\t') {
				end++
			}
			edits = append(edits, edit{from: t.From, to: end})
		}
	}
	text, _ := tidy(c.source(from, to, edits), Origin{})
	return strings.TrimSpace(text), true
}

// declsOf are the declarations of some names in an item.
func (c *cutter) declsOf(item int, names map[string]bool) []*csyntax.Decl {
	var out []*csyntax.Decl
	for i := range c.u.Items[item].Decls {
		d := &c.u.Items[item].Decls[i]
		if d.Space == csyntax.Ordinary && d.Kind != csyntax.Enumerator && names[c.u.Names.Text(d.Name)] {
			out = append(out, d)
		}
	}
	return out
}

// declaration is the text that declares names of an item for the kernel's own:
// all in one, since the types that the item defines must be there once.
func (c *cutter) declaration(item int, ds []*csyntax.Decl) string {
	names, sized, builtin := map[string]bool{}, false, false
	for _, d := range ds {
		name := c.u.Names.Text(d.Name)
		names[name] = true
		sized = sized || d.Incomplete && d.Init >= 0
		builtin = builtin || c.q.builtins[name]
	}
	text := ""
	if c.plain(item, names) && !sized && len(ds) == 1 {
		if head, ok := c.words(c.u.Items[item].From, c.headEnd(item), linkage); ok {
			text = strings.TrimRight(head, " \t\n;=")
		}
	}
	if text == "" {
		text = c.declarators(item, ds, linkage)
	}
	text = "extern " + text + ";"
	if builtin { // as static, as the unit has it, GCC does not mind
		text = "#pragma GCC diagnostic push\n#pragma GCC diagnostic ignored \"-Wbuiltin-declaration-mismatch\"\n" + text + "\n#pragma GCC diagnostic pop"
	}
	return text
}

// declarators prints specifiers and some declarators out of expanded tokens.
func (c *cutter) declarators(item int, ds []*csyntax.Decl, drop []string) string {
	text := c.specifiers(item, drop)
	for i, d := range ds {
		if i > 0 {
			text += ","
		}
		text += " " + c.declarator(d, c.u.Names.Text(d.Name), drop)
	}
	return strings.TrimSpace(text)
}

// specifiers are those of an item: as its text has them, if no macro spells
// them.
func (c *cutter) specifiers(item int, drop []string) string {
	it := &c.u.Items[item]
	first, last := it.Specifiers[0], it.Specifiers[1]
	if first < last && !c.anyExpanded(first, last) {
		if text, ok := c.words(c.u.Tokens[first].Off, c.u.Tokens[last-1].To, drop); ok {
			return text
		}
	}
	return c.tokens(first, last, nil, dropping(drop))
}

func (c *cutter) anyExpanded(first, last int) bool {
	return slices.ContainsFunc(c.u.Tokens[first:last], func(t ctext.Token) bool { return t.Expanded() })
}

func dropping(words []string) func(string) bool {
	return func(s string) bool { return slices.Contains(words, s) }
}

// declarator prints one declarator out of expanded tokens.
func (c *cutter) declarator(d *csyntax.Decl, name string, drop []string) string {
	decl := c.tokens(d.Declarator[0], d.Declarator[1], map[int]string{d.Tok: name}, dropping(drop))
	if n := c.q.Object.Elements[c.u.Names.Text(d.Name)]; d.Incomplete && d.Init >= 0 && n > 0 {
		decl = strings.Replace(decl, "[]", "["+itoa(int(n))+"]", 1)
		decl = strings.Replace(decl, "[ ]", "["+itoa(int(n))+"]", 1)
	}
	return strings.TrimSpace(decl)
}

// prototype declares a function of the file.
func (c *cutter) prototype(name string, p proto) string {
	def := c.definition(Name{Text: name})
	d := c.decl(*def)
	declare := func(name string) string {
		return strings.TrimSpace(c.tokens(c.u.Items[def.Item].Specifiers[0], c.u.Items[def.Item].Specifiers[1], nil, dropping(linkage)) + " " + c.declarator(d, name, linkage))
	}
	if p == protoOriginal {
		return "extern " + declare(name) + ";"
	}
	if p == protoNoinline {
		return linked(d) + declare(name) + " __attribute__((__noinline__));"
	}
	return declare(Prefix+name) + ";"
}

// linked is the storage class of a copy's prototype.
func linked(d *csyntax.Decl) string {
	if d.Storage&csyntax.Static != 0 {
		return "static "
	}
	return ""
}

// comment is where the comment right above an item begins, or its own start.
func (c *cutter) comment(from int32) int32 {
	text := c.doc.Text
	i := from
	for i > 0 && (text[i-1] == ' ' || text[i-1] == '\t') {
		i--
	}
	if i < 1 || text[i-1] != '\n' {
		return from
	}
	i--
	if i < 2 || text[i-1] != '/' || text[i-2] != '*' {
		return from
	}
	start := bytes.LastIndex(text[:i-1], []byte("/*"))
	if start < 0 || bytes.Contains(text[start:i-2], []byte("*/")) {
		return from
	}
	if start > 0 && text[start-1] != '\n' {
		return from // it belongs to what stands before it
	}
	return int32(start)
}
