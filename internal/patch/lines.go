// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"bytes"
	"fmt"
	"strings"
)

// LinePreserved is the patched text for a compiler: Patched with #line
// directives so that unchanged lines keep the __LINE__ they had. For anything
// but C it is Patched. shifted counts the unchanged lines whose number could
// not be kept.
func (f *AppliedFile) LinePreserved() (out []byte, shifted int) {
	if (f.Kind != Source && f.Kind != Header) || f.Deleted || f.Added {
		return f.Patched, 0
	}
	return LinePreserve(f.Patched, f.From)
}

// LinePreserve inserts "#line N" directives (without a file name, so __FILE__
// stays) into patched so that each unchanged line has the number from gives it.
// from has one entry for each line: the line in the original, 0 for a new or
// changed one. When no line moved, the result is patched itself.
//
// A directive is only put where it cannot change the meaning (C11 6.10p2,
// 6.10.3p11): at the start of a line outside comments, literals, continued
// lines and parentheses (so never among a macro's arguments), right after a
// statement or declaration ended. Lines between a change and the first such
// place keep their shifted numbers and are counted in shifted. New lines get
// the numbers that follow from the line before.
func LinePreserve(patched []byte, from []int) (out []byte, shifted int) {
	lines := splitLines(string(patched))
	if len(lines) != len(from) {
		return patched, len(lines) // not a result of Apply: nothing is known
	}
	moved, named := 0, false
	for i, o := range from {
		if o != 0 && o != i+1 {
			moved++
		}
		named = named || isLineDirective(lines[i])
	}
	if moved == 0 {
		return patched, 0
	}
	if named { // the text numbers itself (output of a generator)
		return patched, moved
	}
	var b bytes.Buffer
	b.Grow(len(patched) + 64)
	var lx lexer
	next := 1 // the number the compiler gives to the coming line
	for i, l := range lines {
		if o := from[i]; o != 0 && (o != next || lx.unsure) {
			if lx.safe() {
				fmt.Fprintf(&b, "#line %d\n", o)
				next = o
				lx.emitted()
			} else {
				shifted++
			}
		}
		b.WriteString(l)
		lx.line(l)
		next++
	}
	return b.Bytes(), shifted
}

// isLineDirective recognises "#line 5" and the "# 5" of preprocessed text.
func isLineDirective(l string) bool {
	t, ok := strings.CutPrefix(strings.TrimLeft(l, " \t"), "#")
	t = strings.TrimLeft(t, " \t")
	return ok && t != "" && (strings.HasPrefix(t, "line") || t[0] >= '0' && t[0] <= '9')
}

// lexer follows C text line by line, as far as needed to know whether a line
// starts between statements. It works on text before preprocessing, so the
// branches of conditionals are each read from the state at their #if.
type lexer struct {
	comment   bool // inside /* */
	directive bool // inside a directive that goes on (backslash or comment)
	spliced   bool // the line before ended in a backslash
	quote     byte // inside a literal that a splice continues
	slashes   bool // inside a // comment that a splice continues
	code      codeState
	lost      bool // branches of a conditional disagreed
	unsure    bool // a directive was put into a branch that may be skipped
	conds     []cond
}

// codeState is what conditional branches must not confuse.
type codeState struct {
	depth int  // of ( and [
	last  byte // last significant character; 0 at the start of the file
}

// cond is an open #if.
type cond struct {
	start   codeState // at the #if
	end     codeState // worst end of the branches read so far
	any     bool      // end is set
	hasElse bool
	dead    bool // the branch being read is #if 0: its text need not be C
	inDead  bool // so is one around it
	emitted bool // a #line was put inside
}

const maxConds = 200

// safe says whether a directive can stand before the coming line.
func (x *lexer) safe() bool {
	if x.comment || x.directive || x.spliced || x.quote != 0 || x.slashes || x.lost || x.code.depth != 0 {
		return false
	}
	if n := len(x.conds); n > 0 && (x.conds[n-1].dead || x.conds[n-1].inDead) {
		return false // the directive would be skipped
	}
	switch x.code.last {
	case 0, ';', '{', '}':
		return true
	}
	return false
}

// emitted notes that a directive was put before the coming line. Whether the
// compiler sees it depends on the conditionals around it, so that the number is
// not known after their branch ends.
func (x *lexer) emitted() {
	x.unsure = false
	if n := len(x.conds); n > 0 {
		x.conds[n-1].emitted = true
	}
}

