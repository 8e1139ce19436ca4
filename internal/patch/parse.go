// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// MaxPatch is the largest diff, in bytes, that Parse accepts.
const MaxPatch = 32 << 20

// DevNull is the name that stands for "no file" in a diff.
const DevNull = "/dev/null"

// Patch is one parsed diff.
type Patch struct {
	Name    string // as given to Parse, for messages
	Subject string // first line of a mail's Subject, or ""
	CRLF    bool   // every line ended in CR LF; it was read as if they ended in LF
	Files   []*File
}

// File is the part of a diff that concerns one file. OldRaw and NewRaw are the
// names as written (unquoted, without time stamp), DevNull for none; which
// leading directories count is decided by Apply.
type File struct {
	OldRaw, NewRaw string
	Git            bool // has a "diff --git" header
	Added          bool
	Deleted        bool
	Renamed        bool
	Copied         bool
	Binary         bool   // content is not in the hunks; cannot be applied
	OldMode        uint32 // octal file mode as written; 0: not mentioned
	NewMode        uint32
	Line           int // 1-based line of the diff where this part begins
	Hunks          []Hunk
}

// Hunk is one "@@" section. Starts are 1-based lines as written in its header.
type Hunk struct {
	OldStart, OldLines int
	NewStart, NewLines int
	Section            string // text after the second @@, usually a function
	Lines              []Line
	Line               int // 1-based line of the diff where its header stands
}

// Line is one line of a hunk. Text includes its newline, except for a last line
// without one.
type Line struct {
	Op   byte // ' ' context, '-' removed, '+' added
	Text string
}

// ParseError says what in a diff cannot be read.
type ParseError struct {
	Name string
	Line int // 1-based; 0: the whole
	Msg  string
}

func (e *ParseError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("read patch %s: %s", e.Name, e.Msg)
	}
	return fmt.Sprintf("read patch %s: line %d: %s", e.Name, e.Line, e.Msg)
}

type parser struct {
	p     *Patch
	lines []string // with their newlines
	i     int
}

// Parse reads a diff made by git or by diff -u, with or without mail headers
// and text around it. The error is a *ParseError; a text without any diff, a
// context diff, a combined diff and a hunk whose counts do not fit are errors.
func Parse(name string, data []byte) (*Patch, error) {
	p := &parser{p: &Patch{Name: name}}
	if len(data) > MaxPatch {
		return nil, &ParseError{name, 0, fmt.Sprintf("it has %d bytes, more than the limit of %d", len(data), MaxPatch)}
	}
	if n := bytes.Count(data, []byte("\n")); n > 0 && bytes.Count(data, []byte("\r\n")) == n {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
		p.p.CRLF = true
	}
	if !bytes.HasSuffix(data, []byte("\n")) { // only "\ No newline" means that a file lacks one
		data = append(data[:len(data):len(data)], '\n')
	}
	p.lines = splitLines(string(data))
	for p.i < len(p.lines) {
		if err := p.top(); err != nil {
			return nil, err
		}
	}
	if len(p.p.Files) == 0 {
		return nil, &ParseError{name, 0, "no unified diff in it; make one with git diff or diff -u"}
	}
	return p.p, nil
}

// splitLines cuts after each newline; the last piece may lack one.
func splitLines(s string) []string {
	n := strings.Count(s, "\n")
	out := make([]string, 0, n+1)
	for len(s) > 0 {
		k := strings.IndexByte(s, '\n') + 1
		if k == 0 {
			k = len(s)
		}
		out = append(out, s[:k])
		s = s[k:]
	}
	return out
}

func (p *parser) errf(line int, format string, a ...any) error {
	return &ParseError{p.p.Name, line + 1, fmt.Sprintf(format, a...)}
}

func (p *parser) at(i int) string {
	if i < len(p.lines) {
		return strings.TrimSuffix(p.lines[i], "\n")
	}
	return ""
}

