// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
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
	dir, err := os.MkdirTemp("", "kmend-doctor-") // with some flags it leaves files
	if err != nil {
		return nil, fmt.Errorf("make a directory for the probe: %w", err)
	}
	defer os.RemoveAll(dir)
	argv := slices.Concat(s.command(), s.flags, []string{"-Q", "--help=optimizers"})
	out, err := s.jobs.Run(ctx, run.Cmd{Argv: argv, Dir: dir, Env: append(run.CleanEnv(), "CCACHE_DISABLE=1")})
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
