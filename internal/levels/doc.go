// SPDX-License-Identifier: Apache-2.0

// Package levels measures what each level of -flive-patching costs and brings.
//
// It knows how to compile translation units at each level and what to count in
// them (unit.go, measure.go), how to build a small kernel at each level
// (build.go) and how to count the instructions of a workload in a guest that
// runs it (workload.go, boot.go), and how to draw the two against each other
// (picture.go). It must not know patches.
package levels
