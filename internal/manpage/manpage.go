// SPDX-License-Identifier: Apache-2.0

package manpage

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// Page is one manual page of section 1.
type Page struct {
	Name     string // kmend-build
	Date     string // 2026-11-26, digits and hyphens only
	Source   string // who it comes with: kmend 0.1.0
	Manual   string // what it is part of
	Sections []Section
}

// Section is a heading and what stands below it.
type Section struct {
	Title  string
	Blocks []Block
}

// Block is a paragraph, lines to be shown as they are, or a list of terms: one
// of the three is not empty.
type Block struct {
	Text  string
	Lines []string
	Terms []Term
}

// Term is a name and what it means. The name is printed in bold but for what
// stands between Mark and Mark, which is for the reader to replace.
type Term struct {
	Name, Text string
	Blocks     []Block // what it means, if that is more than a text
}

// Mark stands before and after a part of a name or a text that is set the other
// way: a placeholder in a term, a name in a text.
const Mark = "\x00"

var termLine = regexp.MustCompile(`^(\S+(?: \S+)*)\s{2,}(\S.*)$`)

// Parse reads a text as help texts are written: paragraphs, and below an
// indentation either a list, "name  what it means" with two blanks between and
// the following lines indented farther, or lines that stand as they are.
func Parse(text string) []Block {
	var out []Block
	var para, indented []string
	end := func() {
		if len(para) > 0 {
			out = append(out, Block{Text: strings.Join(para, " ")})
		}
		if len(indented) > 0 {
			out = append(out, list(indented))
		}
		para, indented = nil, nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(strings.ReplaceAll(line, "\t", "        "), " \n")
		switch {
		case line == "":
			end()
		case line[0] == ' ':
			if len(para) > 0 {
				end()
			}
			indented = append(indented, line)
		default:
			if len(indented) > 0 {
				end()
			}
			para = append(para, line)
		}
	}
	end()
	return out
}

// list reads indented lines as terms, or as lines if they are none. A term may
// also stand alone above what it means, which is indented farther.
func list(lines []string) Block {
	lines = Dedent(lines)
	var terms []Term
	for i := 0; i < len(lines); {
		end := i + 1
		for end < len(lines) && indent(lines[end]) > 0 {
			end++
		}
		below := Dedent(lines[i+1 : end])
		m := termLine.FindStringSubmatch(lines[i])
		switch {
		case m != nil:
			terms = append(terms, Term{Name: m[1], Text: strings.Join(append([]string{m[2]}, trimmed(below)...), " ")})
		case len(below) > 0:
			body := strings.Join(below, "\n")
			if termLine.MatchString(below[0]) { // a list in the list
				body = "  " + strings.Join(below, "\n  ")
			}
			terms = append(terms, Term{Name: lines[i], Blocks: Parse(body)})
		default:
			return Block{Lines: lines}
		}
		i = end
	}
	return Block{Terms: terms}
}

// Dedent takes the indentation off that all lines share.
func Dedent(lines []string) []string {
	var out []string
	least := -1
	for _, l := range lines {
		if n := indent(l); l != "" && (least < 0 || n < least) {
			least = n
		}
	}
	for _, l := range lines {
		out = append(out, l[min(len(l), max(least, 0)):])
	}
	return out
}

func trimmed(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimSpace(l)
	}
	return out
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// Bytes is the page as a file.
func (p *Page) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH %s 1 \"%s\" %s %s\n", quote(strings.ToUpper(p.Name)), p.Date, quote(p.Source), quote(p.Manual))
	b.WriteString(".nh\n.ad l\n") // names must neither be hyphenated nor spread
	for _, s := range p.Sections {
		fmt.Fprintf(&b, ".SH %s\n", quote(s.Title))
		for i, block := range s.Blocks {
			block.write(&b, i == 0)
		}
	}
	return b.Bytes()
}

func (k *Block) write(b *bytes.Buffer, first bool) {
	switch {
	case len(k.Terms) > 0:
		for _, t := range k.Terms {
			if len(t.Blocks) > 0 {
				fmt.Fprintf(b, ".PP\n%s\n.RS 4\n", styled(t.Name, `\fB`, `\fI`))
				for i, below := range t.Blocks {
					below.write(b, i == 0)
				}
				b.WriteString(".RE\n")
				continue
			}
			fmt.Fprintf(b, ".TP\n%s\n%s\n", styled(t.Name, `\fB`, `\fI`), styled(t.Text, `\fR`, `\fB`))
		}
	case len(k.Lines) > 0:
		if !first {
			b.WriteString(".PP\n")
		}
		b.WriteString(".RS 4\n.EX\n")
		for _, l := range k.Lines {
			if l == "" {
				b.WriteString("\\&\n")
			} else {
				b.WriteString(line(escape(l)) + "\n")
			}
		}
		b.WriteString(".EE\n.RE\n")
	default:
		if !first {
			b.WriteString(".PP\n")
		}
		b.WriteString(styled(k.Text, `\fR`, `\fB`) + "\n")
	}
}

// styled sets text in one font and what is marked in another.
func styled(text, font, other string) string {
	parts := strings.Split(text, Mark)
	var b strings.Builder
	for i, part := range parts {
		if part == "" {
			continue
		}
		f := font
		if i%2 == 1 {
			f = other
		}
		if f == `\fR` {
			b.WriteString(escape(part))
		} else {
			b.WriteString(f + escape(part) + `\fR`)
		}
	}
	return fold(b.String())
}

// fold breaks what roff fills again into lines that editors and mandoc like.
func fold(s string) string {
	const most = 78
	var b strings.Builder
	n := 0
	for i, word := range strings.Fields(s) {
		switch {
		case i == 0:
		case n+1+len(word) > most:
			b.WriteByte('\n')
			word, n = line(word), 0
		default:
			b.WriteByte(' ')
			n++
		}
		if i == 0 {
			word = line(word)
		}
		b.WriteString(word)
		n += len(word)
	}
	return b.String()
}

// escape makes text that roff shows as it is. Every hyphen is one that can be
// searched for and copied, as most are those of options.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "\n", " ").Replace(s)
}

// line makes a line no request, which begins with a dot or a quote.
func line(s string) string {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

// quote makes an argument of a request.
func quote(s string) string {
	return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"`
}
