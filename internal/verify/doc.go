// SPDX-License-Identifier: Apache-2.0

// Package verify reads a livepatch module from its bytes, anybody's, and holds
// it against the kernel it is meant for: would it load, would it patch what it
// says, would it be able to go again, and what would the kernel never complain
// about.
//
// It knows the module format as the kernel reads it, not as kmend writes it:
// nothing here is shared with the code that lays modules out but the Facts about the
// kernel's structures. It must not know how a module was built or why.
//
// Inspect answers what is in a module. Check gives findings, each with a stable
// code: objections, warnings and notes, and says what every symbol is in the
// kernel. An objection is something that makes the load fail, the patch do
// nothing, the kernel crash, or that cannot be shown to be right. No objection
// means that every function, symbol, CRC and relocation of the module was found
// in the kernel's image, its shipped modules and its Module.symvers. Together
// plays several loads through, After does on a kernel that has others loaded.
//
// Six mistakes get past the kernel itself on 6.1, five of them in silence
// (kernel/livepatch/core.c, kernel/module/main.c): a .klp.rela section without
// SHF_RELA_LIVEPATCH (symbols resolve to 0), a .klp.rela section whose object
// is none of the patched ones (never applied), klp_object.name "vmlinux" in
// place of NULL (waits for a module that never comes), any other name that no
// module can have, a plain relocation
// against a .klp.sym symbol (resolves to 0), and a .klp.rela section of a
// module without SHF_ALLOC (freed memory is read when that module loads).
//
// All input is hostile: sizes and offsets are checked before use, counts are
// bounded by the file's size or by a constant, and no input makes it panic.
package verify
