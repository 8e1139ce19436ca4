// SPDX-License-Identifier: Apache-2.0

// Package closure decides what of a compiled translation unit goes into a live
// patch and cuts it out.
//
// Select starts from the functions that differ (package delta) and follows
// references: what is new, and constants, come along; what the running kernel
// has already is left outside and becomes a Need. Needs are resolved by the
// caller. Cut then makes an object that holds just the selection, with one
// undefined symbol per Need.
//
// Rules of identity, the same ones everywhere in kmend:
//
//   - A call of a replaced function goes to the new code at once. Its address
//     as a value stays the old one, which the kernel redirects: so callbacks
//     compare equal and survive the removal of the patch.
//   - State is never duplicated: data that existed before the fix is a Need.
//   - Strings and other constants known only by content are copied.
//
// It knows items and special sections. It must not know symbol tables of a
// kernel or the module format.
package closure
