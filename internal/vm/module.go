// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"strings"
)

// moduleName reads the name that the kernel will know a module by, out of its
// modinfo: a file can be called anything.
func moduleName(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the livepatch: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("read the livepatch %s: not a kernel module: %w", file, err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil || s.Type == elf.SHT_NOBITS || s.Size > 1<<20 {
		return "", fmt.Errorf("read the livepatch %s: not a kernel module: it has no .modinfo", file)
	}
	info, err := s.Data()
	if err != nil {
		return "", fmt.Errorf("read the livepatch %s: %w", file, err)
	}
	var name string
	livepatch := false
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if v, ok := bytes.CutPrefix(field, []byte("name=")); ok {
			name = string(v)
		}
		livepatch = livepatch || bytes.HasPrefix(field, []byte("livepatch=Y"))
	}
	switch {
	case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "":
		return "", fmt.Errorf("read the livepatch %s: its modinfo has the name %.60q, which no module has", file, name)
	case !livepatch:
		return "", fmt.Errorf("read the livepatch %s: the module %s is not a livepatch: its modinfo lacks livepatch=Y", file, name)
	}
	return strings.ReplaceAll(name, "-", "_"), nil
}
