// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"bytes"
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
func read(ctx context.Context, k *kernel.Kernel, tree *kbuild.Tree, j kbuild.Job) (*text, error) {
	source := j.Command.Source
	out, err := tree.Preprocess(ctx, j, "-fdirectives-only")
	if err != nil {
		return nil, err
	}
	doc, err := ctext.Read(out)
	if err != nil {
		return nil, fmt.Errorf("read the text of %s: %w", source, err)
	}
	if err := hiddenMacros(k, doc, j.Overlay); err != nil {
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

// hiddenMacros refuses what the text does not show: macros pushed and popped.
// Lines are those of the kernel's own files, which #line keeps in those of a
// fix and of an extraction.
func hiddenMacros(k *kernel.Kernel, doc *ctext.Document, overlay map[string][]byte) error {
	for name, text := range overlay {
		if bytes.Contains(text, []byte("push_macro")) {
			return fmt.Errorf("%s pushes and pops macros, which cannot be followed; write the #define out", name)
		}
	}
	own := newFiles(k, nil)
	return doc.CheckHidden(func(file string) ([]byte, error) {
		if text := own.Read(file); text != nil {
			return text, nil
		}
		return nil, fmt.Errorf("%s is not in the source of the kernel", file)
	})
}

// elsewhere lists the functions of which the text has just extern inline
// definitions (gnu_inline: GCC manual, Function Attributes): copied, or called
// where another unit defines them.
func (t *text) elsewhere() []string {
	var out []string
	for i := range t.unit.Items {
		it := &t.unit.Items[i]
		if it.Kind != csyntax.Function {
			continue
		}
		for k := range it.Decls {
			if d := &it.Decls[k]; d.Kind == csyntax.Func && d.Storage&csyntax.Extern != 0 && d.Storage&csyntax.Inline != 0 {
				out = append(out, t.unit.Names.Text(d.Name))
			}
		}
	}
	return out
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
