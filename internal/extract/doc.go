// SPDX-License-Identifier: Apache-2.0

// Package extract cuts a compilable, reviewable C file out of a translation
// unit: the functions that are asked for, and of what they use only that which
// is neither in headers nor in the running kernel. It knows nothing of ELF or
// kernels; what the running kernel has is told to it.
package extract
