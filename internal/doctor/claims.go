// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"kmend/internal/compiler"
	"kmend/internal/run"
)

// claims asks GCC which optimisations are on: -Q --help=optimizers. No verdict
// depends on the answer; it is shown where the code contradicts it.
func (s *subject) claims(ctx context.Context) (map[string]string, error) {
	if s.cc.Family != compiler.GCC {
		return nil, nil
	}
	argv := slices.Concat(s.cc.Argv, s.flags, []string{"-Q", "--help=optimizers"})
	out, err := s.jobs.Run(ctx, run.Cmd{Argv: argv, Env: append(run.CleanEnv(), "CCACHE_DISABLE=1")})
	if err != nil {
		return nil, fmt.Errorf("ask the compiler for its options: %w", err)
	}
	return parseClaims(out.Stdout), nil
}

// parseClaims reads lines of an option and its state in brackets, as in
//
//	-fipa-ra                    		[enabled]
//
// (gcc/opts.cc, print_filtered_help). Other lines are titles and values.
func parseClaims(out []byte) map[string]string {
	states := map[string]string{}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) == 2 && strings.HasPrefix(f[0], "-f") && (f[1] == "[enabled]" || f[1] == "[disabled]") {
			states[f[0]] = strings.Trim(f[1], "[]")
		}
	}
	return states
}
