// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kmend/internal/run"
)

// Job is one compile.
type Job struct {
	Command *Command
	// Overlay replaces or adds source files, by path relative to the source root;
	// empty for the source as it is.
	Overlay map[string][]byte
	// Diagnose, if set, is the overlay to compile once more when Overlay does not
	// compile, only for its diagnostics: the text as people know it, without #line.
	Diagnose map[string][]byte
	// Flags are options put behind kbuild's own, such as those of a level of
	// -flive-patching.
	Flags []string
	// Bare leaves objtool out: the object is for comparing, not for running.
	Bare bool
}

// Result is what a compile made.
type Result struct {
	Object   []byte   // ELF relocatable, after objtool, one section per function and variable; its .BTF is blanked
	Types    []byte   // contents of .BTF (GCC -gbtf), for package types
	Clones   []byte   // -fdump-ipa-clones, paths relative to the source root
	Deps     []string // source files read, relative to the source root, sorted
	Warnings []string // of GCC and objtool, paths relative to the source root, in order
	Steps    []Step
	Cached   bool
	Notes    []string // trouble that does not touch the result: the cache could not be written
}

// Step is the cost of one command.
type Step struct {
	Name string // "gcc", "objtool"
	Wall time.Duration
	CPU  time.Duration
}

// CompileError says that GCC refused a source.
type CompileError struct {
	Source   string
	Original bool   // it was the unmodified source
	Log      string // GCC's diagnostics, paths relative to the source root
	Err      error
}

// Code is the stable name of this refusal.
func (e *CompileError) Code() string { return "does-not-compile" }

func (e *CompileError) Unwrap() error { return e.Err }

func (e *CompileError) Error() string {
	what := "the patched source does not compile"
	if e.Original {
		what = "the unpatched source does not compile; the prepared kernel does not fit or the compiler changed"
	}
	return fmt.Sprintf("compile %s: %s:\n%s", e.Source, what, strings.TrimRight(e.Log, "\n"))
}

// ObjtoolError says that objtool refused an object.
type ObjtoolError struct {
	Source string
	Log    string
	Err    error
}

func (e *ObjtoolError) Unwrap() error { return e.Err }

func (e *ObjtoolError) Error() string {
	return fmt.Sprintf("run objtool on %s: %v:\n%s", e.Source, e.Err, strings.TrimRight(e.Log, "\n"))
}

// CompilePair compiles a unit as it is and with the overlay, at the same time.
func (t *Tree) CompilePair(ctx context.Context, j Job) (before, after *Result, err error) {
	g, ctx := errgroup.WithContext(ctx)
	var errB, errA error
	g.Go(func() error {
		before, errB = t.Compile(ctx, Job{Command: j.Command})
		return errB
	})
	g.Go(func() error {
		after, errA = t.Compile(ctx, j)
		return errA
	})
	err = g.Wait()
	// When both fail, the unpatched source is the news.
	var ce *CompileError
	if errors.As(errB, &ce) {
		err = errB
	}
	return before, after, err
}

