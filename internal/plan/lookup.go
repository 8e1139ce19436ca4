// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/definitions"
	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/nearest"
)

// Codes of FunctionError.
const (
	CodeUnknownFile        = "unknown-file"
	CodeUnknownFunction    = "unknown-function"
	CodeSeveralDefinitions = "several-definitions"
	CodeMacroOnly          = "macro-only"
	CodeNoCode             = "no-code"
)

// FunctionError says that what was asked for is no function that a plan could
// be about. It is a mistake in the question, not a refusal.
type FunctionError struct {
	Code   string
	Spec   FunctionSpec
	Why    string   // one clause
	Advice string   // one clause
	Near   []string // functions of the file with names that differ by little, best first
	Files  []string // C files that define a function of that name
	Uses   []string // for a macro: functions of the file that use it
}

// maxNamed bounds the names of a kind in a message.
const maxNamed = 10

// Error is the mistake in one line.
func (e *FunctionError) Error() string {
	s := fmt.Sprintf("find function %s: %s", e.Spec, e.Why)
	for _, list := range []struct {
		what  string
		names []string
	}{{"near names: ", e.Near}, {"defined in ", e.Files}, {"used in ", e.Uses}} {
		if n := len(list.names); n > maxNamed {
			s += fmt.Sprintf("; %s%s and %d more", list.what, strings.Join(list.names[:maxNamed], ", "), n-maxNamed)
		} else if n > 0 {
			s += "; " + list.what + strings.Join(list.names, ", ")
		}
	}
	return s + "; " + e.Advice
}

// functionFinder finds the units of functions that were asked for.
type functionFinder struct {
	p    *Plan
	q    *Request
	tree *kbuild.Tree
}

// units finds the unit of each function.
func (f *functionFinder) units(ctx context.Context) ([]*foundUnit, error) {
	var out []*foundUnit
	for _, spec := range f.q.Functions {
		file := spec.File
		if file == "" {
			var err error
			if file, err = f.definition(ctx, spec); err != nil {
				return nil, err
			}
		}
		file = path.Clean(file)
		if i := slices.IndexFunc(out, func(u *foundUnit) bool { return u.source == file }); i >= 0 {
			out[i].specs = append(out[i].specs, spec)
			continue
		}
		command, err := f.command(ctx, spec, file)
		if err != nil {
			return nil, err
		}
		if command != nil {
			out = append(out, &foundUnit{source: file, command: command, specs: []FunctionSpec{spec}})
		}
	}
	return out, nil
}

