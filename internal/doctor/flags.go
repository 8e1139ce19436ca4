// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"strings"
)

// FlagsOf picks from a compile command (the compiler first) the flags that
// decide what code is made of a program without includes: -O, -f, -m, -p,
// -std and --param. The error says that the command has something that a probe
// cannot be compiled with.
func FlagsOf(command []string) ([]string, error) {
	var flags []string
	for i := 1; i < len(command); i++ {
		f := command[i]
		switch {
		case f == "-o" || f == "-include" || f == "-I" || f == "-isystem" || f == "-x" || f == "-MF" || f == "-MT":
			i++ // its argument
		case strings.HasPrefix(f, "-fplugin"):
			return nil, fmt.Errorf("take over the flags of a compile command: it has %s, and what a plugin does to a probe is not known; give flags after --", f)
		case f == "--param":
			if i+1 < len(command) {
				flags = append(flags, f+"="+command[i+1])
				i++
			}
		case strings.HasPrefix(f, "-fdump-"), strings.Contains(f, "-prefix-map="), f == "-pipe":
		case hasPrefix(f, "-O", "-f", "-m", "-p", "-std=", "--param="):
			flags = append(flags, f)
		}
	}
	return flags, nil
}

func hasPrefix(f string, prefixes ...string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(f, p) {
			return true
		}
	}
	return false
}
