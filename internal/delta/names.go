// SPDX-License-Identifier: Apache-2.0

package delta

import (
	"regexp"
	"strings"
)

// uniqueID matches the names __UNIQUE_ID (include/linux/compiler.h) and BTF_ID
// (include/linux/btf_ids.h) make with __COUNTER__.
var uniqueID = regexp.MustCompile(`^(__UNIQUE_ID_.*?|__BTF_ID__.*__)\d+$`)

// initcall matches what ___initcall_name (include/linux/init.h) makes with
// __COUNTER__ and __LINE__.
var initcall = regexp.MustCompile(`^(__initcall__kmod_.*?__)\d+_\d+(_.*)$`)

// Stem is a name without what the compiler numbers: the .NNN of a static local
// and the counter of __UNIQUE_ID. numbered tells whether there was any. Clone
// suffixes (.constprop.0, .isra.0, .part.0, .cold) are part of the stem: they
// name different code.
func Stem(name string) (stem string, numbered bool) {
	stem = name
	if i := strings.LastIndexByte(name, '.'); i > 0 && isDigits(name[i+1:]) && !isClone(name[:i]) {
		stem, numbered = name[:i], true
	}
	if m := uniqueID.FindStringSubmatch(stem); m != nil {
		stem, numbered = m[1], true
	}
	if m := initcall.FindStringSubmatch(stem); m != nil {
		stem, numbered = m[1]+m[2], true
	}
	return stem, numbered
}

// isClone reports whether name ends in a suffix GCC puts before a clone number.
func isClone(name string) bool {
	for _, s := range []string{".constprop", ".isra", ".part", ".localalias", ".lto_priv"} {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// Source is the name of the source function a code symbol was made from: foo
// for foo.constprop.0.isra.1.cold.
func Source(name string) string {
	if i := strings.IndexByte(name, '.'); i > 0 {
		return name[:i]
	}
	return name
}

func isDigits(s string) bool {
	if s == "" {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
