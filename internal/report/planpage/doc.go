// SPDX-License-Identifier: Apache-2.0

// Package planpage shows a plan as one HTML document, for a review.
//
// ReadPlan and ReadTest read what may come from a stranger: the size is bounded,
// another version is refused. Write puts the plan, its evidence and the verdict
// of the virtual machine on a page. The package knows what a reviewer looks for
// and in which order. It must not know how evidence is gathered.
package planpage
