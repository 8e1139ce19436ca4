// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"

	"kmend/internal/kbuild"
)

// includedElsewhere refuses a file that is compiled on its own and also
// included by another translation unit, as fs/binfmt_elf.c is by
// fs/compat_binfmt_elf.c: the copy there would keep the bug.
func includedElsewhere(ctx context.Context, p *Plan, tree *kbuild.Tree, source string) error {
	files, err := tree.Includers(source)
	if err != nil {
		return err
	}
	for _, f := range files {
		_, err := tree.Commands(ctx, []string{f})
		var not *kbuild.NotBuiltError
		if errors.As(err, &not) && len(not.IncludedBy) == 0 {
			continue // no code of this kernel
		}
		if err != nil && not == nil {
			return err
		}
		p.refuse(Refusal{Code: CodeHeaderChanged, File: source,
			Why:    fmt.Sprintf("%s includes it, so that its code runs a second time, compiled as part of that file", f),
			Advice: "move the change into a file that is not included, or reboot into a fixed kernel"})
	}
	return nil
}
