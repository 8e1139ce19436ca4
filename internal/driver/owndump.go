// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kmend/internal/run"
)

// ownDump finds the dump that the command line itself asks for: in a file that
// it names, or where GCC puts it by the names of output and source.
func (r *runner) ownDump(ctx context.Context, own []string) (*dump, error) {
	_, file, named := strings.Cut(own[0], "=")
	d := &dump{path: file}
	switch {
	case len(own) > 1 || named && strings.HasPrefix(own[0], "-fdump-ipa-all"):
		return nil, usagef("%s with %s: it cannot be told where the .ipa-clones dump goes; give -fdump-ipa-clones once, or leave it out", listOption, strings.Join(own, " "))
	case named && (file == "-" || file == "stdout" || file == "stderr"):
		return nil, usagef("%s with %s: the dump must go to a file", listOption, own[0])
	case !named:
		var err error
		if d.path, err = r.dumpName(ctx); err != nil {
			return nil, err
		}
	}
	_ = unix.Stat(d.path, &d.before) // all zero if it is not there yet
	return d, nil
}

// dumpName asks GCC's driver (-###) for the names that it gives to cc1, from
// which that makes the name of the dump (gcc/dumpfile.cc: get_dump_file_name).
func (r *runner) dumpName(ctx context.Context) (string, error) {
	advice := "; give the dump a name: -fdump-ipa-clones=FILE"
	if r.real.Version[0] < 11 {
		return "", usagef("%s with -fdump-ipa-clones: %s has other rules for the names of dumps%s", listOption, r.real, advice)
	}
	out, err := run.Run(ctx, run.Cmd{Argv: append(slices.Clone(r.args), "-###"), Env: append(os.Environ(), "LC_ALL=C", "CCACHE_DISABLE=1")})
	if err != nil {
		return "", fmt.Errorf("find the .ipa-clones dump that the command line asks for: %w", err)
	}
	for line := range strings.Lines(string(out.Stderr)) {
		args := splitArgs(line)
		if len(args) == 0 || !strings.HasSuffix(args[0], "/cc1") || slices.Contains(args, "-E") {
			continue
		}
		dir, base := after(args, "-dumpdir"), after(args, "-dumpbase")
		if base != "" {
			return dir + base + ".000i.ipa-clones", nil
		}
	}
	return "", errors.New("find the .ipa-clones dump that the command line asks for: -### shows no cc1 with -dumpbase" + advice)
}

// after is the argument that follows an option.
func after(args []string, option string) string {
	if i := slices.Index(args, option); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// readOwn reads the user's dump, if this compile wrote it.
func (d *dump) readOwn() ([]byte, error) {
	var now unix.Stat_t
	if err := unix.Stat(d.path, &now); err != nil {
		return nil, fmt.Errorf("read the .ipa-clones dump %s: %w", d.path, err)
	}
	if now.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("read the .ipa-clones dump %s: it is no regular file", d.path)
	}
	if now.Ino == d.before.Ino && now.Mtim == d.before.Mtim && now.Ctim == d.before.Ctim {
		return nil, fmt.Errorf("read the .ipa-clones dump %s: this compile did not write it", d.path)
	}
	if now.Size > maxDump {
		return nil, fmt.Errorf("read the .ipa-clones dump %s: it is larger than %d bytes", d.path, maxDump)
	}
	data, err := os.ReadFile(d.path)
	if err != nil {
		return nil, fmt.Errorf("read the .ipa-clones dump: %w", err)
	}
	return data, nil
}
