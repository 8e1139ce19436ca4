// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/therootcompany/xz"

	"kmend/internal/nearest"
)

// maxModuleSize bounds what a compressed module may unpack to; the largest of
// Debian's (amdgpu) has 15 MB, with debug data 400.
const maxModuleSize = 512 << 20

// Module is a shipped loadable module.
type Module struct {
	Name string // as /sys/module has it: '-' is '_'
	Path string // absolute path of the .ko, .ko.xz, .ko.gz or .ko.zst
	// BuildID and BTF are not here: read them from Data.
}

type moduleIndex struct {
	list   []*Module
	byName map[string]*Module
	deps   map[string][]string // in modules.dep order: the nearest first
}

// moduleName is the name under which a module's path is known: base name
// without .ko and compression, '-' replaced (KBUILD_MODNAME).
func moduleName(p string) string {
	p = path.Base(p)
	if i := strings.Index(p, ".ko"); i > 0 && (len(p) == i+3 || p[i+3] == '.') {
		p = p[:i]
	}
	return strings.ReplaceAll(p, "-", "_")
}

// parseModulesDep reads modules.dep (depmod): "PATH: PATH PATH …", relative to
// the directory, dependencies in the order in which they are to be unloaded.
func parseModulesDep(dir string, data []byte) (*moduleIndex, error) {
	idx := &moduleIndex{byName: map[string]*Module{}, deps: map[string][]string{}}
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data, _ = bytes.Cut(data, []byte{'\n'})
		s := string(line)
		if strings.TrimSpace(s) == "" || s[0] == '#' {
			continue
		}
		p, deps, ok := strings.Cut(s, ":")
		if !ok || p == "" || strings.ContainsRune(p, 0) {
			return nil, fmt.Errorf("line %d: no \"path:\" in %.80q", n, s)
		}
		m := &Module{Name: moduleName(p), Path: p}
		if !filepath.IsAbs(p) {
			m.Path = filepath.Join(dir, p)
		}
		if prev, dup := idx.byName[m.Name]; dup {
			return nil, fmt.Errorf("line %d: %s and %s have the same name", n, prev.Path, m.Path)
		}
		idx.byName[m.Name] = m
		idx.list = append(idx.list, m)
		for _, d := range strings.Fields(deps) {
			idx.deps[m.Name] = append(idx.deps[m.Name], moduleName(d))
		}
	}
	for name, deps := range idx.deps {
		for _, d := range deps {
			if idx.byName[d] == nil {
				return nil, fmt.Errorf("%s depends on %s, which is not listed", name, d)
			}
		}
	}
	return idx, nil
}

func (k *Kernel) moduleIndex() (*moduleIndex, error) {
	k.modulesOnce.Do(func() {
		dep := filepath.Join(k.ModulesDir, "modules.dep")
		data, err := os.ReadFile(dep)
		if err == nil {
			k.modules, err = parseModulesDep(k.ModulesDir, data)
		}
		if err != nil {
			k.modulesErr = fmt.Errorf("read modules of kernel %s: %s: %w", k.Name, dep, err)
		}
	})
	return k.modules, k.modulesErr
}

// Modules lists the shipped modules in modules.dep order; nil if modules.dep
// cannot be read (Module gives the error).
func (k *Kernel) Modules() []*Module {
	idx, err := k.moduleIndex()
	if err != nil {
		return nil
	}
	return idx.list
}

// Module finds a module by name, '-' and '_' being the same.
func (k *Kernel) Module(name string) (*Module, error) {
	idx, err := k.moduleIndex()
	if err != nil {
		return nil, err
	}
	m := idx.byName[moduleName(name)]
	if m == nil {
		names := make([]string, 0, len(idx.list))
		for _, m := range idx.list {
			names = append(names, m.Name)
		}
		return nil, fmt.Errorf("kernel %s has no module %s%s", k.Name, name, nearest.DidYouMean(moduleName(name), names))
	}
	return m, nil
}

// ModuleDepends lists the modules that must be loaded before a module, in
// load order, without the module itself.
func (k *Kernel) ModuleDepends(name string) ([]string, error) {
	m, err := k.Module(name)
	if err != nil {
		return nil, err
	}
	deps := k.modules.deps[m.Name]
	out := make([]string, len(deps))
	for i, d := range deps {
		out[len(deps)-1-i] = d
	}
	return out, nil
}

// Data returns the module's bytes (an ELF relocatable file, with its signature
// if it has one), decompressed by its content, not by its file name.
func (m *Module) Data() ([]byte, error) {
	b, err := os.ReadFile(m.Path)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", m.Name, err)
	}
	if b, err = UnpackModule(b, maxModuleSize); err != nil {
		return nil, fmt.Errorf("read module %s: %s: %w", m.Name, m.Path, err)
	}
	return b, nil
}

// UnpackModule decompresses a module (xz, gzip or zstd, told by the content) and
// checks for an ELF file. What is not compressed is returned as it is; what
// would unpack to more than limit bytes is an error.
func UnpackModule(b []byte, limit int) ([]byte, error) {
	var r io.Reader
	var err error
	switch {
	case bytes.HasPrefix(b, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		r, err = xz.NewReader(bytes.NewReader(b), maxXZDict)
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(bytes.NewReader(b))
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var z *zstd.Decoder
		z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecoderMaxWindow(maxXZDict))
		if err == nil {
			defer z.Close()
			r = z
		}
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if r != nil {
		if b, err = io.ReadAll(io.LimitReader(r, int64(limit)+1)); err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		if len(b) > limit {
			return nil, fmt.Errorf("decompress: more than %d bytes: no module is that large", limit)
		}
	}
	if !bytes.HasPrefix(b, []byte("\x7fELF")) {
		return nil, fmt.Errorf("not an ELF file")
	}
	return b, nil
}
