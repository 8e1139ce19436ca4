// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// MaxLevel is the largest number of leading path components that Apply strips
// (patch -p).
const MaxLevel = 4

// maxSource bounds one file under the source root; the largest of a kernel
// (generated register headers) have about 25 MB.
const maxSource = 64 << 20

// Applied is the result of applying patches, one after the other, to copies.
type Applied struct {
	Levels []int // for each patch, the number of leading path components stripped
	Files  []*AppliedFile
}

// AppliedFile is one file that the patches name. Path is relative to the source
// root, with slashes.
type AppliedFile struct {
	Path        string
	RenamedFrom string // for a rename or copy: the path it had
	Orig        []byte // nil when Added; of RenamedFrom when that is set
	Patched     []byte // nil when Deleted
	From        []int  // for each line of Patched its 1-based line in Orig; 0: new or changed
	Added       bool
	Deleted     bool
	Renamed     bool // RenamedFrom is gone
	Copied      bool
	Binary      bool   // a binary change, which was not applied: Patched is Orig
	OldMode     uint32 // as written in the diff, 0 when it does not speak of modes
	NewMode     uint32
	Hunks       []AppliedHunk
	Kind        Kind
}

// Unchanged says that the patches leave the content as it was.
func (f *AppliedFile) Unchanged() bool {
	return !f.Added && !f.Deleted && !f.Renamed && !f.Copied && !f.Binary && bytes.Equal(f.Orig, f.Patched)
}

// ModeChanged says that the diff changes permissions or the file's type.
func (f *AppliedFile) ModeChanged() bool {
	return f.OldMode != 0 && f.NewMode != 0 && f.OldMode != f.NewMode
}

// AppliedHunk is where a hunk went.
type AppliedHunk struct {
	Patch   string // name of the patch
	Index   int    // 1-based, within its file and patch
	Section string
	Line    int // 1-based line, in the file as the patch found it, of the hunk's first line
	Offset  int // Line minus the line the header gives
	Fuzz    int // context lines at either end that were not compared (0..2)
}

// Range is a run of lines, 1-based, both ends included; an empty range (a pure
// deletion or insertion) has Last == First-1 and stands before line First.
type Range struct{ First, Last int }

// Change is one changed run: the lines Old of Orig became the lines New of
// Patched.
type Change struct{ Old, New Range }

// Changes lists what differs between Orig and Patched, in order.
func (f *AppliedFile) Changes() []Change {
	return changes(f.From, len(splitLines(string(f.Orig))))
}

func changes(from []int, oldLines int) []Change {
	var out []Change
	next := 1 // the original line expected now
	for i := 0; i <= len(from); {
		j := i
		for j < len(from) && from[j] == 0 {
			j++
		}
		stop := oldLines + 1
		if j < len(from) {
			stop = from[j]
		}
		if j > i || stop > next {
			out = append(out, Change{Range{next, stop - 1}, Range{i + 1, j}})
		}
		next = stop + 1
		i = j + 1
	}
	return out
}

// RejectError says that a hunk has no place in its file.
type RejectError struct {
	Patch, Path    string
	Hunk           int    // 1-based
	Text           string // the hunk as it stands in the patch
	There          string // what stands at the place it names, with line numbers
	AlreadyApplied bool   // every hunk of the file fits in reverse
	Places         int    // > 1: it fits at several places, none of them the one it names
}

func (e *RejectError) Error() string {
	at := fmt.Sprintf("apply %s: %s: hunk %d", e.Patch, e.Path, e.Hunk)
	switch {
	case e.AlreadyApplied:
		return fmt.Sprintf("apply %s: %s: the source already has this change; leave the patch out", e.Patch, e.Path)
	case e.Places > 1:
		return fmt.Sprintf("%s fits at %d places but not at the line it names; make the patch again for this source\n%s", at, e.Places, e.Text)
	}
	return fmt.Sprintf("%s does not fit; make the patch again for this source. The hunk:\n%sThe source there:\n%s", at, e.Text, e.There)
}

// PathError says that a file the patch names cannot be used: it is missing, not
// a plain file, or outside the source root.
type PathError struct {
	Patch, Path, Msg string
}

func (e *PathError) Error() string { return fmt.Sprintf("apply %s: %s: %s", e.Patch, e.Path, e.Msg) }

// text is a file in memory: its lines and where each came from.
type text struct {
	lines []string
	from  []int
	orig  []byte // content of the source root; nil when there is none
	gone  bool
}

type applier struct {
	ctx   context.Context
	root  *os.Root
	state map[string]*text        // every file read or made so far
	files map[string]*AppliedFile // what the patches touched
}

// Apply applies the patches in order to in-memory copies of the files under
// srcDir, which is only read. The level (-p) is found out for each patch: the
// one at which every file exists and every hunk fits. Hunks may move (offset)
// and, when nothing else fits, lose up to two lines of context (fuzz), both as
// patch(1) does; but a hunk that is not at its place and fits at several is
// refused.
//
// Errors: *RejectError, *PathError, context and I/O errors.
func Apply(ctx context.Context, srcDir string, patches []*Patch) (*Applied, error) {
	root, err := os.OpenRoot(srcDir)
	if err != nil {
		return nil, fmt.Errorf("apply patches: open the source: %w", err)
	}
	defer root.Close()
	a := &applier{ctx: ctx, root: root, state: map[string]*text{}, files: map[string]*AppliedFile{}}
	res := &Applied{}
	for _, p := range patches {
		level, err := a.patch(p)
		if err != nil {
			return nil, err
		}
		res.Levels = append(res.Levels, level)
	}
	for _, f := range a.files {
		if f.Added && f.Deleted {
			continue // made by one patch and removed by a later one
		}
		f.Kind = Classify(f.Path)
		f.finish(a.state[f.Path])
		res.Files = append(res.Files, f)
	}
	slices.SortFunc(res.Files, func(x, y *AppliedFile) int { return strings.Compare(x.Path, y.Path) })
	return res, nil
}

