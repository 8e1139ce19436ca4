// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/patch"
)

// MaxUsers is how many translation units Users returns for one file. Beyond
// that a fix is no small one: compiling takes minutes, and hardly any function
// of the kernel would stay as it is.
const MaxUsers = 40

// maxCandidates is how many C files are asked whether they are built.
const maxCandidates = 600

// UsersError says that the translation units which may include a file are too
// many, or not all compiled from C as part of the kernel.
type UsersError struct {
	Path  string
	Limit int    // how many are allowed
	Count int    // C files that may include it; as far as Built says, that are built
	Built bool   // Count is of files that this configuration builds
	Other string // a file that may include it and cannot be compiled twice and compared; "" if only Count is the trouble
}

// Code is the stable name of this refusal.
func (e *UsersError) Code() string { return "header-changed" }

func (e *UsersError) Error() string {
	return fmt.Sprintf("find the users of %s: %s", e.Path, e.Reason())
}

// Reason is the error as one clause.
func (e *UsersError) Reason() string {
	if e.Other != "" && e.Count == 0 {
		return e.Other + ", which is not compiled twice and compared, uses it"
	}
	units := "1 translation unit"
	if e.Count != 1 {
		units = fmt.Sprintf("%d translation units", e.Count)
	}
	if !e.Built {
		units = "up to " + units
	}
	if e.Other != "" {
		return fmt.Sprintf("%s may include it, and so may %s, which is not compiled twice and compared", units, e.Other)
	}
	return fmt.Sprintf("%s may include it, more than the limit of %d", units, e.Limit)
}

// Users returns the commands of all translation units of the configuration that
// may read a source file (a path relative to the source root): its own, if it is
// a C file that is built, and those that include it, by whatever way. They are a
// superset: a compile's Deps tell which really do. They are sorted by source.
//
// Errors: *UsersError, also if they are more than MaxUsers.
func (t *Tree) Users(ctx context.Context, file string) ([]*Command, error) {
	return t.UsersUpTo(ctx, file, MaxUsers)
}

// UsersUpTo is Users with a limit of one's own, for who does not mind waiting.
func (t *Tree) UsersUpTo(ctx context.Context, file string, limit int) ([]*Command, error) {
	g, err := t.includeGraphOf(ctx)
	if err != nil {
		return nil, err
	}
	reached := g.closure(file)
	var candidates []string
	var other string
	for f := range reached {
		switch {
		case isUnit(f, file):
			candidates = append(candidates, f)
		case f != file && !isIncluded(f) && (other == "" || f < other):
			other = f
		}
	}
	count := len(candidates)
	if slices.Contains(candidates, file) {
		count--
	}
	if other != "" || count > max(maxCandidates, limit) {
		return nil, &UsersError{Path: file, Limit: limit, Count: count, Other: sourcePath(other)}
	}
	slices.Sort(candidates)
	built, err := t.Built(ctx, candidates)
	if err != nil {
		return nil, err
	}
	var out []*Command
	count = 0
	for _, c := range built {
		if c.Source != file {
			if !t.mayRead(g, c, file, reached) {
				continue
			}
			count++
		}
		out = append(out, c)
	}
	if count > limit {
		return nil, &UsersError{Path: file, Limit: limit, Count: count, Built: true}
	}
	return out, nil
}

// isUnit says whether a file of the graph is C of the kernel, which kbuild can
// be asked about. file is the one in question.
func isUnit(f, file string) bool {
	if path.Ext(f) != ".c" || strings.HasPrefix(f, "@/") {
		return false
	}
	return patch.Classify(f) == patch.Source
}

// isIncluded says whether a file only matters through those that include it.
// Other files are the reason to refuse: assembler code, programs of the build,
// generated C, C that runs outside the kernel, makefiles.
func isIncluded(f string) bool {
	if strings.HasPrefix(f, "@/") {
		return path.Ext(f) == ".h" || path.Ext(f) == ".inc"
	}
	return patch.Classify(f) == patch.Header
}

