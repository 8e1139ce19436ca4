// SPDX-License-Identifier: Apache-2.0

// Package kernel is one kernel that can be patched: its image, its symbol
// table, its types, its modules, its exports, its configuration, its source
// and a prepared build directory.
//
// It knows
//   - the bzImage container and the compressions kernels use in it,
//   - the kallsyms tables as scripts/kallsyms.c lays them out in .rodata (no
//     System.map and no debug package is needed),
//   - Module.symvers, modules.dep, .config, modinfo and vermagic,
//   - where kernels come from (providers: Debian packages, a build directory)
//     and where they are kept (the store below the user's cache directory).
//
// It must not know what a patch is: nothing here compiles a fix, compares
// objects or writes modules. Nothing here talks to the running kernel but for
// reading its build id.
//
// # Invariants
//
//   - A kernel that List and Open return is complete: its kernel.json is
//     written last, by rename. The source tree below it is never written
//     again; generated files go to ObjDir only.
//   - The image is known by its GNU build id. Image fails if the file no
//     longer has the build id that was recorded when the kernel was added.
//   - Symbols keep the order of the kallsyms tables, since that order is what
//     a livepatch's sympos counts (kernel/livepatch/core.c).
//   - Bytes from outside (vmlinuz, ELF, tables, text files) are bounded before
//     they are believed; what does not fit is an error, never a guess.
package kernel
