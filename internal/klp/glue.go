// SPDX-License-Identifier: Apache-2.0

package klp

import (
	"debug/elf"
	"encoding/binary"
	"strings"

	"kmend/internal/object"
	"kmend/internal/special"
)

var le = binary.LittleEndian

// Names of the glue's own symbols.
const (
	symThisModule = "__this_module"
	symInit       = "init_module"
	symExit       = "cleanup_module"
	symPatch      = "kmend_patch"
	symObjects    = "kmend_objects"
)

const (
	r64   = uint32(elf.R_X86_64_64)
	r32S  = uint32(elf.R_X86_64_32S)
	rPC32 = uint32(elf.R_X86_64_PC32)
	rPLT  = uint32(elf.R_X86_64_PLT32)
)

func (b *builder) addReloc(s *object.Section, off uint64, kind uint32, sym *object.Symbol, addend int64) {
	s.Relocs = append(s.Relocs, object.Reloc{Offset: off, Type: kind, Sym: sym, Addend: addend})
}

// define adds a symbol of the glue.
func (b *builder) define(name string, bind elf.SymBind, kind elf.SymType, s *object.Section, off, size uint64) *object.Symbol {
	sym := &object.Symbol{Name: name, Bind: byte(bind), Kind: byte(kind), Section: s, Value: off, Size: size}
	b.locals = append(b.locals, sym) // Bytes sorts locals before the rest
	return sym
}

// glueExport is an export that the glue needs, as undefined symbol.
func (b *builder) glueExport(name string) (*object.Symbol, error) {
	return b.export(Ref{Kind: RefExport, Object: Vmlinux, Name: name, CRC: b.facts.Glue[name]})
}

// addPatch writes struct klp_patch with its objects and functions
// (linux/livepatch.h) into .data. Both arrays end with an entry of zeros.
func (b *builder) addPatch(this *object.Symbol) *object.Symbol {
	data, f := b.sections[secData], b.facts
	objects := make([]*object.Symbol, len(b.spec.Objects))
	for i, o := range b.spec.Objects {
		size := f.Func.Size * uint64(len(o.Funcs)+1)
		off := grow(data, make([]byte, size), size, 8)
		objects[i] = b.define("kmend_funcs_"+o.Name, elf.STB_LOCAL, elf.STT_OBJECT, data, off, size)
		for n, fn := range o.Funcs {
			at := off + uint64(n)*f.Func.Size
			b.addReloc(data, at+f.Func.OldName, r64, b.anchor[b.sections[secStrings]], int64(b.str(fn.OldName)))
			b.addReloc(data, at+f.Func.NewFunc, r64, b.symbols[fn.New], 0)
			le.PutUint64(data.Data[at+f.Func.OldSympos:], uint64(fn.Sympos))
			b.stats.Functions++
		}
	}
	size := f.Object.Size * uint64(len(objects)+1)
	off := grow(data, make([]byte, size), size, 8)
	for i, o := range b.spec.Objects {
		at := off + uint64(i)*f.Object.Size
		if o.Name != Vmlinux { // NULL means vmlinux; the name would mean a module that never comes
			b.addReloc(data, at+f.Object.Name, r64, b.anchor[b.sections[secStrings]], int64(b.str(o.Name)))
		}
		b.addReloc(data, at+f.Object.Funcs, r64, objects[i], 0)
	}
	objs := b.define(symObjects, elf.STB_LOCAL, elf.STT_OBJECT, data, off, size)
	off = grow(data, make([]byte, f.Patch.Size), f.Patch.Size, 8)
	b.addReloc(data, off+f.Patch.Mod, r64, this, 0)
	b.addReloc(data, off+f.Patch.Objs, r64, objs, 0)
	if b.spec.Replace {
		data.Data[off+f.Patch.Replace] = 1
	}
	return b.define(symPatch, elf.STB_LOCAL, elf.STT_OBJECT, data, off, f.Patch.Size)
}

// str adds a string to the pool and returns its offset.
func (b *builder) str(s string) uint64 {
	return grow(b.sections[secStrings], append([]byte(s), 0), uint64(len(s))+1, 1)
}

// addThisModule writes struct module as it lies in the file: the loader takes
// the section itself as the structure.
func (b *builder) addThisModule() *object.Symbol {
	s, f := b.sections[secThis], b.facts
	grow(s, make([]byte, f.Module.Size), f.Module.Size, 64)
	copy(s.Data[f.Module.Name:], b.spec.Name)
	return b.define(symThisModule, elf.STB_GLOBAL, elf.STT_OBJECT, s, 0, f.Module.Size)
}