// recover gives the lexer its footing back at a brace in the first column: it
// ends a function, so parentheses are closed.
func (x *lexer) recover(l string) {
	if !x.lost || !strings.HasPrefix(l, "}") || x.comment || x.spliced {
		return
	}
	for _, c := range x.conds {
		if c.start.depth != 0 {
			return
		}
	}
	x.lost, x.code.depth = false, 0
}

// line reads one line with its newline.
func (x *lexer) line(l string) {
	x.recover(l)
	body := strings.TrimRight(l, "\n")
	if !x.comment && !x.spliced && x.quote == 0 && !x.directive {
		if t := strings.TrimLeft(body, " \t\f\v"); strings.HasPrefix(t, "#") {
			x.directive = true
			x.conditional(strings.TrimLeft(t[1:], " \t"))
		}
	}
	// GCC also splices a backslash followed by blanks.
	trimmed := strings.TrimRight(body, " \t\r")
	spliced := strings.HasSuffix(trimmed, "\\")
	if spliced {
		body = trimmed[:len(trimmed)-1]
	}
	x.chars(body)
	x.spliced = spliced
	if !spliced {
		x.quote, x.slashes = 0, false // neither goes over a line's end
		if !x.comment {
			x.directive = false
		}
	}
}

// chars reads the characters of a line.
func (x *lexer) chars(s string) {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case x.slashes:
			return
		case x.comment:
			if c == '*' && i+1 < len(s) && s[i+1] == '/' {
				x.comment = false
				i++
			}
		case x.quote != 0:
			if c == '\\' {
				i++
			} else if c == x.quote {
				x.quote = 0
			}
		case c == '/' && i+1 < len(s) && s[i+1] == '*':
			x.comment = true
			i++
		case c == '/' && i+1 < len(s) && s[i+1] == '/':
			x.slashes = true
			return
		case c == '"' || c == '\'':
			x.quote = c
			x.significant(c)
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
		default:
			x.significant(c)
		}
	}
}

// significant takes one character of code; those of directives and of #if 0
// blocks do not count.
func (x *lexer) significant(c byte) {
	if x.directive {
		return
	}
	if n := len(x.conds); n > 0 && (x.conds[n-1].dead || x.conds[n-1].inDead) {
		return
	}
	switch c {
	case '(', '[':
		x.code.depth++
	case ')', ']':
		if x.code.depth > 0 {
			x.code.depth--
		} else {
			x.lost = true
		}
	}
	x.code.last = c
}

// conditional follows #if, #else and #endif; d is the directive after its '#'.
func (x *lexer) conditional(d string) {
	word := d
	if i := strings.IndexFunc(d, func(r rune) bool { return r < 'a' || r > 'z' }); i >= 0 {
		word = d[:i]
	}
	n := len(x.conds)
	switch word {
	case "if", "ifdef", "ifndef":
		if n >= maxConds {
			x.lost = true
			return
		}
		arg := strings.TrimSpace(d[len(word):])
		dead := word == "if" && (arg == "0" || strings.HasPrefix(arg, "0 ") || strings.HasPrefix(arg, "0\t"))
		inDead := n > 0 && (x.conds[n-1].dead || x.conds[n-1].inDead)
		x.conds = append(x.conds, cond{start: x.code, dead: dead, inDead: inDead})
	case "elif", "else":
		if n == 0 {
			x.lost = true
			return
		}
		c := &x.conds[n-1]
		x.endBranch(c)
		x.code = c.start
		c.dead = false
		c.hasElse = c.hasElse || word == "else"
		x.unsure = x.unsure || c.emitted
	case "endif":
		if n == 0 {
			x.lost = true
			return
		}
		c := &x.conds[n-1]
		x.endBranch(c)
		if !c.hasElse { // no branch taken is a way through, too
			x.code, c.dead = c.start, false
			x.endBranch(c)
		}
		x.code = c.end
		x.unsure = x.unsure || c.emitted
		if n > 1 && c.emitted {
			x.conds[n-2].emitted = true
		}
		x.conds = x.conds[:n-1]
	}
}

// endBranch joins the state at the end of a branch with those before it: the
// deepest, and unsafe if any is.
func (x *lexer) endBranch(c *cond) {
	if c.dead {
		return
	}
	if !c.any {
		c.end, c.any = x.code, true
		return
	}
	if c.end.depth != x.code.depth {
		x.lost = true
		c.end.depth = max(c.end.depth, x.code.depth)
	}
	switch x.code.last {
	case 0, ';', '{', '}':
	default:
		c.end.last = x.code.last
	}
}
