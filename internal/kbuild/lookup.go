// SPDX-License-Identifier: Apache-2.0

package kbuild

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kmend/internal/run"
)

//go:embed capture.mk
var captureMk []byte

//go:embed trace.mk
var traceMk []byte

// environment is what scripts/Makefile.build was started with.
type environment struct {
	Vars []string `json:"vars"` // obj=., need-builtin=1, …: its command line
	Env  []string `json:"env"`
}

// Commands returns how kbuild compiles each source (paths relative to the source
// root), in the same order. Files it generates first are made in the O=
// directory. Results are remembered. When some sources have no command, their
// places are nil and the error joins one *NotBuiltError for each.
func (t *Tree) Commands(ctx context.Context, sources []string) ([]*Command, error) {
	out, missing, err := t.commands(ctx, sources)
	if err != nil {
		return nil, err
	}
	var why []error
	for _, s := range missing {
		why = append(why, t.whyNot(s))
	}
	return out, errors.Join(why...)
}

// commands is Commands with a list of the sources that have none.
func (t *Tree) commands(ctx context.Context, sources []string) (out []*Command, missing []string, err error) {
	id, err := t.stateID(ctx)
	if err != nil {
		return nil, nil, err
	}
	out = make([]*Command, len(sources))
	var want []string
	for i, s := range sources {
		if !filepath.IsLocal(s) || filepath.Clean(s) != s || !strings.HasSuffix(s, ".c") {
			return nil, nil, fmt.Errorf("find the compile command of %s: not a .c file below the source root", s)
		}
		if out[i] = t.remembered(id, s); out[i] == nil {
			want = append(want, s)
		}
	}
	if len(want) == 0 {
		return out, nil, nil
	}
	found, err := t.lookup(ctx, id, want)
	if err != nil {
		return nil, nil, err
	}
	for i, s := range sources {
		if out[i] != nil {
			continue
		}
		if out[i] = found[s]; out[i] == nil {
			missing = append(missing, s)
			continue
		}
		if err := t.remember(id, out[i]); err != nil {
			return nil, nil, err
		}
	}
	return out, missing, nil
}

// lookup asks kbuild, under the lock.
func (t *Tree) lookup(ctx context.Context, id string, want []string) (map[string]*Command, error) {
	unlock, err := t.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	env, err := t.environment(ctx, id)
	if err != nil {
		return nil, err
	}
	goals := make([]string, len(want))
	for i, s := range want {
		goals[i] = strings.TrimSuffix(s, ".c") + ".o"
	}
	found, _, err := t.trace(ctx, env, goals)
	if err != nil {
		return nil, err
	}
	var rest []string
	for _, s := range want {
		if found[s] == nil {
			rest = append(rest, s)
		}
	}
	if len(rest) == 0 {
		return found, nil
	}
	// Objects of another directory's makefile: arch/x86/kvm/../../../virt/kvm/x.o.
	elsewhere, err := t.elsewhere(ctx, env, id)
	if err != nil {
		return nil, err
	}
	goals = goals[:0]
	for _, s := range rest {
		if g, ok := elsewhere[strings.TrimSuffix(s, ".c")+".o"]; ok {
			goals = append(goals, g)
		}
	}
	if len(goals) == 0 {
		return found, nil
	}
	more, _, err := t.trace(ctx, env, goals)
	for s, c := range more {
		found[s] = c
	}
	return found, err
}

// trace runs kbuild for the goals and returns the commands by source.
func (t *Tree) trace(ctx context.Context, env *environment, goals []string) (map[string]*Command, []string, error) {
	tmp, err := os.MkdirTemp("", "kmend-kbuild-")
	if err != nil {
		return nil, nil, fmt.Errorf("look up compile commands: %w", err)
	}
	defer os.RemoveAll(tmp)
	mk, rec := filepath.Join(tmp, "trace.mk"), filepath.Join(tmp, "out")
	if err := os.WriteFile(mk, traceMk, 0o644); err != nil {
		return nil, nil, fmt.Errorf("look up compile commands: %w", err)
	}
	argv := append([]string{"make", "-k", "-f", t.makefileBuild(env)}, env.Vars...)
	out, runErr := run.Run(ctx, run.Cmd{
		Argv: append(argv, goals...), Dir: t.cfg.ObjDir,
		Env: append(slices.Clone(env.Env), "MAKEFILES="+mk, "KMEND_OUT="+rec),
	})
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if out == nil {
		return nil, nil, fmt.Errorf("look up compile commands: %w", runErr)
	}
	data, err := os.ReadFile(rec)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("look up compile commands: %w", err)
	}
	recs, lists, err := parseTrace(string(data))
	if err != nil {
		return nil, nil, err
	}
	cmds := map[string]*Command{}
	for _, r := range recs {
		c, err := t.command(r)
		if err != nil {
			return nil, nil, err
		}
		if c != nil {
			cmds[c.Source] = c
		}
	}
	// A goal that kbuild does not know only means "not built". Anything else that
	// failed (a generator, a broken makefile) must not be taken for that.
	if runErr != nil && len(cmds) < len(goals) && !onlyUnknownGoals(out.Stderr) {
		return nil, nil, fmt.Errorf("look up compile commands: %w", runErr)
	}
	return cmds, lists, nil
}

