// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/patch"
)

// syscall takes the name of a system call out of the names of its bodies
// (include/linux/syscalls.h, arch/x86/include/asm/syscall_wrapper.h).
var syscall = regexp.MustCompile(`^__(?:do|se|x64|ia32)_(?:compat_)?sys_(\w+)$`)

// definition matches what begins the definition of a function in the kernel's
// style: its name on a line that begins at column 0, or after one that does.
func definition(name string) (*regexp.Regexp, error) {
	pattern := `(?m)^(?:[A-Za-z_][^;{}()=#\n]*\n?[^;{}()=#\n]*[\s*])?` + regexp.QuoteMeta(name) + `\s*\([^;{}]*\)[^;{}=]*\{`
	if m := syscall.FindStringSubmatch(name); m != nil {
		pattern += `|(?m)^(?:COMPAT_)?SYSCALL(?:32)?_DEFINE\d\s*\(\s*` + regexp.QuoteMeta(m[1]) + `\b`
	}
	return regexp.Compile(pattern)
}

// FindDefinition lists the C files below sourceDir, relative to it, that seem to
// define a function. Whether a unit has it is for its object to say. The error
// is a *NotFoundError if there is none.
func FindDefinition(ctx context.Context, sourceDir, name string) ([]string, error) {
	if !identifier.MatchString(name) {
		return nil, &NotFoundError{Name: name, Why: "that is no name of a function"}
	}
	re, err := definition(name)
	if err != nil {
		return nil, fmt.Errorf("find function %s: %w", name, err)
	}
	needle := []byte(name)
	if m := syscall.FindStringSubmatch(name); m != nil {
		needle = []byte(m[1])
	}
	match := func(data []byte) bool { return bytes.Contains(data, needle) && re.Match(data) }
	found, err := search(ctx, sourceDir, append(slices.Clone(sampleDirs), "init", "certs"), patch.Source, match)
	if err != nil || len(found) > 0 {
		return found, err
	}
	headers, err := search(ctx, sourceDir, []string{"include", "arch/x86/include"}, patch.Header, match)
	if err != nil {
		return nil, err
	}
	if len(headers) > 0 {
		return nil, &NotFoundError{Name: name, Why: fmt.Sprintf("it is defined in a header (%s): name a unit that uses it, as UNIT.c:%s", strings.Join(headers, ", "), name)}
	}
	return nil, &NotFoundError{Name: name, Why: "no C file of the kernel seems to define it: name its unit, as UNIT.c:" + name}
}

// search lists the files of a kind below some directories whose text matches,
// sorted.
func search(ctx context.Context, root string, dirs []string, kind patch.Kind, match func([]byte) bool) ([]string, error) {
	var found []string
	for _, d := range dirs {
		list, err := files(ctx, root, d, kind)
		if err != nil {
			return nil, err
		}
		for _, rel := range list {
			data, err := os.ReadFile(filepath.Join(root, rel))
			if err != nil {
				return nil, fmt.Errorf("search the source of the kernel: %w", err)
			}
			if match(data) {
				found = append(found, rel)
			}
		}
	}
	slices.Sort(found)
	return found, nil
}
