// SPDX-License-Identifier: Apache-2.0

package extract

import (
	"fmt"
	"slices"
	"strings"
)

// Policy overrides decisions by name.
type Policy map[string]string

// maxPolicy bounds a policy file.
const maxPolicy = 1 << 20

// ParsePolicy reads a policy file: one "DECISION NAME" a line, with # comments.
// A decision is copy, declare or refuse.
func ParsePolicy(file string, data []byte) (Policy, error) {
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("read policy %s: more than %d bytes", file, maxPolicy)
	}
	p, line := Policy{}, 0
	for text := range strings.Lines(string(data)) {
		line++
		text, _, _ = strings.Cut(text, "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		if len(f) != 2 || !slices.Contains([]string{Copied, Declare, Refuse}, f[0]) {
			return nil, fmt.Errorf("read policy %s:%d: %.60q is not \"copy NAME\", \"declare NAME\" or \"refuse NAME\"", file, line, strings.TrimSpace(text))
		}
		if was, ok := p[f[1]]; ok && was != f[0] {
			return nil, fmt.Errorf("read policy %s:%d: %s is both %s and %s; say it once", file, line, f[1], was, f[0])
		}
		p[f[1]] = f[0]
	}
	return p, nil
}