func (f *AppliedFile) finish(t *text) {
	f.Orig = t.orig
	if f.Deleted {
		return
	}
	settle(t, splitLines(string(t.orig)))
	f.From = t.from
	f.Patched = []byte(strings.Join(t.lines, ""))
}

// settle marks lines as unchanged that a hunk removed and put back the same, at
// either end of each changed run.
func settle(t *text, orig []string) {
	for _, c := range changes(t.from, len(orig)) {
		o, n := c.Old, c.New
		for o.First <= o.Last && n.First <= n.Last && orig[o.First-1] == t.lines[n.First-1] {
			t.from[n.First-1] = o.First
			o.First, n.First = o.First+1, n.First+1
		}
		for o.First <= o.Last && n.First <= n.Last && orig[o.Last-1] == t.lines[n.Last-1] {
			t.from[n.Last-1] = o.Last
			o.Last, n.Last = o.Last-1, n.Last-1
		}
	}
}

// patch applies one patch at the level that fits.
func (a *applier) patch(p *Patch) (int, error) {
	levels := []int{0, 1, 2, 3, 4}
	if p.prefixed() {
		levels = []int{1, 0, 2, 3, 4} // "a/" and "b/": level 1 goes without saying
	}
	var firstErr error
	var fits []*applier
	var at []int
	for _, l := range levels {
		try := &applier{ctx: a.ctx, root: a.root, state: cloneState(a.state), files: cloneFiles(a.files)}
		err := try.atLevel(p, l)
		if err == nil {
			fits, at = append(fits, try), append(at, l)
			if p.prefixed() && l == 1 {
				break
			}
			continue
		}
		if a.ctx.Err() != nil {
			return 0, a.ctx.Err()
		}
		var pe *PathError
		isPath := errors.As(err, &pe)
		// A hunk that does not fit tells more than a path that does not exist.
		var had *PathError
		if firstErr == nil || !isPath && errors.As(firstErr, &had) {
			firstErr = err
		}
	}
	switch len(fits) {
	case 0:
		return 0, firstErr
	case 1:
		a.state, a.files = fits[0].state, fits[0].files
		return at[0], nil
	}
	return 0, &PathError{p.Name, p.Files[0].NewRaw, fmt.Sprintf("the patch fits with -p%d as well as with -p%d; write its paths as a/… and b/…", at[0], at[1])}
}

// prefixed says whether all names carry git's "a/" and "b/".
func (p *Patch) prefixed() bool {
	for _, f := range p.Files {
		if f.OldRaw != DevNull && !strings.HasPrefix(f.OldRaw, "a/") || f.NewRaw != DevNull && !strings.HasPrefix(f.NewRaw, "b/") && !strings.HasPrefix(f.NewRaw, "a/") {
			return false
		}
	}
	return true
}

func cloneState(m map[string]*text) map[string]*text {
	out := make(map[string]*text, len(m))
	for k, v := range m {
		c := *v // slices are replaced, never written in place
		out[k] = &c
	}
	return out
}

func cloneFiles(m map[string]*AppliedFile) map[string]*AppliedFile {
	out := make(map[string]*AppliedFile, len(m))
	for k, v := range m {
		c := *v
		c.Hunks = slices.Clone(v.Hunks)
		out[k] = &c
	}
	return out
}

func (a *applier) atLevel(p *Patch, level int) error {
	for _, f := range p.Files {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		if err := a.file(p, f, level); err != nil {
			return err
		}
	}
	return nil
}

// clean strips level components and refuses names that could leave the root.
func clean(raw string, level int) (string, error) {
	if strings.ContainsAny(raw, "\x00\n\\") {
		return "", errors.New("the name has a character that no source file has")
	}
	if strings.HasPrefix(raw, "/") {
		return "", errors.New("an absolute path; a patch may only name files below the source root")
	}
	parts := strings.Split(raw, "/")
	if slices.Contains(parts, "..") {
		return "", errors.New(`a path with ".."; a patch may only name files below the source root`)
	}
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" || s == "." })
	if len(parts) <= level {
		return "", fmt.Errorf("the name has no more than %d components", level)
	}
	return path.Join(parts[level:]...), nil
}

// load returns the current content of a file, fs.ErrNotExist when there is none.
func (a *applier) load(name string) (*text, error) {
	if t, ok := a.state[name]; ok {
		if t.gone {
			return t, fs.ErrNotExist
		}
		return t, nil
	}
	// Each component must be real: through a symlink the same file has two names.
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		st, err := a.root.Lstat(name[:i])
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return nil, fs.ErrNotExist
		case err != nil:
			return nil, err
		case st.Mode()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%s is a symbolic link; name the file it stands for", name[:i])
		case i == len(name) && !st.Mode().IsRegular():
			return nil, errors.New("not a regular file")
		case i == len(name) && st.Size() > maxSource:
			return nil, fmt.Errorf("it has %d bytes, more than the limit of %d", st.Size(), maxSource)
		}
	}
	fh, err := a.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer fh.Close()
	data, err := io.ReadAll(io.LimitReader(fh, maxSource))
	if err != nil {
		return nil, err
	}
	t := &text{orig: data, lines: splitLines(string(data))}
	t.from = make([]int, len(t.lines))
	for i := range t.from {
		t.from[i] = i + 1
	}
	a.state[name] = t
	return t, nil
}
