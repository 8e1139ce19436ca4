// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Modinfo returns the fields of the module's .modinfo section
// (include/linux/moduleinfo: "key=value" strings); a key can occur more than
// once.
func (m *Module) Modinfo() (map[string][]string, error) {
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, fmt.Errorf("modinfo of %s: %w", m.Name, err)
	}
	defer f.Close()
	var r io.ReaderAt = f
	if !strings.HasSuffix(m.Path, ".ko") {
		b, err := m.Data()
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	info, err := readModinfo(r)
	if err != nil {
		return nil, fmt.Errorf("modinfo of %s: %s: %w", m.Name, m.Path, err)
	}
	return info, nil
}

// readModinfo reads only the headers and one section of the file.
func readModinfo(r io.ReaderAt) (info map[string][]string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("damaged ELF file: %v", p)
		}
	}()
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil || f.Type != elf.ET_REL {
		return nil, errors.New("not a kernel module: no .modinfo section")
	}
	if s.Size > 1<<20 {
		return nil, fmt.Errorf(".modinfo has %d bytes", s.Size)
	}
	b, err := s.Data()
	if err != nil {
		return nil, err
	}
	info = map[string][]string{}
	for _, field := range bytes.Split(b, []byte{0}) {
		if key, value, ok := strings.Cut(string(field), "="); ok {
			info[key] = append(info[key], value)
		}
	}
	return info, nil
}

// isModule tells whether a file name is that of a module.
func isModule(name string) bool {
	for _, end := range []string{".ko", ".ko.xz", ".ko.gz", ".ko.zst"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// indexModules reads the modinfo of all modules, checks that they belong to
// the image (vermagic), and writes modules.dep into ModulesDir as depmod
// would. sub is the directory with the modules below ModulesDir; list their
// paths below it, nil for all that are there.
func (a *adder) indexModules(ctx context.Context, k *Kernel, sub string, list []string) error {
	root := filepath.Join(k.ModulesDir, sub)
	if list == nil {
		err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() && isModule(p) {
				rel, rerr := filepath.Rel(root, p)
				list, err = append(list, rel), rerr
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("list modules: %w", err)
		}
	}
	slices.Sort(list)
	direct := make([][]string, len(list))
	mods := make([]*Module, len(list))
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, rel := range list {
		mods[i] = &Module{Name: moduleName(rel), Path: filepath.Join(root, rel)}
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			deps, err := k.moduleDirectDeps(mods[i])
			if err != nil {
				return err
			}
			direct[i] = deps
			if n := done.Add(1); n%64 == 0 {
				a.progress(PhaseCheck, n, int64(len(list)))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	a.progress(PhaseCheck, int64(len(list)), int64(len(list)))
	text, err := modulesDep(sub, list, direct)
	if err != nil {
		return err
	}
	k.ModuleN = len(list)
	if err := writeFile(filepath.Join(k.ModulesDir, "modules.dep"), text); err != nil {
		return fmt.Errorf("write modules.dep: %w", err)
	}
	return nil
}

// moduleDirectDeps reads what modpost recorded as "depends".
func (k *Kernel) moduleDirectDeps(m *Module) ([]string, error) {
	info, err := m.Modinfo()
	if err != nil {
		return nil, err
	}
	if v := info["vermagic"]; len(v) != 1 || v[0] != k.Magic {
		return nil, fmt.Errorf("module %s has vermagic %q, the image has %q: it is not a module of this kernel", m.Path, v, k.Magic)
	}
	var deps []string
	for _, d := range info["depends"] {
		for _, name := range strings.Split(d, ",") {
			if name != "" {
				deps = append(deps, moduleName(name))
			}
		}
	}
	return deps, nil
}

// modulesDep makes the text of modules.dep: for each module all that it needs,
// directly or not, users before what they use, so that the reverse is a load
// order.
func modulesDep(sub string, list []string, direct [][]string) ([]byte, error) {
	index := make(map[string]int, len(list))
	for i, p := range list {
		name := moduleName(p)
		if j, dup := index[name]; dup {
			return nil, fmt.Errorf("modules %s and %s have the same name", list[j], p)
		}
		index[name] = i
	}
	var b bytes.Buffer
	for i, p := range list {
		order, err := dependOrder(i, list, direct, index)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s/%s:", sub, p)
		for j := len(order) - 1; j >= 0; j-- {
			fmt.Fprintf(&b, " %s/%s", sub, list[order[j]])
		}
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// dependOrder lists the dependencies of module i in load order, by depth-first
// search; a cycle is an error.
func dependOrder(i int, list []string, direct [][]string, index map[string]int) ([]int, error) {
	const (
		open = 1
		done = 2
	)
	state := map[int]int{}
	var order []int
	var visit func(n int) error
	visit = func(n int) error {
		switch state[n] {
		case done:
			return nil
		case open:
			return fmt.Errorf("module %s depends on itself", list[n])
		}
		state[n] = open
		for _, d := range direct[n] {
			j, ok := index[d]
			if !ok {
				return fmt.Errorf("module %s depends on %s, which is not among the kernel's modules", list[n], d)
			}
			if err := visit(j); err != nil {
				return err
			}
		}
		state[n] = done
		if n != i {
			order = append(order, n)
		}
		return nil
	}
	return order, visit(i)
}
