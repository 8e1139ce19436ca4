// SPDX-License-Identifier: Apache-2.0

// Package definitions finds the source files that may define a function, by
// their text.
//
// It knows the kernel's style of C and its system call macros. It must not know
// compilers or objects: whether a unit really has the function is for its object
// to say.
package definitions
