// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"kmend/internal/kernel"
)

// ForKernel returns the machine that runs a kernel: its uncompressed image, or,
// with bzimage, the compressed one, which places the kernel at random (KASLR)
// and takes longer to boot.
func ForKernel(k *kernel.Kernel, bzimage bool) (Machine, error) {
	m := Machine{Image: k.Vmlinux, BuildID: k.BuildID}
	if bzimage {
		if k.Bzimage == "" {
			return m, fmt.Errorf("boot kernel %s: it has no compressed image; boot the uncompressed one", k.Name)
		}
		m.Image = k.Bzimage
	}
	return m, nil
}

// KernelLoads lists the modules to load for a livepatch: those it changes
// (targets), those that they, the livepatch itself and others (also) need, in
// load order. Needed is what modules.dep says and what modules ask for in
// "softdep=pre:", which modprobe honours and without which some do not start
// (libcrc32c without a crc32c).
func KernelLoads(k *kernel.Kernel, targets, also []string, livepatch string) ([]Load, error) {
	l := &loader{k: k, target: map[string]bool{}, seen: map[string]bool{}}
	for _, name := range targets {
		m, err := k.Module(name)
		if err != nil {
			return nil, fmt.Errorf("find the modules that the livepatch changes: %w", err)
		}
		l.target[m.Name] = true
	}
	needs, err := dependsOf(livepatch)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(also, needs, targets) {
		if err := l.add(name); err != nil {
			return nil, fmt.Errorf("find the modules to load: %w", err)
		}
	}
	return l.loads, nil
}

type loader struct {
	k       *kernel.Kernel
	target  map[string]bool
	seen    map[string]bool
	loads   []Load
	aliases map[string][]string // alias to modules; nil until needed
}

func (l *loader) add(name string) error {
	m, err := l.k.Module(name)
	if err != nil {
		return err
	}
	if l.seen[m.Name] {
		return nil
	}
	l.seen[m.Name] = true
	deps, err := l.k.ModuleDepends(m.Name)
	if err != nil {
		return err
	}
	for _, d := range deps {
		if err := l.add(d); err != nil {
			return err
		}
	}
	data, err := m.Data()
	if err != nil {
		return err
	}
	info, err := modinfo(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("read module %s: %w", m.Name, err)
	}
	for _, alias := range softDependencies(info) {
		for _, d := range l.resolve(alias) {
			if err := l.add(d); err != nil {
				return err
			}
		}
	}
	l.loads = append(l.loads, Load{Module: Module{Name: m.Name, Path: m.Path, Data: data}, Target: l.target[m.Name]})
	return nil
}

// softDependencies are the names after "pre:" in softdep=.
func softDependencies(info []string) (names []string) {
	for _, field := range info {
		v, ok := strings.CutPrefix(field, "softdep=")
		if !ok {
			continue
		}
		pre := false
		for word := range strings.FieldsSeq(v) {
			switch {
			case strings.HasSuffix(word, ":"):
				pre = word == "pre:"
			case pre:
				names = append(names, word)
			}
		}
	}
	return names
}

// resolve finds the modules of a name that modprobe would resolve. A name that
// no module has is built in, or cannot be helped: softdeps are wishes. Of many
// providers the portable one is taken, since the others want processors that
// the guest has not.
func (l *loader) resolve(name string) []string {
	if m, err := l.k.Module(name); err == nil {
		return []string{m.Name}
	}
	if l.aliases == nil {
		l.aliases = map[string][]string{}
		for _, m := range l.k.Modules() {
			for _, alias := range aliasesOf(m) {
				l.aliases[alias] = append(l.aliases[alias], m.Name)
			}
		}
	}
	providers := l.aliases[name]
	for _, p := range providers {
		if strings.HasSuffix(p, "_generic") {
			return []string{p}
		}
	}
	return providers[:min(len(providers), 4)]
}

// aliasesOf reads only what is needed of a module. Aliases with wildcards are
// for hardware, not for softdeps.
func aliasesOf(m *kernel.Module) (names []string) {
	var r io.ReaderAt
	if path.Ext(m.Path) == ".ko" {
		f, err := os.Open(m.Path)
		if err != nil {
			return nil
		}
		defer f.Close()
		r = f
	} else {
		data, err := m.Data()
		if err != nil {
			return nil
		}
		r = bytes.NewReader(data)
	}
	info, err := modinfo(r)
	if err != nil {
		return nil
	}
	for _, field := range info {
		if v, ok := strings.CutPrefix(field, "alias="); ok && !strings.ContainsAny(v, "*?[") {
			names = append(names, v)
		}
	}
	return names
}

// modinfo returns the "key=value" fields of a module.
func modinfo(r io.ReaderAt) ([]string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("not a kernel module: %w", err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil || s.Type == elf.SHT_NOBITS || s.Size > 1<<20 {
		return nil, fmt.Errorf("not a kernel module: it has no .modinfo")
	}
	data, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	return strings.FieldsFunc(string(data), func(c rune) bool { return c == 0 }), nil
}

// dependsOf are the modules that a module file says it needs.
func dependsOf(file string) (names []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the livepatch: %w", err)
	}
	info, err := modinfo(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read the livepatch %s: %w", file, err)
	}
	for _, field := range info {
		if v, ok := strings.CutPrefix(field, "depends="); ok {
			for name := range strings.SplitSeq(v, ",") {
				if name != "" {
					names = append(names, name)
				}
			}
		}
	}
	return names, nil
}