// Built returns the commands of those sources that the configuration builds.
// Which it does not is remembered, too.
func (t *Tree) Built(ctx context.Context, sources []string) ([]*Command, error) {
	id, err := t.stateID(ctx)
	if err != nil {
		return nil, err
	}
	var ask []string
	for _, s := range sources {
		if !t.knownAbsent(id, s) {
			ask = append(ask, s)
		}
	}
	commands, missing, err := t.commands(ctx, ask)
	if err != nil {
		return nil, err
	}
	for _, s := range missing {
		if err := t.rememberAbsent(id, s); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(commands, func(c *Command) bool { return c == nil }), nil
}

// absent is the record of a source that the configuration does not build.
type absent struct {
	Source    string  `json:"source"`
	Makefiles []stamp `json:"makefiles"`
}

func (t *Tree) absentFile(id, source string) string {
	return strings.TrimSuffix(t.commandFile(id, source), ".json") + ".absent.json"
}

func (t *Tree) knownAbsent(id, source string) bool {
	var a absent
	return readJSON(t.absentFile(id, source), &a) == nil && a.Source == source && len(a.Makefiles) > 0 && fresh(a.Makefiles)
}

func (t *Tree) rememberAbsent(id, source string) error {
	stamps, err := t.makefileStamps(nil, source)
	if err != nil {
		return fmt.Errorf("remember build commands: %w", err)
	}
	return writeJSON(t.absentFile(id, source), &absent{source, stamps})
}

// mayRead says whether the command, whose source is known to reach the file by
// names alone, can do so with its own -I directories.
func (t *Tree) mayRead(g *includeGraph, c *Command, file string, reached map[string]bool) bool {
	dirs, forced := t.searchDirs(c)
	seen := map[string]bool{}
	var todo []string
	visit := func(f string) {
		if reached[f] && !seen[f] {
			seen[f] = true
			todo = append(todo, f)
		}
	}
	visit(c.Source)
	for _, f := range forced {
		visit(f)
	}
	for len(todo) > 0 {
		f := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if f == file || slices.Contains(g.open, f) {
			return true
		}
		i, ok := g.ids[f]
		if !ok {
			continue
		}
		for _, inc := range g.includes[i] {
			if inc.kind == incTail {
				end := cleanEnd(inc.name)
				for r := range reached {
					if r == end || strings.HasSuffix(r, "/"+end) {
						visit(r)
					}
				}
				continue
			}
			if p, ok := g.includesLocal(f, inc); ok {
				visit(p)
				continue
			}
			visit(path.Join(path.Dir(f), inc.name))
			for _, d := range dirs {
				visit(joinGraph(d, inc.name))
			}
		}
	}
	return false
}

// joinGraph joins a name to a directory of the graph; ".." may lead from the O=
// directory into the source, never the other way.
func joinGraph(dir, name string) string {
	if rest, ok := strings.CutPrefix(dir, "@/"); ok {
		return "@/" + path.Join(rest, name)
	}
	return path.Join(dir, name)
}

// searchDirs lists the directories of the tree that a command searches, and the
// files it includes first (-include), as the graph names them.
func (t *Tree) searchDirs(c *Command) (dirs, forced []string) {
	for i := 0; i < len(c.Gcc); i++ {
		for _, opt := range []string{"-include", "-isystem", "-iquote", "-idirafter", "-I"} {
			val, ok := strings.CutPrefix(c.Gcc[i], opt)
			if !ok {
				continue
			}
			if val == "" && i+1 < len(c.Gcc) {
				i++
				val = c.Gcc[i]
			}
			if p, ok := t.graphPath(val); !ok {
			} else if opt == "-include" {
				forced = append(forced, p)
			} else {
				dirs = append(dirs, p)
			}
			break
		}
	}
	return dirs, forced
}

// graphPath is the graph's name of a path in a command.
func (t *Tree) graphPath(p string) (string, bool) {
	if !filepath.IsAbs(p) {
		p = filepath.Join(t.cfg.ObjDir, p)
	}
	if real, err := filepath.EvalSymlinks(p); err == nil {
		p = real
	} else if _, err := os.Lstat(p); err == nil {
		return "", false
	}
	in := func(root string) (string, bool) {
		rel, err := filepath.Rel(root, p)
		return filepath.ToSlash(rel), err == nil && filepath.IsLocal(rel)
	}
	src, inSrc := in(t.cfg.SourceDir)
	obj, inObj := in(t.cfg.ObjDir)
	switch {
	case inObj && (!inSrc || len(t.cfg.ObjDir) > len(t.cfg.SourceDir)):
		return "@/" + obj, true
	case inSrc:
		return src, true
	}
	return "", false
}
