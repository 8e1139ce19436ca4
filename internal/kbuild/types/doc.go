// SPDX-License-Identifier: Apache-2.0

// Package types compares the C types that two compiles of one translation unit
// used, as GCC's -gbtf describes them.
//
// It knows BTF (through cilium/ebpf/btf) and what of a type is part of its
// layout. It must not know kernels, patches or objects.
package types
