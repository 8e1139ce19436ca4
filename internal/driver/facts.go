// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/compiler"
	"kmend/internal/impact"
)

// factDumps are the dumps of facts of one compile. They are large, so that none
// is ever stored: each goes through a pipe, one for each kind, since GCC begins
// a file anew for every instance of a pass.
type factDumps struct {
	names []string
	pipes [][2]*os.File // read end, write end
}

// openFacts makes the pipes for the dumps of a compiler.
func openFacts(names, own []string) (*factDumps, error) {
	for _, o := range own {
		if strings.HasPrefix(o, "-fdump-tree-") || strings.HasPrefix(o, "-fdump-ipa-") {
			return nil, usagef("%s=…,facts with %s: GCC makes a dump in one place only, and facts are read from dumps; leave one of them out", listOption, o)
		}
	}
	f := &factDumps{names: names}
	for range names {
		r, w, err := os.Pipe()
		if err == nil {
			f.pipes = append(f.pipes, [2]*os.File{r, w})
			// The compiler inherits the write end under the same number.
			_, err = unix.FcntlInt(w.Fd(), unix.F_SETFD, 0)
		}
		if err != nil {
			f.close()
			return nil, fmt.Errorf("make a pipe for the dumps of facts: %w", err)
		}
	}
	return f, nil
}

// flags are the options that make the dumps.
func (f *factDumps) flags() []string {
	if f == nil {
		return nil
	}
	var out []string
	for i, name := range f.names {
		out = append(out, fmt.Sprintf("-fdump-%s=/dev/fd/%d", name, f.pipes[i][1].Fd()))
	}
	return out
}

// start reads the dumps while the compiler runs. The function that it returns
// waits for their end, after that of the compiler, and joins them.
func (f *factDumps) start() func() (*compiler.Facts, error) {
	if f == nil {
		return func() (*compiler.Facts, error) { return nil, nil }
	}
	type answer struct {
		dump *compiler.FactDump
		err  error
	}
	answers := make([]chan answer, len(f.names))
	for i, name := range f.names {
		answers[i] = make(chan answer, 1)
		go func() {
			d, err := compiler.ReadFactDump(name, f.pipes[i][0])
			if err != nil { // the compiler is not to wait, or to fail, for that
				_, _ = io.Copy(io.Discard, f.pipes[i][0])
			}
			answers[i] <- answer{d, err}
		}()
	}
	return func() (*compiler.Facts, error) {
		for _, p := range f.pipes {
			p[1].Close()
		}
		var dumps []*compiler.FactDump
		var errs []error
		for _, c := range answers {
			a := <-c
			dumps, errs = append(dumps, a.dump), append(errs, a.err)
		}
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		return compiler.JoinFacts(dumps)
	}
}

func (f *factDumps) close() {
	for _, p := range f.pipes {
		p[0].Close()
		p[1].Close()
	}
}

// factEdges are the uses of facts as steps from one function to another.
func factEdges(f *compiler.Facts) []impact.Edge {
	var out []impact.Edge
	for _, u := range f.Uses {
		out = append(out, impact.Edge{From: u.From, To: u.To, Kind: impact.Fact, Detail: u.Pass + ": " + u.What})
	}
	return out
}

// narrowed are the narrowed parameters that concern the functions of a list:
// their own, and those of functions that they call.
func narrowed(f *compiler.Facts, l *List) []Narrowed {
	var out []Narrowed
	for _, n := range f.Narrowed {
		concerns := func(name string) bool { return name == n.Function || slices.Contains(n.Callers, name) }
		if l.All || slices.ContainsFunc(l.Funcs, concerns) {
			out = append(out, Narrowed{Function: n.Function, Param: n.Param, Known: n.Known, Callers: n.Callers})
		}
	}
	return out
}
