// SPDX-License-Identifier: Apache-2.0

// Package kerneltest gives tests the stock kernel that they run against.
//
// It knows which kernel that is and what to do when it has not been added:
// skip with the command that adds it, or fail where tests must not be skipped.
// Only tests import it.
package kerneltest