// addCode writes init_module and cleanup_module with what objtool would have
// said about them.
func (b *builder) addCode(this, patch *object.Symbol) error {
	enable, err := b.glueExport(exportEnable)
	if err != nil {
		return err
	}
	init, exit := b.sections[secInitText], b.sections[secExitText]
	code := b.entryCode()
	if b.spec.Pin {
		get, err := b.glueExport(exportModuleGet)
		if err != nil {
			return err
		}
		b.addReloc(init, uint64(len(code))+3, r32S, this, 0)
		code = append(code, 0x48, 0xc7, 0xc7, 0, 0, 0, 0) // mov $__this_module,%rdi
		b.addReloc(init, uint64(len(code))+1, rPLT, get, -4)
		code = append(code, 0xe8, 0, 0, 0, 0) // call __module_get
	}
	b.addReloc(init, uint64(len(code))+3, r32S, patch, 0)
	code = append(code, 0x48, 0xc7, 0xc7, 0, 0, 0, 0) // mov $patch,%rdi
	b.addReloc(init, uint64(len(code))+1, rPLT, enable, -4)
	code = append(code, 0xe9, 0, 0, 0, 0) // jmp klp_enable_patch
	b.addReloc(b.sections[secThis], b.facts.Module.Init, r64, b.addFunction(init, symInit, code), 0)

	code = b.entryCode()
	if b.facts.Rethunk {
		thunk, err := b.glueExport(exportReturnThunk)
		if err != nil {
			return err
		}
		at := uint64(len(code))
		b.addReloc(exit, at+1, rPLT, thunk, -4)
		code = append(code, 0xe9, 0, 0, 0, 0) // jmp __x86_return_thunk
		b.addSite(special.ReturnSites, exit, at)
	} else {
		code = append(code, 0xc3)
	}
	b.addReloc(b.sections[secThis], b.facts.Module.Exit, r64, b.addFunction(exit, symExit, code), 0)
	return nil
}

func (b *builder) entryCode() []byte {
	if b.facts.IBT {
		return []byte{0xf3, 0x0f, 0x1e, 0xfa} // endbr64
	}
	return nil
}

// addFunction puts a frameless function at the start of an empty section,
// pads it with int3 (straight-line speculation) and adds its ORC data: at entry
// and throughout, the return address is on top of the stack; behind the end,
// nothing is known (asm/orc_types.h, struct orc_entry).
func (b *builder) addFunction(s *object.Section, name string, code []byte) *object.Symbol {
	size := uint64(len(code))
	for len(code)%16 != 0 {
		code = append(code, 0xcc)
	}
	grow(s, code, uint64(len(code)), 16)
	sym := b.define(name, elf.STB_GLOBAL, elf.STT_FUNC, s, 0, size)
	callEntry := []byte{8, 0, 0, 0, 5, 0} // sp = SP+8, type call
	for _, e := range []struct {
		at   uint64
		data []byte
	}{{0, callEntry}, {size, make([]byte, special.OrcStride)}} {
		grow(b.sections[special.OrcUnwind], e.data, special.OrcStride, 1)
		b.addSite(special.OrcUnwindIP, s, e.at)
	}
	return sym
}

// addSite appends a place-relative 32-bit entry.
func (b *builder) addSite(table string, s *object.Section, at uint64) {
	t := b.sections[table]
	off := grow(t, make([]byte, 4), 4, 1)
	b.addReloc(t, off, rPC32, b.anchor[s], int64(at))
}

// TagKernelID is the modinfo tag that holds the build id, in hex, of the kernel
// that a module was made for: vermagic names only a release, and with CRCs the
// loader does not look at that (kernel/module/version.c, same_magic).
const TagKernelID = "kmend.build_id"

// addModinfo writes the tags that the loader and modinfo(8) read.
func (b *builder) addModinfo() {
	tags := []string{"license=GPL", "livepatch=Y", "name=" + b.spec.Name, "vermagic=" + b.facts.Vermagic, "depends=" + strings.Join(sortedKeys(b.depends), ",")}
	if b.facts.Retpoline {
		tags = append(tags, "retpoline=Y")
	}
	for _, ns := range sortedKeys(b.spaces) {
		tags = append(tags, "import_ns="+ns)
	}
	if b.spec.Description != "" {
		tags = append(tags, "description="+b.spec.Description)
	}
	if b.facts.BuildID != "" {
		tags = append(tags, TagKernelID+"="+b.facts.BuildID)
	}
	text := strings.Join(tags, "\x00") + "\x00"
	grow(b.sections[secModinfo], []byte(text), uint64(len(text)), 1)
}

// addVersions writes one struct modversion_info per export: an 8-byte CRC and
// the name in 56 bytes (linux/module.h). The loader compares each with the
// kernel's, and module_layout before anything else.
func (b *builder) addVersions() {
	if !b.facts.Modversions {
		return
	}
	crcs := map[string]uint32{exportLayout: b.facts.Glue[exportLayout]}
	names := []string{exportLayout}
	for _, name := range sortedKeys(b.versions) {
		if name != exportLayout {
			names = append(names, name)
			crcs[name] = b.versions[name]
		}
	}
	for _, name := range names {
		rec := make([]byte, 64)
		le.PutUint64(rec, uint64(crcs[name]))
		copy(rec[8:], name)
		grow(b.sections[secVersions], rec, 64, 1)
	}
}

// addBuildID reserves the note that will hold the SHA-1 of the module.
func (b *builder) addBuildID() {
	note := make([]byte, 36)
	le.PutUint32(note, 4)      // name size
	le.PutUint32(note[4:], 20) // description size
	le.PutUint32(note[8:], 3)  // NT_GNU_BUILD_ID
	copy(note[12:], "GNU\x00")
	grow(b.sections[secBuildID], note, 36, 4)
}
