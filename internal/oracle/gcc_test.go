// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kmend/internal/compiler"
	"kmend/internal/run"
)

// gccUnit compiles a C text with one GCC, as a kernel that can be traced is.
type gccUnit struct {
	gcc, text string
	dir       string
}

func (g *gccUnit) Compile(ctx context.Context, tail string, flags []string) (*Object, error) {
	dir, err := os.MkdirTemp(g.dir, "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "a.c"), []byte(g.text+tail), 0o644); err != nil {
		return nil, err
	}
	argv := slices.Concat([]string{g.gcc, "-O2", "-pg", "-mfentry", "-fno-pie", "-ffunction-sections", "-fdata-sections", "-fdump-ipa-clones=clones"}, flags, []string{"-c", "a.c"})
	out, err := run.Run(ctx, run.Cmd{Argv: argv, Dir: dir})
	if out != nil && err != nil {
		return nil, &RefusedError{Source: "a.c", Log: string(out.Stderr)}
	}
	if err != nil {
		return nil, err
	}
	o := &Object{}
	if o.ELF, err = os.ReadFile(filepath.Join(dir, "a.o")); err != nil {
		return nil, err
	}
	if o.Clones, err = os.ReadFile(filepath.Join(dir, "clones")); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return o, err
}

// open opens a text as a unit.
func open(t *testing.T, gcc, text string, opt Options) *Unit {
	t.Helper()
	u, err := Open(t.Context(), &gccUnit{gcc, text, t.TempDir()}, "a.c", opt)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// audit audits one function of a text.
func audit(t *testing.T, gcc, text, name string, opt Options) Function {
	t.Helper()
	out, err := open(t, gcc, text, opt).Audit(t.Context(), []string{name})
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

// level is a level as gcc-12 keeps it.
func level(t *testing.T, l compiler.Level) Level {
	t.Helper()
	cc, err := compiler.Identify(t.Context(), []string{"gcc-12"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := LevelOf(t.Context(), cc, l)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
