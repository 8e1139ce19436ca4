// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// elsewhere maps clean object paths to the names kbuild gives them, for objects
// listed by a makefile of another directory with "..". It is found out once: the
// makefiles that could do so (they mention ".." or include another one) are
// asked for their lists.
func (t *Tree) elsewhere(ctx context.Context, env *environment, id string) (map[string]string, error) {
	file := filepath.Join(t.cfg.StateDir, "elsewhere-"+id+".json")
	m := map[string]string{}
	if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &m) == nil {
		return m, nil
	}
	dirs, err := t.crossingMakefiles(ctx)
	if err != nil {
		return nil, err
	}
	goals := make([]string, len(dirs))
	for i, d := range dirs {
		goals[i] = d + "/.kmend-list"
	}
	_, lists, err := t.trace(ctx, env, goals)
	if err != nil {
		return nil, err
	}
	for _, o := range lists {
		if c := path.Clean(o); c != o {
			m[c] = o
		}
	}
	return m, writeJSON(file, m)
}

var crossing = regexp.MustCompile(`(?m)\.\.|^\s*-?include\s`)

// crossingMakefiles lists the directories whose makefile may name objects of
// others.
func (t *Tree) crossingMakefiles(ctx context.Context) ([]string, error) {
	var dirs []string
	err := filepath.WalkDir(t.cfg.SourceDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, _ := filepath.Rel(t.cfg.SourceDir, p)
		if d.IsDir() {
			switch {
			case rel == "Documentation", rel == "tools", rel == "scripts", rel == "samples", rel == "debian", rel == "include", d.Name() == ".git",
				strings.HasPrefix(rel, "arch/") && strings.Count(rel, "/") == 1 && rel != "arch/x86":
				return fs.SkipDir
			}
			return nil
		}
		if d.Name() != "Makefile" && d.Name() != "Kbuild" || !strings.Contains(rel, "/") {
			return nil
		}
		data, err := os.ReadFile(p)
		if err == nil && crossing.Match(data) {
			dirs = append(dirs, path.Dir(filepath.ToSlash(rel)))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("search the makefiles: %w", err)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// whyNot explains, as far as a look at the makefiles tells, why a source has no
// command.
func (t *Tree) whyNot(source string) error {
	e := &NotBuiltError{Source: source, Why: "this kernel's configuration does not build it"}
	if _, err := os.Stat(filepath.Join(t.cfg.SourceDir, source)); err != nil {
		e.Why = "there is no such file in this kernel's source"
		return e
	}
	e.IncludedBy, _ = t.Includers(source)
	if len(e.IncludedBy) > 0 {
		e.Why = "it is not compiled on its own"
		return e
	}
	// The object itself, then each directory on the way up.
	token := strings.TrimSuffix(path.Base(source), ".c") + ".o"
	for dir := path.Dir(source); ; dir = path.Dir(dir) {
		if why := t.offIn(dir, token); why != "" {
			e.Why = why
			return e
		}
		if dir == "." {
			return e
		}
		token = path.Base(dir) + "/"
	}
}

var confRef = regexp.MustCompile(`\$\((CONFIG_[A-Za-z0-9_]+)\)`)

// offIn finds a line of the makefile in dir that would build token but for a
// CONFIG that is not set.
func (t *Tree) offIn(dir, token string) string {
	for _, name := range []string{"Kbuild", "Makefile"} {
		data, err := os.ReadFile(filepath.Join(t.cfg.SourceDir, dir, name))
		if err != nil {
			continue
		}
		text := strings.ReplaceAll(string(data), "\\\n", " ")
		for line := range strings.SplitSeq(text, "\n") {
			lhs, rhs, ok := strings.Cut(line, "=")
			if !ok || !slices.Contains(strings.Fields(rhs), token) {
				continue
			}
			for _, m := range confRef.FindAllStringSubmatch(lhs, -1) {
				if !t.configSet(m[1]) {
					return fmt.Sprintf("%s is not set (%s: %s)", m[1], path.Join(dir, name), strings.Join(strings.Fields(line), " "))
				}
			}
		}
	}
	return ""
}

func (t *Tree) configSet(name string) bool {
	data, err := os.ReadFile(filepath.Join(t.cfg.ObjDir, "include/config/auto.conf"))
	return err == nil && (bytes.HasPrefix(data, []byte(name+"=")) || bytes.Contains(data, []byte("\n"+name+"=")))
}

// Includers lists the C files in the same directory and the one above that
// #include source by name. It is no complete list: it does not look further, and
// not through macros.
func (t *Tree) Includers(source string) ([]string, error) {
	dir, base := path.Split(source)
	dir = path.Clean(dir)
	re, err := regexp.Compile(`(?m)^[ \t]*#[ \t]*include[ \t]*["<](?:[^">\n]*/)?` + regexp.QuoteMeta(base) + `[">]`)
	if err != nil {
		return nil, fmt.Errorf("search files that include %s: %w", source, err)
	}
	var out []string
	for _, d := range []string{dir, path.Dir(dir)} {
		files, err := filepath.Glob(filepath.Join(t.cfg.SourceDir, d, "*.c"))
		if err != nil {
			return nil, fmt.Errorf("search files that include %s: %w", source, err)
		}
		for _, f := range files {
			rel := path.Join(d, filepath.Base(f))
			data, err := os.ReadFile(f)
			if err != nil {
				return nil, fmt.Errorf("search files that include %s: %w", source, err)
			}
			m := re.Find(data)
			if m == nil || rel == source {
				continue
			}
			// The name must lead to this file, from the including one or by -I of its directory.
			name := string(m[bytes.IndexAny(m, `"<`)+1 : len(m)-1])
			if path.Join(d, name) == source || path.Base(name) == name && d == dir || strings.HasSuffix(source, "/"+path.Clean(name)) {
				out = append(out, rel)
			}
		}
	}
	return out, nil
}
