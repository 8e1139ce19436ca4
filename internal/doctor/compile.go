// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/impact"
	"kmend/internal/object"
	"kmend/internal/run"
)

// subject is a compiler at flags.
type subject struct {
	cc    *compiler.Compiler
	jobs  *run.Jobs
	flags []string
}

// command is the compiler as it can be started in any directory.
func (s *subject) command() []string {
	argv := slices.Clone(s.cc.Argv)
	if strings.Contains(argv[0], "/") {
		if abs, err := filepath.Abs(argv[0]); err == nil {
			argv[0] = abs
		}
	}
	return argv
}

// made is what the compiler made of one program.
type made struct {
	obj  *object.File
	dump []byte // .ipa-clones, with GCC
}

// with returns the subject with further flags.
func (s *subject) with(flags ...string) *subject {
	return &subject{s.cc, s.jobs, slices.Concat(s.flags, flags)}
}

// compile compiles a program in a directory of its own. The error says what the
// compiler said, or what it did not leave.
func (s *subject) compile(ctx context.Context, program string) (*made, error) {
	dir, err := os.MkdirTemp("", "kmend-doctor-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the probe: %w", err)
	}
	defer os.RemoveAll(dir)
	source, out, dump := filepath.Join(dir, "probe.c"), filepath.Join(dir, "probe.o"), filepath.Join(dir, "clones")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		return nil, fmt.Errorf("write the probe: %w", err)
	}
	argv := slices.Concat(s.command(), s.flags, []string{"-w", "-ffunction-sections", "-fdata-sections"})
	if s.cc.Family == compiler.GCC {
		argv = append(argv, "-fdump-ipa-clones="+dump)
	}
	argv = append(argv, "-c", "-o", out, source)
	if _, err := s.jobs.Run(ctx, run.Cmd{Argv: argv, Dir: dir, Env: append(run.CleanEnv(), "CCACHE_DISABLE=1")}); err != nil {
		return nil, fmt.Errorf("compile a probe with %s: %w", strings.Join(slices.Concat(s.cc.Argv, s.flags), " "), err)
	}
	m := &made{}
	data, err := os.ReadFile(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("compile a probe with %s: the compiler reports success and leaves no object; leave out flags that stop it early, such as -fsyntax-only", strings.Join(slices.Concat(s.cc.Argv, s.flags), " "))
	}
	if err == nil {
		m.obj, err = object.Read(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read what %s made of a probe: %w; leave out flags that change its output, such as -S, -E or -m32", strings.Join(slices.Concat(s.cc.Argv, s.flags), " "), err)
	}
	if m.dump, err = os.ReadFile(dump); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the dump of a probe: %w", err)
	}
	return m, nil
}

// pair compiles both variants and reads the code of the function watched.
func (s *subject) pair(ctx context.Context, p *Probe, h hiding) (m *made, one, two code, err error) {
	if m, err = s.compile(ctx, p.Program(false, h)); err != nil {
		return nil, one, two, err
	}
	n, err := s.compile(ctx, p.Program(true, h))
	if err != nil {
		return nil, one, two, err
	}
	if one, err = codeOf(m.obj, p.Watched); err != nil {
		return nil, one, two, err
	}
	two, err = codeOf(n.obj, p.Watched)
	return m, one, two, err
}

// shown tells where the list that kmend makes from names and dumps has the
// function watched, when the function changed is the one that is asked for: the
// kind of the last step. "" if it is not in the list.
func shown(p *Probe, m *made, one code) (string, error) {
	u, err := impact.NewUnit(m.dump, m.obj)
	if err != nil {
		return "", err
	}
	if one.name != p.Watched {
		return "name " + one.name, nil // nothing can take the clone for the function
	}
	if f := u.Func(p.Watched); f != nil && slices.Contains(f.Twins, p.Changed) {
		return "two names of one address", nil
	}
	list, err := u.Impacted(p.Changed)
	var unknown *impact.UnknownError
	if err != nil && !errors.As(err, &unknown) {
		return "", err
	}
	for _, i := range list {
		if i.Symbol == p.Watched {
			last := i.Chain[len(i.Chain)-1]
			if last.Kind == impact.Calls {
				return "name " + last.From, nil
			}
			return "dump: " + last.Kind.String(), nil
		}
	}
	return "", nil
}
