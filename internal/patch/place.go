// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// MaxFuzz is how many context lines at either end of a hunk may differ, as
// patch(1) allows by default.
const MaxFuzz = 2

// file applies the part of a patch that concerns one file.
func (a *applier) file(p *Patch, f *File, level int) error {
	fail := func(raw string, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("no such file in the source at -p%d; the patch is for another source or other leading directories", level)
		}
		return &PathError{p.Name, raw, err.Error()}
	}
	if f.Added {
		return a.addFile(p, f, level)
	}
	name, t, err := a.oldFile(f, level)
	if errors.Is(err, fs.ErrNotExist) && f.fromNothing() {
		return a.addFile(p, f, level)
	}
	if err != nil {
		return fail(f.OldRaw, err)
	}
	dst := name
	if f.Renamed || f.Copied {
		if dst, err = clean(f.NewRaw, level); err != nil {
			return fail(f.NewRaw, err)
		}
		if _, err := a.load(dst); err == nil {
			return fail(f.NewRaw, errors.New("the name it is renamed or copied to already exists"))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fail(f.NewRaw, err)
		}
	}
	lines, from, hunks, err := place(p.Name, name, f.Hunks, t)
	if err != nil {
		return err
	}
	af := a.touched(dst)
	af.Hunks = append(af.Hunks, hunks...)
	af.Binary = af.Binary || f.Binary
	if af.OldMode == 0 {
		af.OldMode = f.OldMode
	}
	if f.NewMode != 0 {
		af.NewMode = f.NewMode
	}
	nt := &text{lines: lines, from: from, orig: t.orig}
	if dst != name {
		af.RenamedFrom, af.Renamed, af.Copied = name, f.Renamed, f.Copied
		if f.Renamed {
			a.touched(name).Deleted = true
			a.state[name] = &text{orig: t.orig, gone: true}
		}
	}
	// diff -N names a deleted file on both sides; an emptied one counts as deleted too.
	if f.Deleted || len(lines) == 0 && len(t.lines) > 0 {
		if len(lines) != 0 && !f.Binary {
			return fail(f.OldRaw, errors.New("the patch deletes this file, but the file has more in it than the patch takes away"))
		}
		af.Deleted, nt.gone = true, true
	}
	a.state[dst] = nt
	return nil
}

// fromNothing says whether the diff has nothing on the old side: diff -N names
// a new file on both sides.
func (f *File) fromNothing() bool {
	return len(f.Hunks) == 1 && f.Hunks[0].OldStart == 0 && f.Hunks[0].OldLines == 0
}