// command is the compile command of a file; nil if it was refused.
func (f *functionFinder) command(ctx context.Context, spec FunctionSpec, file string) (*kbuild.Command, error) {
	e := &FunctionError{Code: CodeUnknownFile, Spec: spec, Why: "the source of the kernel has no file " + file, Advice: "name a C file, relative to the source of the kernel"}
	if !filepath.IsLocal(file) {
		return nil, e
	}
	if _, err := os.Stat(filepath.Join(f.q.Kernel.SourceDir, file)); err != nil {
		e.Files, _ = f.definedIn(ctx, spec.Name)
		return nil, e
	}
	if path.Ext(file) != ".c" {
		return nil, &FunctionError{Code: CodeUnknownFile, Spec: spec, Why: file + " is no C file: what it defines is part of every unit that includes it", Advice: "name a unit that uses the function, as UNIT.c:" + spec.Name}
	}
	commands, err := f.tree.Commands(ctx, []string{file})
	var not *kbuild.NotBuiltError
	if errors.As(err, &not) {
		f.p.refuse(Refusal{Code: CodeNotBuilt, File: file, Symbol: spec.Name, Why: not.Error(), Advice: "there is nothing to patch in this kernel"})
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return commands[0], nil
}

// definition finds the one unit that defines a function.
func (f *functionFinder) definition(ctx context.Context, spec FunctionSpec) (string, error) {
	files, headers := f.definedIn(ctx, spec.Name)
	if err := ctx.Err(); err != nil {
		return "", err
	}
	built := files
	if len(files) > 1 {
		commands, err := f.tree.Commands(ctx, files)
		var not *kbuild.NotBuiltError
		if err != nil && !errors.As(err, &not) {
			return "", err
		}
		built = nil
		for _, c := range commands {
			if c != nil {
				built = append(built, c.Source)
			}
		}
		slices.Sort(built)
		built = slices.Compact(built)
	}
	switch {
	case len(built) == 1:
		return built[0], nil
	case len(built) > 1:
		return "", &FunctionError{Code: CodeSeveralDefinitions, Spec: spec, Why: fmt.Sprintf("%d units of this kernel define it", len(built)), Files: built, Advice: "name one, as FILE:" + spec.Name}
	case len(files) > 1: // none of them is built: any of them says so
		return files[0], nil
	case len(headers) > 0:
		return "", &FunctionError{Code: CodeSeveralDefinitions, Spec: spec, Why: "a header defines it", Files: headers, Advice: "name a unit that uses it, as UNIT.c:" + spec.Name}
	}
	return "", &FunctionError{Code: CodeUnknownFunction, Spec: spec, Why: "no C file of the kernel seems to define it", Near: f.nearSymbols(spec.Name), Advice: "name its unit, as UNIT.c:" + spec.Name}
}

// definedIn lists the C files, and the other files, that seem to define a
// function.
func (f *functionFinder) definedIn(ctx context.Context, name string) (files, headers []string) {
	found, err := definitions.Find(ctx, f.q.Kernel.SourceDir, []string{name}, nil)
	if err != nil {
		return nil, nil
	}
	for _, file := range found[name] {
		if path.Ext(file) == ".c" {
			files = append(files, file)
		} else {
			headers = append(headers, file)
		}
	}
	return files, headers
}

// nearSymbols are names of the running kernel that somebody may have meant.
func (f *functionFinder) nearSymbols(name string) []string {
	img, err := f.q.Kernel.Image()
	if err != nil {
		return nil
	}
	s := nearest.NewSearch(name, 3)
	for _, sym := range img.Symbols().All() {
		s.Offer([]byte(sym.Name))
	}
	return s.Names()
}

// function checks that a unit has a function, and returns its name there.
func (f *functionFinder) function(ctx context.Context, u *foundUnit, spec FunctionSpec, unit *delta.Unit, res *kbuild.Result, known []string) (string, error) {
	name := spec.Name
	if call, ok := strings.CutPrefix(name, "sys_"); ok && !slices.Contains(known, name) {
		for _, body := range []string{"__do_sys_" + call, "__se_sys_" + call, "__x64_sys_" + call} { // arch/x86/include/asm/syscall_wrapper.h
			if slices.Contains(known, body) {
				name = body
				break
			}
		}
	}
	if it := unit.Item(name); it != nil {
		switch it.Kind {
		case delta.Func:
			return name, nil
		case delta.InitCode:
			f.p.refuse(Refusal{Code: CodeInitCode, File: u.source, Symbol: name, Why: "it is init code: it has run already, and is gone", Advice: "there is nothing to patch"})
			return name, nil
		case delta.ExitCode:
			f.p.refuse(Refusal{Code: CodeExitCode, File: u.source, Symbol: name, Why: "it is exit code", Advice: "exit code cannot be redirected"})
			return name, nil
		}
	}
	if slices.ContainsFunc(known, func(k string) bool { return delta.Source(k) == name }) {
		return name, nil // inlined, or clones
	}
	return "", f.unknown(ctx, u, spec, unit, res, known)
}

// unknown says why a unit has no such function.
func (f *functionFinder) unknown(ctx context.Context, u *foundUnit, spec FunctionSpec, unit *delta.Unit, res *kbuild.Result, known []string) error {
	if e := f.macro(u, spec, res); e != nil {
		return e
	}
	files, _ := f.definedIn(ctx, spec.Name)
	if err := ctx.Err(); err != nil {
		return err
	}
	if slices.Contains(files, u.source) {
		return &FunctionError{Code: CodeNoCode, Spec: spec, Why: "GCC made no code of it: this configuration leaves it out, or nothing uses it", Advice: "there is nothing to patch"}
	}
	e := &FunctionError{Code: CodeUnknownFunction, Spec: spec, Why: u.source + " has no function of that name", Files: files, Advice: "check the name and the file"}
	if it := unit.Item(spec.Name); it != nil {
		e.Why = fmt.Sprintf("%s is %s in %s, no function", spec.Name, it.Kind, u.source)
	}
	names := []string{}
	for _, k := range known {
		names = append(names, delta.Source(k))
	}
	slices.Sort(names)
	e.Near = nearest.Names(spec.Name, slices.Compact(names), 3)
	return e
}

// macro looks for a macro of the name in the files that the unit reads.
func (f *functionFinder) macro(u *foundUnit, spec FunctionSpec, res *kbuild.Result) error {
	if !cName.MatchString(spec.Name) {
		return nil
	}
	define := regexp.MustCompile(`(?m)^[ \t]*#[ \t]*define[ \t]+` + spec.Name + `\b`)
	for _, file := range append([]string{u.source}, res.Deps...) {
		text, err := sourceText(f.q.Kernel, file)
		if err != nil { // generated, in the build directory
			continue
		}
		at := define.FindIndex(text)
		if at == nil {
			continue
		}
		e := &FunctionError{Code: CodeMacroOnly, Spec: spec, Why: fmt.Sprintf("it is a macro (%s:%d)", file, 1+strings.Count(string(text[:at[0]]), "\n")), Advice: "name the functions that use it"}
		if own, err := sourceText(f.q.Kernel, u.source); err == nil {
			e.Uses = usersOf(own, spec.Name)
		}
		return e
	}
	return nil
}

var cName = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// usersOf lists the functions of a C text whose lines have a name.
func usersOf(text []byte, name string) (out []string) {
	word := regexp.MustCompile(`\b` + name + `\b`)
	lines := splitLines(text)
	for i, line := range lines {
		if !word.Match(line) {
			continue
		}
		if fn := enclosing(lines, i); fn != "" && fn != name && !slices.Contains(out, fn) {
			out = append(out, fn)
		}
	}
	return out
}
