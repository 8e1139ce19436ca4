// SPDX-License-Identifier: Apache-2.0

// Package browser drives a headless Chromium for the tests of pages.
//
// It speaks the DevTools protocol over a pipe (--remote-debugging-pipe: JSON
// messages that end in NUL, in on descriptor 3, out on 4), so that no port is
// open and no library is needed. It knows tabs, keys and pictures. It must not
// know what a page shows. Only tests import it.
package browser