func (a *applier) addFile(p *Patch, f *File, level int) error {
	name, err := clean(f.NewRaw, level)
	if err == nil {
		var t *text
		if t, err = a.load(name); err == nil && len(t.lines) > 0 {
			err = errors.New("the patch adds this file, but the source has it already")
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &PathError{p.Name, f.NewRaw, err.Error()}
	}
	old := a.state[name]
	if old == nil {
		old = &text{}
	}
	lines, from, hunks, err := place(p.Name, name, f.Hunks, &text{})
	if err != nil {
		return err
	}
	af := a.touched(name)
	af.Added, af.Deleted = old.orig == nil, false
	af.Binary = f.Binary
	af.NewMode = f.NewMode
	af.Hunks = append(af.Hunks, hunks...)
	a.state[name] = &text{lines: lines, from: from, orig: old.orig}
	return nil
}

func (a *applier) touched(name string) *AppliedFile {
	f := a.files[name]
	if f == nil {
		f = &AppliedFile{Path: name}
		a.files[name] = f
	}
	return f
}

// oldFile finds the file to change: by its old name, else (x.c.orig, or another
// number of leading directories) by its new one.
func (a *applier) oldFile(f *File, level int) (string, *text, error) {
	name, err := clean(f.OldRaw, level)
	var t *text
	if err == nil {
		if t, err = a.load(name); err == nil {
			return name, t, nil
		}
	}
	if f.NewRaw == DevNull || f.Renamed || f.Copied || !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	alt, err2 := clean(f.NewRaw, level)
	if err2 != nil {
		return "", nil, err2
	}
	t, err2 = a.load(alt)
	return alt, t, err2
}

// place applies the hunks of one file to t, which is not changed.
func place(patch, name string, hunks []Hunk, t *text) (lines []string, from []int, where []AppliedHunk, err error) {
	done, shift := 0, 0 // lines of t consumed; offset of the hunk before
	for i := range hunks {
		h := &hunks[i]
		at, fuzz, err := h.locate(t.lines, done, shift)
		if err != nil {
			re := err.(*RejectError)
			re.Patch, re.Path, re.Hunk = patch, name, i+1
			re.AlreadyApplied = re.Places <= 1 && reverseFits(hunks, t.lines)
			return nil, nil, nil, re
		}
		lines = append(lines, t.lines[done:at]...)
		from = append(from, t.from[done:at]...)
		pos := at
		for _, l := range h.Lines {
			switch l.Op {
			case ' ': // the file's own line: with fuzz it can differ from the hunk's
				lines, from = append(lines, t.lines[pos]), append(from, t.from[pos])
				pos++
			case '-':
				pos++
			case '+':
				lines, from = append(lines, l.Text), append(from, 0)
			}
		}
		shift = at - h.want()
		done = pos
		where = append(where, AppliedHunk{Patch: patch, Index: i + 1, Section: h.Section, Line: at + 1, Offset: shift, Fuzz: fuzz})
	}
	lines = append(lines, t.lines[done:]...)
	from = append(from, t.from[done:]...)
	for i, l := range lines {
		if i < len(lines)-1 && !strings.HasSuffix(l, "\n") {
			return nil, nil, nil, &PathError{patch, name, "the patched file would have a line without its end; the patch changes the last line and more was added after it"}
		}
	}
	return lines, from, where, nil
}

// want is the 0-based line the header names. With no old lines the header gives
// the line after which to insert.
func (h *Hunk) want() int {
	if h.OldLines == 0 {
		return h.OldStart
	}
	return max(h.OldStart-1, 0)
}

// locate finds the 0-based line of src where the hunk's old side stands, not
// before line first. It tries, for fuzz 0, 1, 2, the line the header names moved
// by the offset of the hunk before, then lines farther and farther from it. A
// hunk with less context on one side stands at that end of the file (unless
// fuzz makes up for it), as in patch(1).
func (h *Hunk) locate(src []string, first, shift int) (at, fuzz int, err error) {
	var old []string
	for _, l := range h.Lines {
		if l.Op != '+' {
			old = append(old, l.Text)
		}
	}
	pre, suf := h.context()
	guess := h.want() + shift
	last := len(src) - len(old)
	for fuzz = 0; fuzz <= MaxFuzz && fuzz <= max(pre, suf); fuzz++ {
		ctx := max(pre, suf)
		cutPre, cutSuf := fuzz+pre-ctx, fuzz+suf-ctx
		lo, hi := first, last
		if cutPre < 0 { // less context before than after: the start of the file
			hi = min(hi, 0)
		}
		if cutSuf < 0 { // the end of the file
			lo = max(lo, last)
		}
		if pre+suf == 0 && len(old) > 0 {
			lo, hi = first, last // no context at all says nothing about the ends
		}
		if len(old) == 0 {
			if len(src) == 0 && h.want() == 0 && first == 0 {
				return 0, 0, nil
			}
			break // an insertion without context has no place to be checked
		}
		cutPre, cutSuf = max(cutPre, 0), max(cutSuf, 0)
		if lo <= guess && guess <= hi && len(candidates(src, old, cutPre, cutSuf, guess, guess)) == 1 {
			return guess, fuzz, nil
		}
		fits := candidates(src, old, cutPre, cutSuf, lo, hi)
		if len(fits) == 0 {
			continue
		}
		if len(fits) > 1 {
			return 0, 0, &RejectError{Text: h.String(), Places: len(fits)}
		}
		return fits[0], fuzz, nil
	}
	return 0, 0, &RejectError{Text: h.String(), There: excerpt(src, guess, len(old))}
}

// candidates lists the lines lo..hi where old stands in src, its first pre and
// last suf lines left out of the comparison.
func candidates(src, old []string, pre, suf, lo, hi int) []int {
	core := old[pre : len(old)-suf]
	if len(core) == 0 {
		return nil
	}
	var out []int
	for at := lo; at <= hi; at++ {
		if src[at+pre] == core[0] && slices.Equal(src[at+pre:at+pre+len(core)], core) {
			out = append(out, at)
		}
	}
	return out
}

// context counts the context lines before the first and after the last change.
func (h *Hunk) context() (pre, suf int) {
	for pre < len(h.Lines) && h.Lines[pre].Op == ' ' {
		pre++
	}
	for suf < len(h.Lines)-pre && h.Lines[len(h.Lines)-1-suf].Op == ' ' {
		suf++
	}
	return pre, suf
}

// reverseFits says whether every hunk, turned round, fits without fuzz.
func reverseFits(hunks []Hunk, src []string) bool {
	done, shift := 0, 0
	for i := range hunks {
		r := hunks[i].reverse()
		at, fuzz, err := r.locate(src, done, shift)
		if err != nil || fuzz > 0 {
			return false
		}
		shift = at - r.want()
		done = at + r.OldLines
	}
	return true
}

func (h *Hunk) reverse() *Hunk {
	r := &Hunk{OldStart: h.NewStart, OldLines: h.NewLines, NewStart: h.OldStart, NewLines: h.OldLines}
	for _, l := range h.Lines {
		switch l.Op {
		case '-':
			l.Op = '+'
		case '+':
			l.Op = '-'
		}
		r.Lines = append(r.Lines, l)
	}
	return r
}

// String is the hunk as it stands in a diff.
func (h *Hunk) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@", h.OldStart, h.OldLines, h.NewStart, h.NewLines)
	if h.Section != "" {
		b.WriteString(" " + h.Section)
	}
	b.WriteByte('\n')
	for _, l := range h.Lines {
		b.WriteByte(l.Op)
		b.WriteString(strings.TrimSuffix(l.Text, "\n"))
		b.WriteByte('\n')
		if !strings.HasSuffix(l.Text, "\n") {
			b.WriteString("\\ No newline at end of file\n")
		}
	}
	return b.String()
}

// excerpt shows the lines of src around at with their numbers.
func excerpt(src []string, at, n int) string {
	lo := max(min(at, len(src)), 0)
	hi := min(lo+min(n, 40), len(src))
	if lo >= hi {
		return fmt.Sprintf("(the file ends at line %d)\n", len(src))
	}
	var b strings.Builder
	for i := lo; i < hi; i++ {
		fmt.Fprintf(&b, "%6d  %s\n", i+1, strings.TrimSuffix(src[i], "\n"))
	}
	return b.String()
}
