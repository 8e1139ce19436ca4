// SPDX-License-Identifier: Apache-2.0

// Package nearest finds the names that somebody who wrote another one may have
// meant.
//
// It knows edit distance. It must not know what the names stand for.
package nearest
