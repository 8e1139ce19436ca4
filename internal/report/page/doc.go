// SPDX-License-Identifier: Apache-2.0

// Package page writes HTML documents of one file that open from a disk.
//
// A document has its styles and scripts in it and a content security policy
// that names them by their digests: nothing else runs, nothing is fetched.
// Text of strangers is made visible (Clean) and escaped (html/template). The
// package knows charts and rows side by side. It must not know plans, kernels
// or what is shown.
package page
