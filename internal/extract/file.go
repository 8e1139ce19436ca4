// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Judge compiles a text in place of the unit's source. log is what the
// compiler says when it refuses the text, "" when it takes it.
type Judge func(ctx context.Context, text []byte) (log string, err error)

// maxRounds bounds how often a file is compiled to learn what it lacks.
const maxRounds = 10

// Cut makes the file: what its functions name, and what GCC, compiling that,
// finds missing.
func Cut(ctx context.Context, q Request, judge Judge) (*File, error) {
	if err := q.Policy.checkReplaced(q.Replace); err != nil {
		return nil, err
	}
	q.needed, q.builtins = map[Name]bool{}, map[string]bool{}
	if q.Copy == nil {
		q.Copy = map[string]bool{}
	}
	q.Copy = maps.Clone(q.Copy)
	for round := 1; ; round++ {
		c, err := cut(&q)
		if err != nil {
			return nil, err
		}
		f, err := c.file()
		if err != nil {
			return nil, err
		}
		f.Rounds = round
		log, err := judge(ctx, f.Marked)
		if err != nil || log == "" {
			return f, err
		}
		if round == maxRounds {
			return nil, c.notCompiled(log)
		}
		if c.learn(log) {
			continue
		}
		if q.AllIncludes {
			return nil, c.notCompiled(log)
		}
		q.AllIncludes = true
	}
}

func (c *cutter) notCompiled(log string) error {
	names := slices.Sorted(maps.Keys(c.q.Replace))
	return &Error{Code: CodeNotExtracted, Name: strings.Join(names, ", "), Where: c.q.Source,
		Why: "GCC does not compile what was cut out: " + firstErrors(log), Advice: "report this; use the binary way"}
}

func firstErrors(log string) string {
	var out []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "error:") && len(out) < 3 {
			out = append(out, strings.TrimSpace(line))
		}
	}
	if len(out) == 0 {
		return fmt.Sprintf("%.300s", log)
	}
	return strings.Join(out, "; ")
}

// GCC's words for names it does not know (gcc/c/c-decl.cc, c-parser.cc,
// c-typeck.cc; LC_ALL=C).
var (
	unknownName = regexp.MustCompile(`'(\w+)' undeclared|implicit declaration of function '(\w+)'|unknown type name '(\w+)'|expected declaration specifiers before '(\w+)'|incomplete typedef '(\w+)'`)
	unknownType = regexp.MustCompile(`'(?:const |volatile )*(?:struct|union|enum) (\w+)'`)
	builtinName = regexp.MustCompile(`built-in function '(\w+)'.*-W(?:error=)?builtin-declaration-mismatch`)
	incomplete  = regexp.MustCompile(`incomplete|undefined type|isn't known|declared inside parameter list|undefined enum`)
	notConstant = regexp.MustCompile(`not constant|does not reduce to an integer constant|variably modified|__compiletime_assert|not an integer constant|isn't constant|bit-field .* width not|impossible constraint|declared with attribute error`)
)

// learn reads what is missing out of the compiler's diagnostics and reports
// whether that is anything new.
func (c *cutter) learn(log string) bool {
	news := false
	need := func(n Name) {
		if n.Text != "" && !c.q.needed[n] {
			c.q.needed[n] = true
			news = true
		}
	}
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "error:") && !strings.Contains(line, "warning:") {
			continue
		}
		for _, m := range unknownName.FindAllStringSubmatch(line, -1) {
			for _, g := range m[1:] {
				need(Name{Text: g})
			}
		}
		if incomplete.MatchString(line) {
			for _, m := range unknownType.FindAllStringSubmatch(line, -1) {
				need(Name{Text: m[1], Tag: true})
			}
		}
		if m := builtinName.FindStringSubmatch(line); m != nil && !c.q.builtins[m[1]] {
			c.q.builtins[m[1]], news = true, true
		}
		if notConstant.MatchString(line) {
			for n, d := range c.decided {
				if d.Kind == KindVariable && d.What == Declare && !c.q.Copy[n.Text] {
					c.q.Copy[n.Text] = true
					news = true
				}
			}
		}
	}
	return news
}

// file writes the pieces out.
func (c *cutter) file() (*File, error) {
	parts, err := c.parts()
	if err != nil {
		return nil, err
	}
	f := &File{Copied: slices.Sorted(maps.Keys(c.copied)), Idle: c.idle()}
	var text, marked strings.Builder
	last := partInclude
	for i, p := range parts {
		if i > 0 && (p.kind != partInclude && p.kind != partDefine || p.kind != last) {
			text.WriteByte('\n')
			f.Origins = append(f.Origins, Origin{})
		}
		last = p.kind
		if p.kind == partCode || p.kind == partDeclare && p.origin != "" {
			fmt.Fprintf(&text, "/* from %s */\n", p.origin)
			f.Origins = append(f.Origins, Origin{})
		}
		text.WriteString(p.text + "\n")
		n := strings.Count(p.text, "\n") + 1
		f.Origins = append(f.Origins, append(p.lines, make([]Origin, n)...)[:n]...)
		if p.marked == "" {
			p.marked = p.text
		}
		marked.WriteString(p.marked + "\n")
	}
	c.blanks(f, text.String())
	f.Text, f.Marked = []byte(text.String()), []byte(marked.String())
	f.Lines = codeLines(text.String())
	for _, d := range c.decided {
		f.Decisions = append(f.Decisions, *d)
		if d.What == Declare {
			f.Declared = append(f.Declared, d.Name)
			if def := c.definition(Name{Text: d.Name}); def != nil && c.decl(*def).Const {
				f.Constants = append(f.Constants, d.Name)
			}
		}
	}
	slices.Sort(f.Declared)
	slices.Sort(f.Constants)
	slices.SortFunc(f.Decisions, func(a, b Decision) int {
		if n := rank(a.What) - rank(b.What); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	return f, nil
}

// blanks takes the origin from empty lines that are not empty in the source: a
// directive stood there, which is no line to be edited.
func (c *cutter) blanks(f *File, text string) {
	sources := map[string][]string{}
	i := 0
	for line := range strings.Lines(text) {
		o := &f.Origins[i]
		i++
		if o.Line == 0 || strings.TrimSpace(line) != "" {
			continue
		}
		source, ok := sources[o.File]
		if !ok {
			source = strings.Split(string(c.q.Read(o.File)), "\n")
			sources[o.File] = source
		}
		if o.Line > len(source) || strings.TrimSpace(source[o.Line-1]) != "" {
			*o = Origin{}
		}
	}
}

func rank(what string) int {
	return slices.Index([]string{Replace, Declare, Bind, Copied, Include, Refuse}, what)
}

// codeLines counts the lines that are neither blank nor only comment.
func codeLines(text string) int {
	n, in := 0, false
	for line := range strings.Lines(text) {
		s := strings.TrimSpace(line)
		for s != "" {
			if in {
				i := strings.Index(s, "*/")
				if i < 0 {
					break
				}
				s, in = strings.TrimSpace(s[i+2:]), false
				continue
			}
			if strings.HasPrefix(s, "/*") {
				s, in = s[2:], true
				continue
			}
			if !strings.HasPrefix(s, "//") {
				n++
				if i := strings.LastIndex(s, "/*"); i >= 0 && !strings.Contains(s[i:], "*/") {
					in = true
				}
			}
			break
		}
	}
	return n
}