// top handles one line outside any file's part.
func (p *parser) top() error {
	l := p.at(p.i)
	switch {
	case strings.HasPrefix(l, "diff --git "):
		return p.gitFile()
	case strings.HasPrefix(l, "diff --cc "), strings.HasPrefix(l, "diff --combined "):
		return p.errf(p.i, "a combined diff of a merge cannot be applied; use git diff against one parent")
	case strings.HasPrefix(l, "--- ") && strings.HasPrefix(p.at(p.i+1), "+++ "):
		f := &File{Line: p.i + 1}
		return p.textFile(f)
	case strings.HasPrefix(l, "*** ") && strings.HasPrefix(p.at(p.i+1), "--- ") && strings.HasPrefix(p.at(p.i+2), "*****"):
		return p.errf(p.i, "a context diff; make a unified one with diff -u")
	case strings.HasPrefix(l, "@@ -"):
		return p.errf(p.i, "a hunk without the name of its file before it")
	case strings.HasPrefix(l, "Binary files ") && strings.HasSuffix(l, " differ"):
		return p.binaryPlain(l)
	case p.p.Subject == "" && len(p.p.Files) == 0 && strings.HasPrefix(l, "Subject:"):
		p.p.Subject = strings.TrimSpace(strings.TrimPrefix(l, "Subject:"))
	}
	p.i++
	return nil
}

func (p *parser) binaryPlain(l string) error {
	names := strings.TrimSuffix(strings.TrimPrefix(l, "Binary files "), " differ")
	a, b, ok := strings.Cut(names, " and ")
	if !ok {
		p.i++
		return nil
	}
	f := &File{OldRaw: a, NewRaw: b, Binary: true, Line: p.i + 1, Added: a == DevNull, Deleted: b == DevNull}
	p.p.Files = append(p.p.Files, f)
	p.i++
	return nil
}

// gitFile reads a "diff --git" header, its extended lines and what follows.
func (p *parser) gitFile() error {
	f := &File{Git: true, Line: p.i + 1}
	head := strings.TrimPrefix(p.at(p.i), "diff --git ")
	f.OldRaw, f.NewRaw = gitNames(head)
	prefixed := strings.HasPrefix(strings.TrimPrefix(head, `"`), "a/")
	full := func(n string) string {
		if prefixed {
			return "a/" + n
		}
		return n
	}
	for p.i++; p.i < len(p.lines); p.i++ {
		l := p.at(p.i)
		key, val := cutExtended(l)
		switch key {
		case "old mode", "deleted file mode":
			f.OldMode = parseMode(val)
			f.Deleted = f.Deleted || key[0] == 'd'
		case "new mode", "new file mode":
			f.NewMode = parseMode(val)
			f.Added = f.Added || key == "new file mode"
		case "rename from", "copy from":
			f.OldRaw = full(unquote(val))
			f.Renamed, f.Copied = f.Renamed || key[0] == 'r', f.Copied || key[0] == 'c'
		case "rename to", "copy to":
			f.NewRaw = full(unquote(val))
		case "index", "similarity index", "dissimilarity index":
		default:
			return p.gitBody(f, l)
		}
	}
	return p.gitBody(f, "")
}

func (p *parser) gitBody(f *File, l string) error {
	switch {
	case strings.HasPrefix(l, "--- ") && strings.HasPrefix(p.at(p.i+1), "+++ "):
		return p.textFile(f)
	case strings.HasPrefix(l, "GIT binary patch"), strings.HasPrefix(l, "Binary files "):
		f.Binary = true
		p.i++
		for p.i < len(p.lines) && !strings.HasPrefix(p.lines[p.i], "diff --git ") {
			p.i++
		}
	}
	if f.OldRaw == "" || f.NewRaw == "" {
		return p.errf(f.Line-1, "cannot tell the two file names of this header")
	}
	if f.Added {
		f.OldRaw = DevNull
	}
	if f.Deleted {
		f.NewRaw = DevNull
	}
	p.p.Files = append(p.p.Files, f)
	return nil
}

