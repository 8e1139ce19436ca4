// SPDX-License-Identifier: Apache-2.0

// Package klp writes livepatch modules: it strings the pieces of compiled
// objects that a patch needs together with the glue that makes the kernel take
// the result for a livepatch module, without ld, modpost or kbuild.
//
// It knows the module format of Linux 6.1 on x86-64 as kernel/module/*.c,
// kernel/livepatch/core.c and arch/x86/kernel/module.c read it: .modinfo,
// __versions, .gnu.linkonce.this_module, struct klp_patch and what hangs off
// it, .klp.rela and .klp.sym, the special sections and the order in which they
// are applied. The sizes and offsets of structures, which differ from kernel
// to kernel, come in as Facts. It must not know what a diff or C is, nor why a
// function is replaced: Spec says what goes in and how each reference is found.
//
// # Invariants
//
//   - The same Spec and Facts give the same bytes. Nothing is taken from a map
//     in iteration order, the clock or the machine.
//   - A reference is written as Spec says or refused; none is guessed, and
//     every undefined symbol of the module has a relocation that needs it
//     (each .klp relocation costs a walk over all kernel symbols at load).
//   - No two loaded sections share a name: sysfs warns about them.
//   - All code of one patched object lies in one run that begins with a
//     replaced function, and no symbol but those of replaced functions has a
//     name that the kernel's symbol lookup takes (others begin with ".L",
//     kernel/module/kallsyms.c is_arm_mapping_symbol). The kernel takes the
//     distance to the next such symbol as the size of a replaced function and
//     looks for return addresses in that span before it lets a task leave the
//     patch (kernel/livepatch/transition.c klp_check_stack_func). So a task
//     that sleeps in a .cold part or in a helper that was tail-called keeps the
//     module from going away, which with the sizes of the functions alone it
//     would not.
//   - Relocations against symbols of a patched module are applied when that
//     module is there, long after alternatives, static calls and jump labels
//     of the livepatch were; they never touch what those read or rewrite.
package klp
