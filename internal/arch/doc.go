// SPDX-License-Identifier: Apache-2.0

// Package arch holds no code, only the tests that keep the house as
// docs/architecture.md describes it: the table of packages there is the list
// that imports may only go down, every package has its row and its doc.go,
// files stay short and carry their licence, refusal codes in the source and in
// docs/refusals.md and docs/verify.md are the same.
package arch
