// SPDX-License-Identifier: Apache-2.0

// Package levels measures what each level of -flive-patching costs and brings.
//
// It knows how to compile translation units at each level, what to count in them,n// and how to count the instructions of a workload in a guest. It must not known// patches.
package levels
