// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// includeKind says how a name in a file leads to another file.
type includeKind uint8

const (
	incQuoted includeKind = iota // "x.h": beside the including file, else as incAngled
	incAngled                    // <x.h>: below one of the command's -I directories
	incTail                      // made by macros: any file whose path ends in it
	incExact                     // named by a makefile: this path, in the source or the O= directory
)

// include is one name that a file may read, as written.
type include struct {
	kind includeKind
	name string
}

// includeGraph is the text of #include over a kernel's source: what each file
// could include, whatever its #if say, and from which directory. A file that is
// made by the build stands under "@/" and its path in the O= directory.
//
// Names are not resolved here: that depends on the command. includers answers
// for all commands at once, so that what it leads to is always a superset.
type includeGraph struct {
	files    []string
	includes [][]include
	open     []string // files that include something that cannot be told

	ids   map[string]int
	byEnd map[string][]includeUse // by cleaned name
}

type includeUse struct {
	file int
	include
}

// skippedDirs have no part in the code of an x86 kernel, or include nothing but
// their own (the programs below scripts). A file of them that a makefile
// elsewhere names is read all the same.
var skippedDirs = []string{"Documentation", "LICENSES", "tools", "samples", "debian", "scripts/kconfig", "scripts/gcc-plugins", "scripts/dtc"}

func skippedDir(rel string) bool {
	dir, base := path.Split(rel)
	return slices.Contains(skippedDirs, rel) || base == ".git" || dir == "arch/" && base != "x86"
}

// inert are the kinds of files that no compiler and no generator of C reads
// #include from.
var inert = map[string]bool{".rst": true, ".yaml": true, ".txt": true, ".dts": true, ".dtsi": true, ".dtso": true, ".json": true, ".svg": true,
	".cocci": true, ".gitignore": true, ".config": true, ".ppm": true, ".pbm": true, ".xsl": true, ".pem": true, ".o": true, ".ko": true, ".a": true,
	".cmd": true, ".d": true, ".log": true, ".gz": true, ".xz": true}

func isMakefile(base string) bool {
	return base == "Makefile" || base == "Kbuild" || strings.HasPrefix(base, "Makefile.") || strings.HasPrefix(base, "Kbuild.")
}

// maxScanned bounds one file; the largest headers have some 25 MB.
const maxScanned = 64 << 20

// scanned is one file on its way into the graph.
type scanned struct {
	name     string // in the graph
	file     string // on disk
	link     string // for a symbolic link: the graph's name of what it leads to
	includes []include
	macros   []string // names in #include NAME
	open     bool
}

// listFiles lists the files below dir that can take part, under prefix.
func listFiles(ctx context.Context, dir, prefix string, skip func(rel string) bool) ([]*scanned, error) {
	var out []*scanned
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && skip(rel) {
				return fs.SkipDir
			}
			return nil
		}
		if inert[path.Ext(rel)] || strings.HasPrefix(d.Name(), "Kconfig") {
			return nil
		}
		s := &scanned{name: prefix + rel, file: p}
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if st, err := os.Stat(p); err != nil || st.IsDir() || filepath.IsAbs(to) {
				return nil
			}
			s.link = path.Join(path.Dir(rel), filepath.ToSlash(to))
		} else if !d.Type().IsRegular() {
			return nil
		}
		out = append(out, s)
		return nil
	})
	return out, err
}

