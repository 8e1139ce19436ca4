// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"path"
	"strings"
)

// Kind is what a path of the kernel source means for a live patch.
type Kind string

// The kinds. Only Source and Header can be live patched at all.
const (
	Source       Kind = "c-source"      // a C translation unit, or a .c that others include
	Header       Kind = "header"        // .h, and .c.inc/.inc text included by C
	Assembly     Kind = "assembly"      // .S, .s
	BuildFile    Kind = "build-file"    // Makefile, Kbuild, Kconfig, .config fragments
	Doc          Kind = "documentation" // no code: ignored, reported
	LinkerScript Kind = "linker-script" // .lds, .lds.S, .lds.h
	DeviceTree   Kind = "device-tree"   // .dts, .dtsi, .dtso
	VDSO         Kind = "vdso"          // mapped into user space, not patchable
	BootCode     Kind = "boot-code"     // runs before or outside the kernel image
	Tooling      Kind = "tooling"       // tools/, scripts/, usr/: programs of the build or of user space
	Sample       Kind = "sample"        // samples/
	Rust         Kind = "rust"          // .rs
	Other        Kind = "other"         // data, firmware, anything not known
)

// codeOutside maps directories whose code is not part of the running kernel
// text to their kind. Sources: arch/x86/entry/vdso/Makefile (linked into
// vdso*.so), arch/x86/boot and realmode (own images), arch/x86/purgatory (kexec
// blob), drivers/firmware/efi/libstub (linked into the decompressor or as
// __init stub).
var codeOutside = []struct {
	dir  string
	kind Kind
}{
	{"arch/x86/entry/vdso/", VDSO},
	{"lib/vdso/", VDSO},
	{"arch/x86/boot/", BootCode},
	{"arch/x86/realmode/", BootCode},
	{"arch/x86/purgatory/", BootCode},
	{"drivers/firmware/efi/libstub/", BootCode},
	{"tools/", Tooling},
	{"scripts/", Tooling},
	{"usr/", Tooling},
	{"samples/", Sample},
}

// vdsoKernel are the sources below arch/x86/entry/vdso that are linked into the
// kernel itself (obj-y of its Makefile), not into the vDSO image.
var vdsoKernel = map[string]bool{
	"arch/x86/entry/vdso/vma.c":          true,
	"arch/x86/entry/vdso/extable.c":      true,
	"arch/x86/entry/vdso/vdso32-setup.c": true,
}

// realmodeKernel are those below arch/x86/realmode that run as kernel code.
var realmodeKernel = map[string]bool{"arch/x86/realmode/init.c": true}

// Classify says what a path, relative to the source root and with slashes,
// means. It looks at the name only.
func Classify(p string) Kind {
	base := path.Base(p)
	switch {
	case strings.HasPrefix(p, "Documentation/"), strings.HasPrefix(p, "LICENSES/"):
		return Doc
	case strings.HasSuffix(base, ".rst"), strings.HasSuffix(base, ".md"), // not .txt: arch/x86/lib/x86-opcode-map.txt makes code
		base == "MAINTAINERS", base == "CREDITS", base == "COPYING", base == "README", base == "TODO",
		base == ".mailmap", base == ".gitignore", base == ".gitattributes", base == ".clang-format":
		return Doc
	case base == "Makefile", strings.HasPrefix(base, "Makefile."), base == "Kbuild", strings.HasPrefix(base, "Kbuild."),
		base == "Kconfig", strings.HasPrefix(base, "Kconfig."), strings.HasSuffix(base, ".config"),
		strings.HasSuffix(base, "_defconfig"), base == "Platform":
		if strings.HasPrefix(p, "tools/") || strings.HasPrefix(p, "samples/") {
			break
		}
		return BuildFile
	}
	if !vdsoKernel[p] && !realmodeKernel[p] {
		for _, o := range codeOutside {
			if strings.HasPrefix(p, o.dir) {
				return o.kind
			}
		}
	}
	switch {
	case strings.HasSuffix(base, ".lds"), strings.HasSuffix(base, ".lds.S"), strings.HasSuffix(base, ".lds.h"):
		return LinkerScript
	}
	switch path.Ext(base) {
	case ".c":
		return Source
	case ".h", ".inc":
		return Header
	case ".S", ".s":
		return Assembly
	case ".dts", ".dtsi", ".dtso":
		return DeviceTree
	case ".rs":
		return Rust
	}
	return Other
}
