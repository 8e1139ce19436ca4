// SPDX-License-Identifier: Apache-2.0

package stock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"kmend/internal/definitions"
	"kmend/internal/impact"
	"kmend/internal/impact/index"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
)

// Request says what is asked of a kernel.
type Request struct {
	Kernel    *kernel.Kernel
	Tree      *kbuild.Tree
	Functions []string // FUNC, file:FUNC or object:FUNC
	MaxUnits  int      // how many units may be compiled for one file; 0 is kbuild.MaxUsers
	Progress  func(stage string, done, total int)
}

// TooManyError says that a function's file has more users than may be compiled.
type TooManyError struct {
	Function, File string
	Count          int
	AtMost         bool   // Count is an upper bound
	Other          string // a file that may include it and is no C file of the kernel
	Limit          int
}

func (e *TooManyError) Error() string {
	count := fmt.Sprint(e.Count)
	if e.AtMost {
		count = "up to " + count
	}
	if e.Other != "" {
		return fmt.Sprintf("find who is impacted by %s: %s units may include %s, where it is defined, and so may %s, which is no C file of the kernel; "+
			"ask for one unit as FILE.c:%s, or build the kernel with dumps and use --dumps", e.Function, count, e.File, e.Other, e.Function)
	}
	return fmt.Sprintf("find who is impacted by %s: %s units include %s, where it is defined, more than the limit of %d; "+
		"raise it with --max-units %d, ask for one of them as FILE.c:%s, or build the kernel with dumps and use --dumps",
		e.Function, count, e.File, e.Limit, e.Count, e.Function)
}

// Kernel is the part of a kernel that was compiled for some questions.
type Kernel struct {
	Index *index.Index
	Notes []string // what limits the answers
	units map[string]*compiled
	k     *kernel.Kernel
}

// compiled is one unit.
type compiled struct {
	command *kbuild.Command
	result  *kbuild.Result
	match   matches
}

