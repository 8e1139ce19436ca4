// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kmend/internal/driver"
)

// ccName is the name of a link to kmend by which it is kmend cc, for tools
// that want a compiler of one word.
const ccName = "kmend-cc"

// ccArgs are the compiler's arguments if the process is kmend cc. Only --help
// alone is the command's own help.
func ccArgs(argv []string) ([]string, bool) {
	var args []string
	switch {
	case len(argv) > 0 && filepath.Base(argv[0]) == ccName:
		args = argv[1:]
	case len(argv) > 1 && argv[1] == "cc":
		args = argv[2:]
	default:
		return nil, false
	}
	return args, !isHelp(args)
}

func isHelp(args []string) bool { return len(args) == 1 && args[0] == "--help" }

// commandArgs are the arguments of kmend, however it is called.
func commandArgs(argv []string) []string {
	if filepath.Base(argv[0]) == ccName {
		return append([]string{"cc"}, argv[1:]...)
	}
	return argv[1:]
}

// runCC is kmend cc. It returns the exit code of the process, unless that
// becomes the compiler, or ends as the compiler did.
func runCC(args []string) (code int) {
	defer reportBug(os.Stderr, &code)
	result, err := driver.Run(context.Background(), args, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintf(os.Stderr, "kmend cc: %v\n", err)
		code, _ := exitCode(err)
		return code
	}
	if result.Signal != 0 {
		return driver.Die(result.Signal)
	}
	return result.Exit
}

func newCCCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cc [COMPILER ARGUMENTS]",
		Short: "Compile with the levels of -flive-patching, and list impacted functions",
		Long: `kmend cc is a compiler driver. It hands its command line to the real compiler
and takes out what is its own:

  -flive-patching[=LEVEL]
        none                no inlining, but for always_inline
        only-inline-static  only static functions are inlined
        inline              inlining, and no clones
        inline-clone        inlining and clones, and no other fact about one
                            function in the code of another (the default)
      Each level becomes the flags that this compiler has for it; they are
      tried, and what the compiler says of itself is checked. A level that it
      cannot keep is refused.

  -flive-patch-list={FUNC|all}[,facts][,json][,FILE]
      List the functions that must be replaced along with FUNC, each with the
      reason. With "facts" also those where the compiler used something that
      it knows about FUNC's body, which takes 2 to 4 times the compile.
      FILE ending in / is a directory of one list for each object; any other
      FILE is added to, also by many compiles at a time. The option may be
      given more than once.

Everything else goes to the compiler as it is, --help with other arguments
too. Called by a link of the name ` + ccName + `, kmend is kmend cc.

The real compiler is what KMEND_CC says ("gcc-12", "ccache gcc-12"), else what
the kernel in this directory was configured with, else gcc.
Levels and their flags are described in docs/levels.md.`,
		Example: strings.Trim(`
  kmend cc -O2 -flive-patching=inline-clone -flive-patch-list=leaf -c a.c
  make CC="kmend cc" KCFLAGS="-flive-patching -flive-patch-list=all,/tmp/lists/"
  make CC="kmend cc" KCFLAGS="-flive-patch-list=tcp_sync_mss,facts,/tmp/list.json" net/ipv4/tcp_output.o
`, "\n"),
		Annotations:        map[string]string{manEnvironment: ccEnvironment},
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if isHelp(args) {
				return c.Help()
			}
			return &exitError{code: runCC(slices.Clone(args))}
		},
	}
}