// Compile makes the object of a unit with kbuild's own command, changed only in
// this: -ffunction-sections -fdata-sections are added, debug information is BTF
// (GCC makes the same code with it), the clone dump is written, output goes to a
// private directory. objtool runs as kbuild runs it. Neither the source tree nor
// the O= directory is written.
func (t *Tree) Compile(ctx context.Context, j Job) (*Result, error) {
	if j.Command == nil {
		return nil, errors.New("compile: no command given")
	}
	if err := j.Command.check(); err != nil {
		return nil, err
	}
	key, err := t.compileKey(ctx, "compile 2", j)
	if err != nil {
		return nil, err
	}
	if r := t.cachedResult(key); r != nil {
		return r, nil
	}
	release, err := t.Jobs.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	b, err := t.newBench(j)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := &Result{}
	if err := b.gcc(ctx, r); err != nil {
		return nil, t.diagnose(ctx, j, err)
	}
	if !j.Bare {
		if err := b.objtool(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := b.collect(r); err != nil {
		return nil, err
	}
	t.store(key, b, r)
	return r, nil
}

// diagnose compiles the text people know to word the error.
func (t *Tree) diagnose(ctx context.Context, j Job, err error) error {
	var ce *CompileError
	if len(j.Diagnose) == 0 || !errors.As(err, &ce) {
		return err
	}
	b, err2 := t.newBench(Job{Command: j.Command, Overlay: j.Diagnose, Flags: j.Flags})
	if err2 != nil {
		return err
	}
	defer b.close()
	var plain *CompileError
	if errors.As(b.gcc(ctx, &Result{}), &plain) {
		return plain
	}
	return err
}

// bench is the private directory of one compile.
type bench struct {
	t        *Tree
	job      Job
	dir      string
	farm     *farm
	object   string
	deps     []string // as GCC wrote them
	extra    []string // options beside kbuild's
	restarts int      // compiles repeated because of stale files
}

// sectionFlags give each function and variable a section of its own.
var sectionFlags = []string{"-ffunction-sections", "-fdata-sections"}

func (t *Tree) newBench(j Job) (*bench, error) {
	dir, err := os.MkdirTemp("", "kmend-cc-")
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", j.Command.Source, err)
	}
	b := &bench{t: t, job: j, dir: dir, object: filepath.Join(dir, "out.o"), extra: slices.Concat(sectionFlags, j.Flags)}
	src := j.Command.Gcc[len(j.Command.Gcc)-1]
	work := filepath.Join(dir, "work")
	if err = os.Mkdir(work, 0o755); err == nil {
		b.farm, err = newFarm(work, t.cfg.SourceDir, t.cfg.ObjDir, !filepath.IsAbs(src), j.Overlay)
	}
	if err == nil {
		// kbuild's name of the source may hold "..": each step must exist.
		err = b.farm.steps(strings.TrimPrefix(src, t.cfg.SourceDir+"/"))
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("compile %s: %w", j.Command.Source, err)
	}
	return b, nil
}

func (b *bench) close() { os.RemoveAll(b.dir) }

// isDebugFlag recognises options that ask for debug information (-g, -g3,
// -gdwarf-5, -gsplit-dwarf, -gz=…); GCC's code does not depend on them.
func isDebugFlag(a string) bool { return strings.HasPrefix(a, "-g") }

// argv is the command of kbuild with the source in the farm, without output,
// dependency and debug options; more is put before the source.
func (b *bench) argv(more ...string) ([]string, error) {
	in := b.job.Command.Gcc
	var out []string
	for i := 0; i < len(in)-1; i++ {
		a := in[i]
		switch {
		case strings.HasPrefix(a, "-Wp,-MMD,"), strings.HasPrefix(a, "-Wp,-MD,"), isDebugFlag(a), a == "-c":
			continue
		case a == "-o":
			i++
			continue
		}
		if strings.HasPrefix(a, "-D") {
			out = append(out, a) // text of the program, not a path of ours
			continue
		}
		r, err := b.farm.rewrite(a)
		if err != nil {
			return nil, err
		}
		if r != a && strings.HasPrefix(a, "-f") { // -fmacro-prefix-map: both names of the source
			out = append(out, a)
		}
		out = append(out, r)
	}
	src, err := b.farm.rewrite(in[len(in)-1])
	if err != nil {
		return nil, err
	}
	return append(append(out, more...), src), nil
}

// gcc compiles until no replaced file was read in its original form.
func (b *bench) gcc(ctx context.Context, r *Result) error {
	depFile, clones := filepath.Join(b.dir, "deps"), filepath.Join(b.dir, "clones")
	for {
		argv, err := b.argv(append(slices.Clone(b.extra), "-gbtf", "-fdump-ipa-clones="+clones, "-MD", "-MF", depFile, "-MT", "x", "-c", "-o", b.object)...)
		if err != nil {
			return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
		}
		// GCC writes the name of the source with its working directory into .BTF and
		// takes $PWD for that if it leads to the same place (libiberty/getpwd.c): a
		// name that is the same in every private directory.
		out, err := run.Run(ctx, run.Cmd{Argv: argv, Dir: b.farm.cwd, Env: append(run.CleanEnv(), "PWD=/proc/self/cwd")})
		if out != nil {
			r.Steps = append(r.Steps, Step{"gcc", out.Wall, out.CPU})
		}
		if err != nil {
			return b.gccFailed(ctx, out, err)
		}
		data, err := os.ReadFile(depFile)
		if err == nil {
			b.deps, err = parseDeps(string(data))
		}
		if err != nil {
			return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
		}
		again, err := b.farm.stale(b.deps)
		if err != nil {
			return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
		}
		if again {
			b.restarts++
			continue
		}
		r.Warnings = warnings(b.plain(out.Stderr))
		if r.Clones, err = os.ReadFile(clones); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
		}
		r.Clones = b.plain(r.Clones)
		return nil
	}
}

// notTheSource finds failures in GCC's output that say nothing about the source:
// a compiler that was killed or broke, a full or unwritable disk.
var notTheSource = regexp.MustCompile(`signal terminated program|internal compiler error|No space left on device|[Rr]ead-only file system|Permission denied|cannot execute|out of memory|virtual memory exhausted`)

// gccFailed tells a refused source from a compiler that did not work.
func (b *bench) gccFailed(ctx context.Context, out *run.Output, err error) error {
	var re *run.Error
	if ctx.Err() != nil || out == nil || !errors.As(err, &re) || re.Exit != 1 {
		return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
	}
	log := b.plain(out.Stderr)
	if notTheSource.Match(log) {
		return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
	}
	if bytes.Contains(log, []byte("unrecognized debug output level")) || bytes.Contains(log, []byte("unrecognized command-line option")) {
		return fmt.Errorf("compile %s: %w; GCC 12 or later is needed", b.job.Command.Source, err)
	}
	return &CompileError{Source: b.job.Command.Source, Original: len(b.job.Overlay) == 0, Log: string(log), Err: err}
}