// onlyUnknownGoals says whether make complained of nothing but goals without a
// rule and what follows from that.
func onlyUnknownGoals(log []byte) bool {
	for line := range bytes.Lines(log) {
		l := strings.TrimSpace(string(line))
		switch {
		case l == "", strings.Contains(l, "No rule to make target"), strings.Contains(l, "not remade because of errors"),
			strings.Contains(l, "Makefile.build:") && strings.Contains(l, "Error 2"), !strings.HasPrefix(l, "make"):
		default:
			return false
		}
	}
	return true
}

func (t *Tree) makefileBuild(env *environment) string {
	for _, kv := range env.Env {
		if v, ok := strings.CutPrefix(kv, "srctree="); ok {
			return filepath.Join(v, "scripts/Makefile.build")
		}
	}
	return filepath.Join(t.cfg.SourceDir, "scripts/Makefile.build")
}

// environment returns the captured environment, from the state directory or by
// running make once.
func (t *Tree) environment(ctx context.Context, id string) (*environment, error) {
	file := filepath.Join(t.cfg.StateDir, "env-"+id+".json")
	var env environment
	if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &env) == nil && len(env.Env) > 0 && len(env.Vars) > 0 {
		return &env, nil
	}
	tmp, err := os.MkdirTemp("", "kmend-kbuild-")
	if err != nil {
		return nil, fmt.Errorf("capture kbuild's environment: %w", err)
	}
	defer os.RemoveAll(tmp)
	mk, rec := filepath.Join(tmp, "capture.mk"), filepath.Join(tmp, "out")
	if err := os.WriteFile(mk, captureMk, 0o644); err != nil {
		return nil, fmt.Errorf("capture kbuild's environment: %w", err)
	}
	argv := append([]string{"make", "-C", t.cfg.SourceDir, "O=" + t.cfg.ObjDir}, t.cfg.MakeVars...)
	out, runErr := run.Run(ctx, run.Cmd{
		Argv: append(argv, "kmend-probe.o"),
		Env:  append(run.CleanEnv(), "MAKEFILES="+mk, "KMEND_OUT="+rec),
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if out == nil || !bytes.Contains(out.Stderr, []byte("kmend-captured")) {
		return nil, fmt.Errorf("capture kbuild's environment: %w", orSilent(runErr))
	}
	vars, err1 := os.ReadFile(rec + ".vars")
	vals, err2 := os.ReadFile(rec + ".env")
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("capture kbuild's environment: %w", err)
	}
	for _, v := range strings.Fields(string(vars)) {
		if k, val, _ := strings.Cut(v, "="); val != "" {
			env.Vars = append(env.Vars, v)
			if k == "obj" && val != "." {
				return nil, fmt.Errorf("capture kbuild's environment: this kernel's build starts in %s, not at its root; kernels before 6.1 are not supported", val)
			}
		}
	}
	for kv := range strings.SplitSeq(string(vals), "\x00") {
		k, _, ok := strings.Cut(kv, "=")
		if ok && k != "MAKEFILES" && k != "KMEND_OUT" && k != "_" && k != "OLDPWD" && k != "TMPDIR" {
			env.Env = append(env.Env, kv)
		}
	}
	if len(env.Vars) == 0 || len(env.Env) == 0 {
		return nil, errors.New("capture kbuild's environment: nothing was captured")
	}
	return &env, writeJSON(file, &env)
}

func orSilent(err error) error {
	if err == nil {
		return errors.New("make ended without starting scripts/Makefile.build")
	}
	return err
}

// stateID names the state of the tree that commands depend on: configuration,
// make variables, compiler.
func (t *Tree) stateID(ctx context.Context) (string, error) {
	cc, err := t.identity(ctx)
	if err != nil {
		return "", err
	}
	conf, err := os.ReadFile(filepath.Join(t.cfg.ObjDir, "include/config/auto.conf"))
	if err != nil {
		return "", fmt.Errorf("read the kernel's configuration: %w", err)
	}
	h := run.NewHasher("kbuild commands 2")
	h.AddString(t.cfg.SourceDir, t.cfg.ObjDir, cc)
	h.AddString(t.cfg.MakeVars...)
	h.Add(conf)
	h.Add(captureMk)
	h.Add(traceMk)
	return string(h.Key())[:24], nil
}

func (t *Tree) commandFile(id, source string) string {
	h := run.NewHasher("command")
	h.AddString(source)
	return filepath.Join(t.cfg.StateDir, "commands-"+id, string(h.Key())[:32]+".json")
}

// remembered returns the stored command of a source if it still holds: the
// makefiles must be the same and the files generated for it must be there.
func (t *Tree) remembered(id, source string) *Command {
	data, err := os.ReadFile(t.commandFile(id, source))
	if err != nil {
		return nil
	}
	c := &Command{}
	if json.Unmarshal(data, c) != nil || c.Source != source || len(c.Gcc) == 0 || c.check() != nil || !fresh(c.Makefiles) {
		return nil
	}
	for _, g := range c.Generated {
		if _, err := os.Stat(filepath.Join(t.cfg.ObjDir, g)); err != nil {
			return nil
		}
	}
	return c
}

func (t *Tree) remember(id string, c *Command) error {
	return writeJSON(t.commandFile(id, c.Source), c)
}

func writeJSON(file string, v any) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("remember build commands: %w", err)
	}
	return writeWhole(file, data)
}

func readJSON(file string, v any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// writeWhole writes a file of the state directory, all of it or nothing.
func writeWhole(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("remember build commands: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".tmp-*")
	if err != nil {
		return fmt.Errorf("remember build commands: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("remember build commands: %w", err)
	}
	return nil
}
