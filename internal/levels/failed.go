// SPDX-License-Identifier: Apache-2.0

package levels

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kmend/internal/run"
)

// failedObject finds objects in make's complaints.
var failedObject = regexp.MustCompile(`(?m)^make.*\*\*\* \[\S+: ([^\s\]]+\.o)\] Error `)

// failures are the units by which make failed: those that do not compile, each
// tried alone, for the compiler's reason; if there are none, those that the
// linker does not take.
func (b *build) failures(ctx context.Context, log []byte) (failed []Failure, err error) {
	for _, m := range failedObject.FindAllSubmatch(log, -1) {
		unit, err := b.unitOf(string(m[1]))
		if err != nil {
			return nil, err
		}
		f, err := b.alone(ctx, string(m[1]), unit)
		if err != nil {
			return nil, err
		}
		failed = append(failed, *f)
	}
	if len(failed) > 0 {
		return failed, nil
	}
	for _, l := range undefined(string(log)) {
		unit, err := b.unitOf(l.object)
		if err != nil {
			return nil, err
		}
		failed = append(failed, Failure{Unit: unit, Level: b.level, Reason: l.lines[0], Log: strings.Join(l.lines, "\n") + "\n"})
	}
	return failed, nil
}

// unitOf is the unit that an object is compiled from. It is an error if there is
// none, or if it is compiled without the level already.
func (b *build) unitOf(object string) (string, error) {
	unit := strings.TrimSuffix(object, ".o") + ".c"
	if _, err := os.Stat(filepath.Join(b.source, unit)); err != nil || !filepath.IsLocal(unit) {
		return "", fmt.Errorf("build a kernel at level %v: %s fails, and is not from a C file of the source; see %s", b.level, object, b.logFile())
	}
	if slices.ContainsFunc(b.state.Without, func(f Failure) bool { return f.Unit == unit }) {
		return "", fmt.Errorf("build a kernel at level %v: %s fails without the level, too; see %s", b.level, unit, b.logFile())
	}
	return unit, nil
}

// alone compiles one object by itself, for the reason why it fails.
func (b *build) alone(ctx context.Context, object, unit string) (*Failure, error) {
	out, err := run.Run(ctx, run.Cmd{Argv: b.argv(object)})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if out == nil {
		return nil, fmt.Errorf("build a kernel: %w", err)
	}
	log := strings.ReplaceAll(string(out.Stderr), b.source+"/", "")
	if err == nil || !strings.Contains(log, "error: ") {
		return nil, fmt.Errorf("build a kernel at level %v: %s failed, but not for a reason in its source; see %s", b.level, object, b.logFile())
	}
	return &Failure{Unit: unit, Level: b.level, Reason: firstError(log), Log: log}, nil
}

// unlinked is an object with references to symbols that do not exist.
type unlinked struct {
	object string
	lines  []string // what the linker says of it, without its own name
}

// inFunction is how GNU ld names the object that its next lines are about.
var inFunction = regexp.MustCompile(`^(?:\S*ld: )?([^\s:]+\.o): in function `)

// undefined reads the linker's complaints, by object in their order.
func undefined(log string) (out []unlinked) {
	current := ""
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if m := inFunction.FindStringSubmatch(line); m != nil {
			current = m[1]
		}
		if current == "" || !strings.Contains(line, ": undefined reference to ") {
			continue
		}
		i := slices.IndexFunc(out, func(u unlinked) bool { return u.object == current })
		if i < 0 {
			i = len(out)
			out = append(out, unlinked{object: current})
		}
		out[i].lines = append(out[i].lines, strings.TrimPrefix(line, "ld: "))
	}
	return out
}
