// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// Facts are what a module of one kernel looks like. Sizes and offsets are in
// bytes.
type Facts struct {
	Release  string // uname -r
	Vermagic string // as the kernel's own modules carry it
	BuildID  string // GNU build id of the kernel, hex; written into the module

	Module ModuleLayout
	Func   FuncLayout
	Object ObjectLayout
	Patch  PatchLayout
	// DynDebug is sizeof(struct _ddebug), 0 without CONFIG_DYNAMIC_DEBUG.
	DynDebug uint64

	Retpoline   bool // CONFIG_RETPOLINE: modinfo says retpoline=Y
	Rethunk     bool // CONFIG_RETHUNK: returns jump to __x86_return_thunk
	Modversions bool // CONFIG_MODVERSIONS: __versions is needed
	IBT         bool // CONFIG_X86_KERNEL_IBT: functions called through pointers begin with ENDBR64

	// Glue holds the CRCs of the exports that every livepatch module needs by
	// itself, by name; see GlueExports.
	Glue map[string]uint32
	// Taken holds the names of all modules of the kernel, built-in ones
	// included, underscored: /sys/module/NAME exists or may come to exist, so
	// no livepatch module can have that name.
	Taken map[string]bool
}

// ModuleLayout is struct module (linux/module.h).
type ModuleLayout struct{ Size, Name, NameLen, Init, Exit uint64 }

// FuncLayout is struct klp_func (linux/livepatch.h).
type FuncLayout struct{ Size, OldName, NewFunc, OldSympos uint64 }

// ObjectLayout is struct klp_object (linux/livepatch.h).
type ObjectLayout struct{ Size, Name, Funcs, Callbacks, CallbacksSize uint64 }

// PatchLayout is struct klp_patch (linux/livepatch.h).
type PatchLayout struct{ Size, Mod, Objs, States, Replace uint64 }

// Exports that the glue itself uses.
const (
	exportLayout      = "module_layout" // version record only
	exportEnable      = "klp_enable_patch"
	exportReturnThunk = "__x86_return_thunk"
	exportModuleGet   = "__module_get"
)

// GlueExports names the exports whose CRCs Facts.Glue must hold.
func GlueExports() []string {
	return []string{exportLayout, exportEnable, exportReturnThunk, exportModuleGet}
}

// layoutsFrom fills the structure layouts from a kernel's BTF.
func (f *Facts) layoutsFrom(spec *btf.Spec) error {
	var err error
	get := func(structure string, size *uint64, fields map[string]*uint64) {
		if err == nil {
			err = readLayout(spec, structure, size, fields)
		}
	}
	get("module", &f.Module.Size, map[string]*uint64{"name": &f.Module.Name, "init": &f.Module.Init, "exit": &f.Module.Exit})
	get("klp_func", &f.Func.Size, map[string]*uint64{"old_name": &f.Func.OldName, "new_func": &f.Func.NewFunc, "old_sympos": &f.Func.OldSympos})
	get("klp_object", &f.Object.Size, map[string]*uint64{"name": &f.Object.Name, "funcs": &f.Object.Funcs, "callbacks": &f.Object.Callbacks})
	get("klp_callbacks", &f.Object.CallbacksSize, nil)
	get("klp_patch", &f.Patch.Size, map[string]*uint64{"mod": &f.Patch.Mod, "objs": &f.Patch.Objs, "states": &f.Patch.States, "replace": &f.Patch.Replace})
	if err != nil {
		return err
	}
	if f.Module.NameLen, err = arrayLen(spec, "module", "name"); err != nil {
		return err
	}
	if err := readLayout(spec, "_ddebug", &f.DynDebug, nil); err != nil && !errors.Is(err, btf.ErrNotFound) {
		return err
	}
	return nil
}

func findStruct(spec *btf.Spec, name string) (*btf.Struct, error) {
	types, err := spec.AnyTypesByName(name)
	if err != nil {
		return nil, fmt.Errorf("find struct %s in the kernel's BTF: %w", name, err)
	}
	var found *btf.Struct
	for _, t := range types {
		s, ok := t.(*btf.Struct)
		if !ok {
			continue
		}
		if found != nil && found.Size != s.Size {
			return nil, fmt.Errorf("find struct %s in the kernel's BTF: two of them, of %d and %d bytes", name, found.Size, s.Size)
		}
		found = s
	}
	if found == nil {
		return nil, fmt.Errorf("find struct %s in the kernel's BTF: %w", name, btf.ErrNotFound)
	}
	return found, nil
}

func readLayout(spec *btf.Spec, name string, size *uint64, fields map[string]*uint64) error {
	s, err := findStruct(spec, name)
	if err != nil {
		return err
	}
	*size = uint64(s.Size)
	for field, off := range fields {
		m := member(s, field)
		if m == nil {
			return fmt.Errorf("find struct %s in the kernel's BTF: it has no member %s", name, field)
		}
		*off = uint64(m.Offset.Bytes())
	}
	return nil
}

func member(s *btf.Struct, field string) *btf.Member {
	for i := range s.Members {
		if s.Members[i].Name == field {
			return &s.Members[i]
		}
	}
	return nil
}

// arrayLen returns the length of an array member.
func arrayLen(spec *btf.Spec, name, field string) (uint64, error) {
	s, err := findStruct(spec, name)
	if err != nil {
		return 0, err
	}
	m := member(s, field)
	if m == nil {
		return 0, fmt.Errorf("find struct %s in the kernel's BTF: it has no member %s", name, field)
	}
	a, ok := btf.UnderlyingType(m.Type).(*btf.Array)
	if !ok {
		return 0, fmt.Errorf("find struct %s in the kernel's BTF: member %s is no array", name, field)
	}
	return uint64(a.Nelems), nil
}

// check refuses facts that cannot be those of a kernel Write knows.
func (f *Facts) check() error {
	type field struct {
		name           string
		off, len, size uint64
	}
	for _, x := range []field{
		{"module.name", f.Module.Name, f.Module.NameLen, f.Module.Size}, {"module.init", f.Module.Init, 8, f.Module.Size}, {"module.exit", f.Module.Exit, 8, f.Module.Size},
		{"klp_func.old_name", f.Func.OldName, 8, f.Func.Size}, {"klp_func.new_func", f.Func.NewFunc, 8, f.Func.Size}, {"klp_func.old_sympos", f.Func.OldSympos, 8, f.Func.Size},
		{"klp_object.name", f.Object.Name, 8, f.Object.Size}, {"klp_object.funcs", f.Object.Funcs, 8, f.Object.Size},
		{"klp_patch.mod", f.Patch.Mod, 8, f.Patch.Size}, {"klp_patch.objs", f.Patch.Objs, 8, f.Patch.Size}, {"klp_patch.replace", f.Patch.Replace, 1, f.Patch.Size},
	} {
		if x.len == 0 || x.size > 1<<16 || x.off > x.size || x.len > x.size-x.off {
			return fmt.Errorf("facts of kernel %s: %s at offset %d does not fit a structure of %d bytes: read them from the kernel's BTF", f.Release, x.name, x.off, x.size)
		}
	}
	if f.Vermagic == "" {
		return fmt.Errorf("facts of kernel %s: no vermagic: read it from one of its modules", f.Release)
	}
	if f.Modversions {
		for _, name := range GlueExports() {
			if name == exportReturnThunk && !f.Rethunk {
				continue
			}
			if _, ok := f.Glue[name]; !ok {
				return fmt.Errorf("facts of kernel %s: no CRC of %s: it must be in the kernel's Module.symvers", f.Release, name)
			}
		}
	}
	return nil
}