// plain takes the private and the source directory out of paths in a text.
func (b *bench) plain(text []byte) []byte {
	for _, root := range []string{b.farm.root, b.farm.name, b.t.cfg.SourceDir} {
		text = bytes.ReplaceAll(text, []byte(root+"/"), nil)
	}
	return text
}

// objtool runs as in kbuild, on the private object.
func (b *bench) objtool(ctx context.Context, r *Result) error {
	in := b.job.Command.Objtool
	if len(in) == 0 {
		return nil
	}
	argv := append(slices.Clone(in[:len(in)-1]), b.object)
	out, err := run.Run(ctx, run.Cmd{Argv: argv, Dir: b.t.cfg.ObjDir})
	if out != nil {
		r.Steps = append(r.Steps, Step{"objtool", out.Wall, out.CPU})
	}
	if err != nil {
		e := &ObjtoolError{Source: b.job.Command.Source, Err: err}
		if out != nil {
			e.Log = string(b.plain(out.Stderr))
		}
		return e
	}
	text := bytes.ReplaceAll(out.Stderr, []byte(b.object), []byte(b.job.Command.Object))
	r.Warnings = append(r.Warnings, warnings(text)...)
	return nil
}

// collect reads the finished object.
func (b *bench) collect(r *Result) error {
	var err error
	if r.Object, err = os.ReadFile(b.object); err != nil {
		return fmt.Errorf("compile %s: %w", b.job.Command.Source, err)
	}
	if r.Types, err = takeBTF(r.Object); err != nil {
		return fmt.Errorf("compile %s: read the object: %w", b.job.Command.Source, err)
	}
	seen := map[string]bool{}
	for _, d := range b.deps {
		if rel, ok := b.farm.rel(d); ok && !seen[rel] {
			seen[rel] = true
			r.Deps = append(r.Deps, rel)
		}
	}
	slices.Sort(r.Deps)
	return nil
}

// takeBTF copies the contents of .BTF and blanks them in the object: GCC 12 puts
// variables there in the order of a hash of addresses, which differs from run to
// run. No code depends on them.
func takeBTF(obj []byte) (data []byte, err error) {
	defer func() { // debug/elf is not hardened
		if p := recover(); p != nil {
			data, err = nil, fmt.Errorf("damaged ELF file: %v", p)
		}
	}()
	f, err := elf.NewFile(bytes.NewReader(obj))
	if err != nil {
		return nil, err
	}
	s := f.Section(".BTF")
	if s == nil || s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_COMPRESSED != 0 {
		return nil, errors.New("the compiler wrote no .BTF section")
	}
	if s.Offset+s.FileSize < s.Offset || s.Offset+s.FileSize > uint64(len(obj)) {
		return nil, errors.New("the .BTF section lies outside the file")
	}
	in := obj[s.Offset : s.Offset+s.FileSize]
	data = bytes.Clone(in)
	clear(in)
	return data, nil
}

// warnings cuts diagnostics into one entry per warning: the lines that say where
// it is ("In function …", "In file included from …"), the warning, its excerpt
// and notes.
func warnings(text []byte) []string {
	var out []string
	var cur []string
	has := false // cur holds its warning
	flush := func() {
		if len(cur) > 0 {
			out = append(out, strings.Join(cur, "\n"))
		}
		cur, has = nil, false
	}
	for line := range strings.Lines(string(text)) {
		l := strings.TrimRight(line, "\n")
		isWarning := strings.Contains(l, ": warning: ")
		where := strings.HasPrefix(l, "In file included from ") || strings.HasSuffix(l, ":") && (strings.Contains(l, ": In function ") || strings.HasSuffix(l, ": At top level:"))
		if has && (isWarning || where) {
			flush()
		}
		if l != "" || len(cur) > 0 {
			cur = append(cur, l)
		}
		has = has || isWarning
	}
	flush()
	return out
}

// NewWarnings lists the warnings of after that before does not have, compared
// without line and column.
func NewWarnings(before, after *Result) []string {
	old := map[string]int{}
	for _, w := range before.Warnings {
		old[warningKey(w)]++
	}
	var out []string
	for _, w := range after.Warnings {
		if k := warningKey(w); old[k] > 0 {
			old[k]--
		} else {
			out = append(out, w)
		}
	}
	return out
}

// warningKey is a warning's message with the file's name, without line and
// column.
func warningKey(w string) string {
	for line := range strings.Lines(w) {
		if pos, msg, ok := strings.Cut(line, ": warning: "); ok {
			file, _, _ := strings.Cut(pos, ":")
			return file + ": " + strings.TrimSpace(msg)
		}
	}
	return w
}
