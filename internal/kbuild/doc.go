// SPDX-License-Identifier: Apache-2.0

// Package kbuild knows how a kernel compiles each of its C files and can do the
// same again: with the exact command of kbuild, on the source as it is or with
// some files replaced, without writing to the source tree.
//
// Commands come from kbuild itself. Once per kernel the environment of
// scripts/Makefile.build is captured from a real make; after that a lookup runs
// only the few makefiles on the way to a file, with the compile rule replaced by
// one that writes the command down (capture.mk, trace.mk). Rules that generate
// headers run as usual, into the O= directory.
//
// Which units a file matters to is read from the text of the source: the include
// graph (includes.go) leads from it to everything that could include it, and is
// kept with the commands.
//
// It must not know what an object means: no symbols (but __ksymtab), no
// comparison of code, no livepatch.
package kbuild
