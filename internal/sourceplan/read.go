// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kmend/internal/csyntax"
	"kmend/internal/ctext"
	"kmend/internal/extract"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
)

// text is a unit's C text, read and taken apart.
type text struct {
	expanded *ctext.Expanded
	unit     *csyntax.Unit
}

// read has GCC do the directives and takes the rest apart.
func read(ctx context.Context, tree *kbuild.Tree, j kbuild.Job) (*text, error) {
	source := j.Command.Source
	out, err := tree.Preprocess(ctx, j, "-fdirectives-only")
	if err != nil {
		return nil, err
	}
	doc, err := ctext.Read(out)
	if err != nil {
		return nil, fmt.Errorf("read the text of %s: %w", source, err)
	}
	x, err := doc.Expand()
	if err != nil {
		return nil, fmt.Errorf("expand the macros of %s: %w", source, err)
	}
	u, err := csyntax.Parse(doc.Names, x.Tokens)
	var odd *csyntax.Error
	if errors.As(err, &odd) {
		f, line := doc.Position(odd.Off)
		return nil, &extract.Error{Code: extract.CodeNotExtracted, Where: fmt.Sprintf("%s:%d", doc.Files[f], line), Why: odd.Why, Advice: "use the binary way"}
	}
	if err != nil {
		return nil, fmt.Errorf("read the declarations of %s: %w", source, err)
	}
	return &text{x, u}, nil
}

// files reads files of a kernel as GCC names them, with those of a fix in
// place of the kernel's own.
type files struct {
	k       *kernel.Kernel
	overlay map[string][]byte
	read    map[string][]byte
}

func newFiles(k *kernel.Kernel, overlay map[string][]byte) *files {
	return &files{k: k, overlay: overlay, read: map[string][]byte{}}
}

// Read returns the text of a file, nil if there is none.
func (f *files) Read(name string) []byte {
	if data, ok := f.overlay[name]; ok {
		return data
	}
	if data, ok := f.read[name]; ok {
		return data
	}
	var data []byte
	for _, dir := range []string{f.k.SourceDir, f.k.ObjDir} {
		p := name
		if !filepath.IsAbs(p) {
			p = filepath.Join(dir, name)
		}
		if d, err := os.ReadFile(p); err == nil {
			data = d
			break
		}
	}
	f.read[name] = data
	return data
}

// public reports whether a kernel's headers package has a file: what lies below
// include, and below include of an architecture.
func public(name string) bool {
	name = strings.TrimPrefix(filepath.Clean(name), "./")
	if i := strings.Index(name, "arch/"); i >= 0 {
		_, rest, ok := strings.Cut(name[i+len("arch/"):], "/")
		return ok && strings.HasPrefix(rest, "include/")
	}
	return strings.HasPrefix(name, "include/") || strings.Contains(name, "/include/generated/") || filepath.IsAbs(name) && strings.Contains(name, "/include/")
}