// cutExtended splits one of git's extended header lines; key is "" for others.
func cutExtended(l string) (key, val string) {
	for _, k := range []string{"old mode", "new mode", "deleted file mode", "new file mode", "copy from", "copy to",
		"rename from", "rename to", "similarity index", "dissimilarity index", "index"} {
		if v, ok := strings.CutPrefix(l, k+" "); ok {
			return k, v
		}
	}
	return "", ""
}

func parseMode(s string) uint32 {
	m, err := strconv.ParseUint(strings.TrimSpace(s), 8, 32)
	if err != nil {
		return 0
	}
	return uint32(m)
}

// gitNames takes the two names of a "diff --git" line. Without quotes they can
// only be told apart when they are equal after their first component, which is
// so unless the file is renamed (then other lines give the names).
func gitNames(s string) (a, b string) {
	if strings.HasPrefix(s, `"`) {
		if q, err := strconv.QuotedPrefix(s); err == nil {
			return unquote(q), unquote(strings.TrimSpace(s[len(q):]))
		}
		return "", ""
	}
	for i := 0; i < len(s); i++ {
		if s[i] != ' ' {
			continue
		}
		x, y := s[:i], s[i+1:]
		if x == y {
			return x, y
		}
		_, xr, ok1 := strings.Cut(x, "/")
		_, yr, ok2 := strings.Cut(y, "/")
		if ok1 && ok2 && xr == yr {
			return x, y
		}
	}
	return "", ""
}

// unquote undoes git's C-style quoting; other names are returned as they are.
func unquote(s string) string {
	if strings.HasPrefix(s, `"`) {
		if u, err := strconv.Unquote(s); err == nil {
			return u
		}
	}
	return s
}

// fileName takes the name out of a "--- " or "+++ " line: up to a tab (a time
// stamp follows it), without trailing blanks.
func fileName(l string) string {
	l = l[4:]
	if i := strings.IndexByte(l, '\t'); i >= 0 {
		l = l[:i]
	}
	return unquote(strings.TrimRight(l, " \r"))
}

// textFile reads "---", "+++" and the hunks.
func (p *parser) textFile(f *File) error {
	head := p.i
	old, nw := fileName(p.at(p.i)), fileName(p.at(p.i+1))
	if f.OldRaw == "" || !f.Renamed && !f.Copied {
		f.OldRaw, f.NewRaw = old, nw
	}
	if f.OldRaw == "" || f.NewRaw == "" {
		return p.errf(head, "an empty file name")
	}
	p.i += 2
	for p.i < len(p.lines) && strings.HasPrefix(p.lines[p.i], "@@ -") {
		h, err := p.hunk()
		if err != nil {
			return err
		}
		f.Hunks = append(f.Hunks, h)
	}
	if len(f.Hunks) == 0 {
		return p.errf(head, "a file header (%s) without a hunk after it", f.NewRaw)
	}
	if err := p.afterHunk(); err != nil {
		return err
	}
	// diff -N writes the epoch instead of /dev/null: an empty old side at line 0
	// that is the only hunk means a new (or until now empty) file.
	f.Added = f.Added || old == DevNull
	f.Deleted = f.Deleted || nw == DevNull
	if f.Added && f.Deleted {
		return p.errf(head, "a file that is both added and deleted")
	}
	if f.Added {
		f.OldRaw = DevNull
	}
	if f.Deleted {
		f.NewRaw = DevNull
	}
	p.p.Files = append(p.p.Files, f)
	return nil
}

// afterHunk refuses a line after the last hunk that looks like more of it: then
// the counts are wrong, and a part of the change would be lost.
func (p *parser) afterHunk() error {
	if p.i >= len(p.lines) {
		return nil
	}
	l := p.at(p.i)
	if l == "" || l == "--" || l == "-- " || strings.HasPrefix(l, "--- ") && strings.HasPrefix(p.at(p.i+1), "+++ ") {
		return nil
	}
	if l[0] == '+' || l[0] == '-' || l[0] == ' ' || strings.HasPrefix(l, "@@") {
		return p.errf(p.i, "this line seems to belong to the hunk before it; the counts in that hunk's header are wrong")
	}
	return nil
}

