// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kmend/internal/kbuild"
)

// Object is what one compile made.
type Object struct {
	ELF    []byte // relocatable, one section per function and variable
	Clones []byte // .ipa-clones dump; empty if GCC copied nothing
}

// Compiler compiles one translation unit. It is safe for concurrent use.
type Compiler interface {
	// Compile makes the object of the source with tail behind its end and with
	// flags behind the options that the unit is built with. The error is a
	// *RefusedError when the compiler refuses the text.
	Compile(ctx context.Context, tail string, flags []string) (*Object, error)
}

// RefusedError says that the compiler refused a text.
type RefusedError struct {
	Source string
	Log    string // its diagnostics
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("compile %s: %s", e.Source, strings.TrimSpace(e.Log))
}

// kernelUnit compiles a unit of a kernel as kbuild does.
type kernelUnit struct {
	tree    *kbuild.Tree
	command *kbuild.Command
	text    []byte
}

// KernelUnit is the compiler of one unit of a kernel whose source lies in
// sourceDir.
func KernelUnit(tree *kbuild.Tree, sourceDir string, c *kbuild.Command) (Compiler, error) {
	text, err := os.ReadFile(filepath.Join(sourceDir, c.Source))
	if err != nil {
		return nil, fmt.Errorf("audit %s: %w", c.Source, err)
	}
	return &kernelUnit{tree, c, text}, nil
}

func (k *kernelUnit) Compile(ctx context.Context, tail string, flags []string) (*Object, error) {
	j := kbuild.Job{Command: k.command, Flags: flags, Bare: true}
	if tail != "" {
		j.Overlay = map[string][]byte{k.command.Source: append(k.text[:len(k.text):len(k.text)], tail...)}
	}
	r, err := k.tree.Compile(ctx, j)
	var ce *kbuild.CompileError
	if errors.As(err, &ce) {
		return nil, &RefusedError{Source: ce.Source, Log: ce.Log}
	}
	if err != nil {
		return nil, err
	}
	return &Object{ELF: r.Object, Clones: r.Clones}, nil
}
