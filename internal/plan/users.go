// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"slices"
	"strings"

	"kmend/internal/kbuild"
	"kmend/internal/patch"
)

// findUnits finds the translation units that may read a file of the fix: what
// is compiled from it, and what includes it.
func findUnits(ctx context.Context, p *Plan, q *Request, tree *kbuild.Tree, files []*patch.AppliedFile) (units []*compiled, err error) {
	err = q.stage(p, "commands", func() error {
		have := map[string]bool{}
		for _, f := range files {
			commands, err := tree.Users(ctx, f.Path)
			var ue *kbuild.UsersError
			if errors.As(err, &ue) {
				p.refuse(Refusal{Code: CodeHeaderChanged, File: f.Path,
					Why:    "every translation unit that includes it may change with it: " + ue.Reason(),
					Advice: "move the change into the C files that need it, or reboot into a fixed kernel"})
				continue
			}
			if err != nil {
				return err
			}
			if len(commands) == 0 {
				r, err := notBuilt(ctx, tree, f)
				if err != nil {
					return err
				}
				p.refuse(r)
			}
			for _, c := range commands {
				if !have[c.Source] {
					have[c.Source] = true
					units = append(units, &compiled{source: c.Source, command: c})
				}
			}
		}
		slices.SortFunc(units, func(a, b *compiled) int { return strings.Compare(a.source, b.source) })
		return nil
	})
	return units, err
}

// notBuilt is the refusal of a file that no unit of the configuration reads.
func notBuilt(ctx context.Context, tree *kbuild.Tree, f *patch.AppliedFile) (Refusal, error) {
	r := Refusal{Code: CodeNotBuilt, File: f.Path, Why: "no translation unit of this kernel's configuration includes it", Advice: "leave the file out if this kernel has no code of it"}
	if f.Kind != patch.Source {
		return r, nil
	}
	_, err := tree.Commands(ctx, []string{f.Path})
	var not *kbuild.NotBuiltError
	if !errors.As(err, &not) {
		return r, err
	}
	r.Why = not.Error()
	return r, nil
}

// compileUser compiles a unit whose own source the fix leaves alone. When it
// reads none of the changed files, after is nil.
func compileUser(ctx context.Context, tree *kbuild.Tree, job kbuild.Job) (before, after *kbuild.Result, err error) {
	if before, err = tree.Compile(ctx, kbuild.Job{Command: job.Command}); err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(before.Deps, func(d string) bool { _, changed := job.Overlay[d]; return changed }) {
		return before, nil, nil
	}
	after, err = tree.Compile(ctx, job)
	return before, after, err
}

// readers keeps the units that read a file of the fix, and notes which. A file
// that none of them reads is refused: it has no code in this kernel.
func readers(p *Plan, units []*compiled, files []*patch.AppliedFile) (out []*compiled) {
	read := map[*patch.AppliedFile]bool{}
	failed := false
	for _, u := range units {
		if len(u.refusals) > 0 { // it did not compile: what it reads is not known
			failed = true
			out = append(out, u)
			continue
		}
		if u.after == nil {
			continue
		}
		for _, f := range files {
			if f.Path == u.source || slices.Contains(u.before.Deps, f.Path) || slices.Contains(u.after.Deps, f.Path) {
				u.edits = append(u.edits, f)
				read[f] = true
			}
		}
		out = append(out, u)
	}
	for _, f := range files {
		if !read[f] && !failed {
			p.refuse(Refusal{Code: CodeNotBuilt, File: f.Path, Why: "no translation unit of this kernel's configuration includes it", Advice: "leave the file out if this kernel has no code of it"})
		}
	}
	return out
}

// editsOf lists the files of the fix that changed units read.
func editsOf(works []*work) (out []*patch.AppliedFile) {
	for _, w := range works {
		for _, f := range w.edits {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// editedIn lists the functions with changed lines of several files.
func editedIn(files []*patch.AppliedFile) (names []string) {
	for _, f := range files {
		some, _ := EditedFunctions(f)
		names = append(names, some...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
