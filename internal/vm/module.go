// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// moduleName reads the name that the kernel will know a livepatch by, out of
// its modinfo: a file can be called anything.
func moduleName(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the livepatch: %w", err)
	}
	info, err := modinfo(bytes.NewReader(data))
	if err != nil {
		return "", fmt.Errorf("read the livepatch %s: %w", file, err)
	}
	var name string
	livepatch := false
	for _, field := range info {
		if v, ok := strings.CutPrefix(field, "name="); ok {
			name = v
		}
		livepatch = livepatch || strings.HasPrefix(field, "livepatch=Y")
	}
	const inNames = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	switch {
	case name == "" || strings.Trim(name, inNames) != "":
		return "", fmt.Errorf("read the livepatch %s: its modinfo has the name %.60q, which no module has", file, name)
	case !livepatch:
		return "", fmt.Errorf("read the livepatch %s: the module %s is not a livepatch: its modinfo lacks livepatch=Y", file, name)
	}
	return strings.ReplaceAll(name, "-", "_"), nil
}
