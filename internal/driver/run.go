// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"kmend/internal/compiler"
)

// Result is how the real compiler ended.
type Result struct {
	Exit   int            // its exit code
	Signal syscall.Signal // that killed it, or 0
}

// Run is kmend cc: it runs the real compiler on a command line. Without a list
// to make the process becomes the compiler and Run does not return. Remarks go
// to notes, a list for standard output to out. A command line that contradicts
// itself is a *UsageError, a level that the compiler does not have a
// *compiler.LevelError.
func Run(ctx context.Context, args []string, out, notes io.Writer) (Result, error) {
	c, err := Parse(args)
	if err != nil {
		return Result{}, err
	}
	argv, file, err := realCompiler()
	if err != nil {
		return Result{}, err
	}
	r := &runner{c: c, argv: argv, file: file, out: out, notes: notes}
	flags, err := r.levelFlags(ctx)
	if err != nil {
		return Result{}, err
	}
	r.args = append(append([]string{}, argv...), c.With(flags)...)
	if err := r.setEnv(); err != nil {
		return Result{}, err
	}
	if c.List != nil && c.NoList() != "" {
		if c.List.File == "" { // somebody waits for it
			fmt.Fprintf(notes, "kmend cc: no list of impacted functions: %s\n", c.NoList())
		}
		c.List = nil
	}
	switch {
	case c.List != nil:
		return r.withList(ctx)
	case c.Level >= compiler.OnlyInlineStatic && c.NoList() == "":
		return r.withHint() // these levels are known to break code
	}
	err = syscall.Exec(file, r.args, os.Environ())
	return Result{}, execError(file, err)
}

func execError(file string, err error) error {
	if errors.Is(err, syscall.E2BIG) {
		return fmt.Errorf("run the compiler %s: %w: the arguments are too long; put kmend's own options on the command line, not into the response file", file, err)
	}
	return fmt.Errorf("run the compiler %s: %w", file, err)
}

// runner is one run of the real compiler.
type runner struct {
	c          *Command
	argv       []string // the compiler's words
	file       string   // the file of the first one
	args       []string // the whole command line, level and all
	real       *compiler.Compiler
	out, notes io.Writer
}

// setEnv prepares the environment of the compiler.
func (r *runner) setEnv() error {
	if err := os.Setenv(runningVar, "1"); err != nil {
		return fmt.Errorf("run the compiler: %w", err)
	}
	return nil
}

// levelFlags asks for the level's flags. With Clang only somebody who knows
// that it cannot keep a level gets some.
func (r *runner) levelFlags(ctx context.Context) ([]string, error) {
	if r.c.Level == compiler.Plain {
		return nil, nil
	}
	var err error
	if r.real, err = compiler.Identify(ctx, r.argv); err != nil {
		return nil, err
	}
	flags, err := r.real.LevelFlags(ctx, r.c.Level)
	var refused *compiler.LevelError
	if errors.As(err, &refused) && r.real.Family == compiler.Clang {
		if os.Getenv(NearestVar) != "1" {
			return nil, fmt.Errorf("%w, or set %s=1 for the nearest flags: %s", err, NearestVar, strings.Join(refused.Nearest, " "))
		}
		if r.c.NoList() == "" {
			fmt.Fprintf(r.notes, "kmend cc: warning: %s does not keep level %v: %s\n", r.real, r.c.Level, strings.Join(refused.Differs, "; "))
		}
		return refused.Nearest, nil
	}
	return flags, err
}
