// SPDX-License-Identifier: Apache-2.0

// Package manpage writes manual pages, in the language of man(7) that groff and
// mandoc read, out of plain texts such as those of a command's help.
//
// It knows roff and how such texts are laid out. It must not know commands:
// what a page says is for its caller.
package manpage