// readAll calls parse with the contents of each file, on all CPUs.
func readAll(ctx context.Context, files []*scanned, parse func(s *scanned, data []byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	const batch = 256
	for part := range slices.Chunk(files, batch) {
		g.Go(func() error {
			for _, s := range part {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if s.link != "" {
					s.includes = []include{{incExact, s.link}}
					continue
				}
				st, err := os.Stat(s.file)
				if err != nil {
					return err
				}
				if st.Size() > maxScanned {
					return fmt.Errorf("%s has %d bytes, more than the limit of %d", s.name, st.Size(), maxScanned)
				}
				data, err := os.ReadFile(s.file)
				if err != nil {
					return err
				}
				if err := parse(s, data); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func parseFile(s *scanned, data []byte) error {
	var text []string
	s.includes, text = scanIncludes(data, path.Ext(s.name))
	s.macros = text
	if isMakefile(path.Base(s.name)) {
		s.includes = append(s.includes, scanMakefile(string(data), path.Dir(s.name))...)
	}
	slices.SortFunc(s.includes, compareIncludes)
	s.includes = slices.Compact(s.includes)
	return nil
}

func compareIncludes(a, b include) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	return strings.Compare(a.name, b.name)
}

// scanSource reads the graph of the source tree.
func (t *Tree) scanSource(ctx context.Context) (*includeGraph, error) {
	obj, err := filepath.Rel(t.cfg.SourceDir, t.cfg.ObjDir)
	if err != nil {
		obj = ""
	}
	files, err := listFiles(ctx, t.cfg.SourceDir, "", func(rel string) bool {
		return skippedDir(rel) || obj != "." && rel == filepath.ToSlash(obj)
	})
	if err != nil {
		return nil, fmt.Errorf("search the source for #include: %w", err)
	}
	if err := readAll(ctx, files, parseFile); err != nil {
		return nil, fmt.Errorf("search the source for #include: %w", err)
	}
	if files, err = t.addOutside(ctx, files); err != nil {
		return nil, fmt.Errorf("search the source for #include: %w", err)
	}
	if err := resolveMacros(ctx, files, t.configSet); err != nil {
		return nil, fmt.Errorf("search the source for #include: %w", err)
	}
	return newIncludeGraph(files), nil
}

// addOutside reads C files in skipped directories that makefiles compile, as
// kernel/bpf does with tools/lib/bpf/relo_core.c.
func (t *Tree) addOutside(ctx context.Context, files []*scanned) ([]*scanned, error) {
	have := map[string]bool{}
	for _, s := range files {
		have[s.name] = true
	}
	var more []*scanned
	for _, s := range files {
		for _, inc := range s.includes {
			p := path.Clean(inc.name)
			if inc.kind != incExact || have[p] || !filepath.IsLocal(p) || path.Ext(p) != ".c" {
				continue
			}
			full := filepath.Join(t.cfg.SourceDir, p)
			if st, err := os.Stat(full); err != nil || !st.Mode().IsRegular() {
				continue
			}
			have[p] = true
			more = append(more, &scanned{name: p, file: full})
		}
	}
	return append(files, more...), readAll(ctx, more, parseFile)
}

// scanObj reads what the build has generated so far, other than its programs. It
// is little, and read anew each time.
func (t *Tree) scanObj(ctx context.Context) ([]*scanned, error) {
	if t.cfg.ObjDir == t.cfg.SourceDir {
		return nil, nil
	}
	files, err := listFiles(ctx, t.cfg.ObjDir, "@/", func(rel string) bool {
		return rel == "include/config" || rel == "source" || rel == "tools" || rel == "scripts" || filepath.Join(t.cfg.ObjDir, rel) == t.cfg.SourceDir
	})
	if err != nil {
		return nil, fmt.Errorf("search the O= directory for #include: %w", err)
	}
	files = slices.DeleteFunc(files, func(s *scanned) bool {
		switch path.Ext(s.name) {
		case ".c", ".h", ".S", ".s", ".inc":
			return false
		}
		return true
	})
	err = readAll(ctx, files, parseFile)
	for _, s := range files {
		if len(s.macros) > 0 {
			s.open = true
		}
	}
	if err != nil {
		return nil, fmt.Errorf("search the O= directory for #include: %w", err)
	}
	return files, nil
}

func newIncludeGraph(files []*scanned) *includeGraph {
	g := &includeGraph{}
	for _, s := range files {
		g.add(s)
	}
	return g
}

func (g *includeGraph) add(s *scanned) {
	g.files = append(g.files, s.name)
	g.includes = append(g.includes, s.includes)
	if s.open {
		g.open = append(g.open, s.name)
	}
}

// index prepares the questions. It is called once, after the last add.
func (g *includeGraph) index() {
	g.ids = make(map[string]int, len(g.files))
	g.byEnd = make(map[string][]includeUse, len(g.files))
	ends := map[string]string{} // names repeat: cleaned once
	for i, f := range g.files {
		g.ids[f] = i
		for _, inc := range g.includes[i] {
			end, ok := ends[inc.name]
			if !ok {
				end = cleanEnd(inc.name)
				ends[inc.name] = end
			}
			g.byEnd[end] = append(g.byEnd[end], includeUse{i, inc})
		}
	}
}

// cleanEnd is what the path of a file ends in that name leads to, from wherever:
// without "." and "..".
func cleanEnd(name string) string {
	name = path.Clean("/" + name) // "/../x" is "/x"
	return name[1:]
}

// sourcePath is a graph's name without the mark of the O= directory.
func sourcePath(name string) string { return strings.TrimPrefix(name, "@/") }

// includesLocal says which file a quoted include in the file of that name finds
// beside it. GCC looks there first, under the directory the file was opened in;
// files with other suffixes are copied elsewhere before they are compiled.
func (g *includeGraph) includesLocal(file string, inc include) (string, bool) {
	if inc.kind != incQuoted {
		return "", false
	}
	switch path.Ext(file) {
	case ".c", ".h", ".S", ".inc":
	default:
		return "", false
	}
	p := path.Join(path.Dir(file), inc.name)
	_, ok := g.ids[p]
	return p, ok
}

// includers lists the files that may include target by themselves.
func (g *includeGraph) includers(target string) []string {
	var out []string
	whole := sourcePath(target)
	for _, u := range g.byEnd[path.Dir(whole)+"/"+anyName] {
		out = append(out, g.files[u.file])
	}
	for end := whole; ; {
		for _, u := range g.byEnd[end] {
			file := g.files[u.file]
			if u.kind == incExact && end != whole {
				continue
			}
			if p, ok := g.includesLocal(file, u.include); ok && p != target {
				continue
			}
			out = append(out, file)
		}
		i := strings.IndexByte(end, '/')
		if i < 0 {
			return out
		}
		end = end[i+1:]
	}
}

// closure is every file that may come to include target, with target.
func (g *includeGraph) closure(target string) map[string]bool {
	reached := map[string]bool{target: true}
	todo := []string{target}
	visit := func(f string) {
		if !reached[f] {
			reached[f] = true
			todo = append(todo, f)
		}
	}
	for _, f := range g.open {
		visit(f)
	}
	for len(todo) > 0 {
		f := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, i := range g.includers(f) {
			visit(i)
		}
	}
	return reached
}

// includeGraphOf returns the graph of the tree, source and O= directory.
func (t *Tree) includeGraphOf(ctx context.Context) (*includeGraph, error) {
	t.graphMu.Lock()
	defer t.graphMu.Unlock()
	if t.graph != nil {
		return t.graph, nil
	}
	id, err := t.graphID()
	if err != nil {
		return nil, err
	}
	g := t.storedGraph(id)
	if g == nil || t.cfg.ObjDir == t.cfg.SourceDir {
		if g, err = t.scanSource(ctx); err != nil {
			return nil, err
		}
		if err := t.storeGraph(id, g); err != nil {
			return nil, err
		}
	}
	made, err := t.scanObj(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range made {
		g.add(s)
	}
	g.index()
	t.graph = g
	return g, nil
}

// Prepare reads what Users needs, so that it need not do so at the first fix.
func (t *Tree) Prepare(ctx context.Context) error {
	_, err := t.includeGraphOf(ctx)
	return err
}