// hunk reads one hunk by the counts in its header.
func (p *parser) hunk() (Hunk, error) {
	h := Hunk{Line: p.i + 1}
	if err := p.hunkHeader(&h); err != nil {
		return h, err
	}
	old, nw := h.OldLines, h.NewLines
	for p.i++; old > 0 || nw > 0; p.i++ {
		if p.i >= len(p.lines) {
			return h, p.errf(h.Line-1, "the hunk ends early, %d old and %d new lines are missing", old, nw)
		}
		l := p.lines[p.i]
		op, text := l[0], l[1:]
		if l == "\n" { // an empty context line whose blank was stripped on the way
			op, text = ' ', l
		}
		switch op {
		case ' ':
			old, nw = old-1, nw-1
		case '-':
			old--
		case '+':
			nw--
		case '\\':
			h.chop()
			continue
		default:
			return h, p.errf(p.i, "a line in a hunk that begins with %q, not with a blank, + or -", op)
		}
		if old < 0 || nw < 0 {
			return h, p.errf(p.i, "more lines than the hunk's header says")
		}
		h.Lines = append(h.Lines, Line{op, text})
	}
	if p.i < len(p.lines) && strings.HasPrefix(p.lines[p.i], "\\ ") {
		h.chop()
		p.i++
	}
	for k, l := range h.Lines {
		if l.Text == "" {
			return h, p.errf(h.Line-1, "an empty line without newline, which no file can have")
		}
		if !strings.HasSuffix(l.Text, "\n") && !h.lastOfSide(k) {
			return h, p.errf(h.Line-1, "a line without newline that is not the last of its file")
		}
	}
	return h, nil
}

// chop takes the newline off the last line read ("\ No newline at end of file").
func (h *Hunk) chop() {
	if n := len(h.Lines); n > 0 {
		h.Lines[n-1].Text = strings.TrimSuffix(h.Lines[n-1].Text, "\n")
	}
}

// lastOfSide says whether no later line belongs to a side that line k is on.
func (h *Hunk) lastOfSide(k int) bool {
	for _, l := range h.Lines[k+1:] {
		if h.Lines[k].Op == ' ' || l.Op == ' ' || l.Op == h.Lines[k].Op {
			return false
		}
	}
	return true
}

func (p *parser) hunkHeader(h *Hunk) error {
	l := strings.TrimSuffix(p.at(p.i), "\r")
	rest := strings.TrimPrefix(l, "@@ -")
	var ok bool
	bad := p.errf(p.i, "cannot read the hunk header %q", l)
	if h.OldStart, h.OldLines, rest, ok = hunkRange(rest); !ok {
		return bad
	}
	if rest, ok = strings.CutPrefix(rest, " +"); !ok {
		return bad
	}
	if h.NewStart, h.NewLines, rest, ok = hunkRange(rest); !ok {
		return bad
	}
	if rest, ok = strings.CutPrefix(rest, " @@"); !ok {
		return bad
	}
	if h.OldLines == 0 && h.NewLines == 0 {
		return p.errf(p.i, "an empty hunk")
	}
	h.Section = strings.TrimSpace(rest)
	return nil
}

// hunkRange reads "START[,COUNT]". Numbers are limited so that sums cannot
// overflow and no allocation follows from them.
func hunkRange(s string) (start, count int, rest string, ok bool) {
	num := func() (int, bool) {
		k := 0
		for k < len(s) && s[k] >= '0' && s[k] <= '9' {
			k++
		}
		n, err := strconv.ParseUint(s[:k], 10, 30)
		s = s[k:]
		return int(n), err == nil
	}
	if start, ok = num(); !ok {
		return 0, 0, "", false
	}
	count = 1
	if r, has := strings.CutPrefix(s, ","); has {
		s = r
		if count, ok = num(); !ok {
			return 0, 0, "", false
		}
	}
	return start, count, s, true
}
