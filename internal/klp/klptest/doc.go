// SPDX-License-Identifier: Apache-2.0

// Package klptest makes livepatches for tests out of real C: it compiles with
// the flags of the test kernel, cuts the object down and finds every reference
// in the kernel's own tables, by means simpler than the pipeline's. The program
// must not import it.
package klptest
