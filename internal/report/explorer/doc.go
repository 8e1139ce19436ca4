// SPDX-License-Identifier: Apache-2.0

// Package explorer shows the index of a build as one HTML document: how many
// functions depend on one, over all; a search over all functions, and for each
// who would have to be patched along with it; and builds side by side.
//
// The numbers of the page are made here. The search follows the graph in the
// page itself (graph.js does what index.Query does, and a test holds the two
// together), since the answers for all functions would be far larger than the
// graph: see encode.go. The package must not know how an index is made.
package explorer
