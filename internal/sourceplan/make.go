// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"kmend/internal/delta"
	"kmend/internal/kbuild"
	"kmend/internal/kernel"
	"kmend/internal/plan"
)

// Result is a plan made the source way.
type Result struct {
	Build *plan.Build
	Units []*Unit
}

// Make extracts a file for each unit of a plan, compiles it, and makes the plan
// whose new code is theirs. b has the verdict Patch. The error is an
// *extract.Error if no file can be cut.
func Make(ctx context.Context, k *kernel.Kernel, b *plan.Build, opt Options) (*Result, error) {
	tree, err := kbuild.Open(k)
	if err != nil {
		return nil, err
	}
	m := &maker{k: k, tree: tree, build: b, opt: opt, why: reasons(b.Plan)}
	built := b.Built()
	out := &Result{Units: make([]*Unit, len(built))}
	if opt.Progress != nil {
		opt.Progress("extract", 0, len(built))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i := range built {
		g.Go(func() (err error) {
			out.Units[i], err = m.unit(gctx, &built[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	names := fileNames(b.Plan.Name, out.Units)
	var objects []plan.SourceObject
	for i, u := range out.Units {
		u.Object.File = names[i]
		objects = append(objects, u.Object)
	}
	if out.Build, err = b.FromSource(ctx, objects); err != nil {
		return nil, fmt.Errorf("make a plan of the extracted files: %w", err)
	}
	return out, nil
}

// reasons says of each function why it is in a plan.
func reasons(p *plan.Plan) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, o := range p.Objects {
		for _, f := range o.Functions {
			if out[f.Unit] == nil {
				out[f.Unit] = map[string]string{}
			}
			why := f.Reason.Kind
			if f.Reason.Text != "" {
				why = f.Reason.Text
			}
			out[f.Unit][delta.Source(f.Name)] = why
		}
	}
	return out
}
