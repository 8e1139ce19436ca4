// SPDX-License-Identifier: Apache-2.0

// Package csyntax knows the declarations of one translation unit and which
// file-scope names each of them uses, from expanded tokens. It parses what it
// needs for that and nothing more: types and expressions are GCC's business.
// It must not know macros, files, or what a declaration is wanted for.
//
// Parse cuts the tokens into items and lists what each declares. It passes over
// the bodies of functions, parameters and initialisers. Unit.Refs and
// Unit.Locals walk all of one item with its scopes. GNU C as GCC 11 and 12 take
// it is understood, without nested functions, parameters that are declared
// behind their names (K&R), [[attributes]] and implicit int. What is not
// understood is an *Error, of Parse for the unit, of Refs and Locals for the
// item; a name that nothing declares is one too, since a compiler took the
// text before.
package csyntax
