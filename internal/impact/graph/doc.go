// SPDX-License-Identifier: Apache-2.0

// Package graph draws small directed graphs, as DOT for Graphviz or as SVG with
// a layout of its own.
//
// It knows layers and crossings. It must not know what nodes and edges mean.
package graph