// Compile compiles the units that know the functions.
func Compile(ctx context.Context, q Request) (*Kernel, error) {
	if q.MaxUnits == 0 {
		q.MaxUnits = kbuild.MaxUsers
	}
	if q.Progress == nil {
		q.Progress = func(string, int, int) {}
	}
	files, err := q.files(ctx)
	if err != nil {
		return nil, err
	}
	commands := map[string]*kbuild.Command{}
	s := &Kernel{units: map[string]*compiled{}, k: q.Kernel}
	for _, spec := range q.Functions {
		if err := q.commands(ctx, spec, files[spec], commands, s); err != nil {
			return nil, err
		}
	}
	if err := s.compile(ctx, &q, commands); err != nil {
		return nil, err
	}
	var units []index.Unit
	for _, p := range sortedKeys(s.units) {
		u := s.units[p]
		for _, object := range objectsOf(u.command) {
			units = append(units, index.Unit{Path: u.command.Object, Source: u.command.Source, Object: object, Dump: u.result.Clones, Data: u.result.Object})
		}
	}
	s.Index, err = index.FromUnits(units)
	return s, err
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Commands are the commands of the units that were compiled, by object file.
func (s *Kernel) Commands() []*kbuild.Command {
	var out []*kbuild.Command
	for _, o := range sortedKeys(s.units) {
		out = append(out, s.units[o].command)
	}
	return out
}

// Objects is what a unit is linked into: vmlinux, or modules.
func (s *Kernel) Objects(c *kbuild.Command) []string { return objectsOf(c) }

// objectsOf is what a unit is linked into.
func objectsOf(c *kbuild.Command) []string {
	if len(c.Modules) == 0 {
		return []string{index.Vmlinux}
	}
	return c.Modules
}

// cut splits file:FUNC; file:LINE:FUNC too.
func cut(spec string) (where, name string) {
	i := strings.LastIndexByte(spec, ':')
	if i < 0 {
		return "", spec
	}
	where, name = spec[:i], spec[i+1:]
	if j := strings.LastIndexByte(where, ':'); j > 0 && strings.Trim(where[j+1:], "0123456789") == "" {
		where = where[:j]
	}
	return where, name
}

// files finds for each question the files of the source that may define the
// function.
func (q *Request) files(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	var search []string
	for _, spec := range q.Functions {
		where, name := cut(spec)
		file := strings.TrimSuffix(where, ".o")
		if file != where {
			file += ".c"
		}
		// A whole path settles it: no need to search, and what a macro makes is found.
		if st, err := os.Stat(filepath.Join(q.Kernel.SourceDir, file)); where != "" && filepath.IsLocal(file) && err == nil && st.Mode().IsRegular() {
			out[spec] = []string{path.Clean(file)}
		} else if !slices.Contains(search, name) {
			search = append(search, name)
		}
	}
	if len(search) == 0 {
		return out, nil
	}
	found, err := definitions.Find(ctx, q.Kernel.SourceDir, search, func(done, total int) { q.Progress("search the source", done, total) })
	if err != nil {
		return nil, err
	}
	for _, spec := range q.Functions {
		if out[spec] != nil {
			continue
		}
		where, name := cut(spec)
		for _, f := range found[name] {
			if !isFile(where) || f == where || strings.HasSuffix(f, "/"+where) {
				out[spec] = append(out[spec], f)
			}
		}
	}
	return out, nil
}

// isFile tells a source file from the name of an object.
func isFile(where string) bool { return path.Ext(where) == ".c" || path.Ext(where) == ".h" }

// commands adds the commands of the units that may know a function.
func (q *Request) commands(ctx context.Context, spec string, files []string, all map[string]*kbuild.Command, s *Kernel) error {
	where, name := cut(spec)
	if len(files) == 0 {
		return q.undefined(spec, name)
	}
	if len(files) > maxFiles {
		return ambiguous(spec, name, files)
	}
	q.Progress("find the units", 0, 0)
	n := 0
	for _, f := range files {
		list, err := q.users(ctx, name, f)
		if err != nil {
			return err
		}
		for _, c := range list {
			if where != "" && !isFile(where) && path.Ext(where) != ".o" && !slices.Contains(objectsOf(c), strings.ReplaceAll(where, "-", "_")) {
				continue
			}
			all[c.Object] = c
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("find who is impacted by %s: kernel %s does not build any of %s, where it is defined, for that object",
			spec, q.Kernel.Name, strings.Join(files, ", "))
	}
	return nil
}

// maxFiles is how many files with a definition are compiled to see which the
// kernel has; a static function of a common name has more.
const maxFiles = 20

func ambiguous(spec, name string, files []string) error {
	e := &index.AmbiguousError{Name: spec}
	for _, f := range files {
		e.Candidates = append(e.Candidates, index.Candidate{File: f, Select: f + ":" + name})
	}
	return e
}

// undefined says that the source does not define a function.
func (q *Request) undefined(spec, name string) error {
	img, err := q.Kernel.Image()
	if err == nil && len(img.Symbols().Lookup(name)) > 0 {
		return fmt.Errorf("find who is impacted by %s: the kernel has that symbol, but no line of the source defines it plainly; a macro makes it: name its file, as FILE.c:%s", spec, name)
	}
	return &impact.UnknownError{Name: name, Where: "the source of kernel " + q.Kernel.Name}
}

// users are the units of the configuration that may read a file.
func (q *Request) users(ctx context.Context, name, file string) ([]*kbuild.Command, error) {
	list, err := q.Tree.UsersUpTo(ctx, file, q.MaxUnits)
	var many *kbuild.UsersError
	if errors.As(err, &many) {
		return nil, &TooManyError{name, file, many.Count, !many.Built, many.Other, q.MaxUnits}
	}
	return list, err
}

// compile compiles units on all CPUs.
func (s *Kernel) compile(ctx context.Context, q *Request, commands map[string]*kbuild.Command) error {
	list := sortedKeys(commands)
	results := make([]*kbuild.Result, len(list))
	var done atomic.Int64
	q.Progress("compile", 0, len(list))
	g, ctx := errgroup.WithContext(ctx)
	for i, o := range list {
		g.Go(func() error {
			r, err := q.Tree.Compile(ctx, kbuild.Job{Command: commands[o]})
			if err != nil {
				return err
			}
			results[i] = r
			q.Progress("compile", int(done.Add(1)), len(list))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, o := range list {
		s.units[o] = &compiled{command: commands[o], result: results[i]}
		s.Notes = append(s.Notes, results[i].Notes...)
	}
	return nil
}
