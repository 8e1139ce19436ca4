// SPDX-License-Identifier: Apache-2.0

// Package csyntax knows the declarations of one translation unit and which
// file-scope names each of them uses, from expanded tokens. It parses what it
// needs for that and nothing more: types and expressions are GCC's business.
package csyntax
