// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kmend/internal/kernel"
	"kmend/internal/object"
)

// FactsOf reads what a module of kernel k looks like: structures from the
// kernel's BTF, CRCs from Module.symvers, the rest from its configuration. It
// fails if the kernel cannot take livepatches of the form that Write makes, or
// if a module that the kernel ships contradicts the BTF.
func FactsOf(k *kernel.Kernel) (*Facts, error) {
	fail := func(err error) (*Facts, error) {
		return nil, fmt.Errorf("read module facts of kernel %s: %w", k.Name, err)
	}
	for _, option := range []string{"CONFIG_LIVEPATCH", "CONFIG_UNWINDER_ORC", "CONFIG_MODULE_UNLOAD", "CONFIG_KALLSYMS_ALL"} {
		if k.Config(option) != "y" {
			return fail(fmt.Errorf("%s is not set: use a kernel that is built with it", option))
		}
	}
	f := &Facts{
		Release: k.Release, Vermagic: k.Vermagic(), BuildID: k.BuildID,
		Retpoline: k.Config("CONFIG_RETPOLINE") == "y", Rethunk: k.Config("CONFIG_RETHUNK") == "y",
		Modversions: k.Config("CONFIG_MODVERSIONS") == "y", IBT: k.Config("CONFIG_X86_KERNEL_IBT") == "y",
		Glue: map[string]uint32{},
	}
	spec, err := k.BTF()
	if err != nil {
		return fail(err)
	}
	if err := f.layoutsFrom(spec); err != nil {
		return fail(err)
	}
	exports, err := k.Exports()
	if err != nil {
		return fail(err)
	}
	for _, name := range GlueExports() {
		if e, ok := exports[name]; ok && e.Object == Vmlinux {
			f.Glue[name] = e.CRC
		}
	}
	if f.Taken, err = takenNames(k); err != nil {
		return fail(err)
	}
	if err := f.crossCheck(k); err != nil {
		return fail(err)
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// LayoutsOf reads only the layouts of structures, out of a kernel's BTF: what it
// takes to read the livepatch structures of a module, and nothing more.
func LayoutsOf(types []byte) (*Facts, error) {
	f := &Facts{}
	spec, err := kernel.ParseBTF(types)
	if err == nil {
		err = f.layoutsFrom(spec)
	}
	if err != nil {
		return nil, fmt.Errorf("read the layouts of the livepatch structures: %w", err)
	}
	return f, nil
}

// takenNames lists the loadable modules and the built-in ones. A built-in one
// is known from modules.builtin, or from modules.builtin.modinfo if it is no
// tristate but has parameters and so a directory in /sys/module.
func takenNames(k *kernel.Kernel) (map[string]bool, error) {
	taken := map[string]bool{}
	for _, m := range k.Modules() {
		taken[m.Name] = true
	}
	data, err := os.ReadFile(filepath.Join(k.ModulesDir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("read the names of built-in modules: %w", err)
	}
	for line := range bytes.Lines(data) {
		name := strings.TrimSuffix(filepath.Base(strings.TrimSpace(string(line))), ".ko")
		taken[strings.ReplaceAll(name, "-", "_")] = true
	}
	data, err = os.ReadFile(filepath.Join(k.ModulesDir, "modules.builtin.modinfo"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // kernels before 5.2 have none
		return nil, fmt.Errorf("read the names of built-in modules: %w", err)
	}
	for tag := range bytes.SplitSeq(data, []byte{0}) {
		if name, _, ok := strings.Cut(string(tag), "."); ok {
			taken[name] = true
		}
	}
	return taken, nil
}

// crossCheckLimit bounds how many modules are read in search of one that has
// both an init and an exit function.
const crossCheckLimit = 50

// crossCheck compares the layout of struct module with that of a module the
// kernel ships.
func (f *Facts) crossCheck(k *kernel.Kernel) error {
	for i, m := range k.Modules() {
		if i == crossCheckLimit {
			break
		}
		data, err := m.Data()
		if err != nil {
			return err
		}
		o, err := object.Read(data)
		if err != nil {
			return fmt.Errorf("read module %s: %w", m.Name, err)
		}
		done, err := f.crossCheckOne(o)
		if err != nil {
			return fmt.Errorf("compare the kernel's BTF with module %s: %w", m.Name, err)
		}
		if done {
			return nil
		}
	}
	return errors.New("none of its first modules has an init and an exit function to check the layout of struct module with: is the module directory complete?")
}

// crossCheckOne reports done only if the module shows all that is compared.
func (f *Facts) crossCheckOne(o *object.File) (done bool, err error) {
	s := o.Section(secThis)
	if s == nil {
		return false, fmt.Errorf("it has no section %s", secThis)
	}
	if s.Size != f.Module.Size {
		return false, fmt.Errorf("struct module has %d bytes there and %d in the BTF: image and modules do not fit together", s.Size, f.Module.Size)
	}
	found := 0
	for _, r := range s.Relocs {
		if r.Sym == nil {
			continue
		}
		want := uint64(0)
		switch r.Sym.Name {
		case symInit:
			want = f.Module.Init
		case symExit:
			want = f.Module.Exit
		default:
			continue
		}
		if r.Offset != want {
			return false, fmt.Errorf("%s is at offset %d of struct module there and %d in the BTF: image and modules do not fit together", r.Sym.Name, r.Offset, want)
		}
		found++
	}
	return found == 2, nil
}
