// SPDX-License-Identifier: Apache-2.0

package sourceplan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"kmend/internal/delta"
	"kmend/internal/extract"
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
	m := &maker{k: k, tree: tree, build: b, opt: opt, why: reasons(b.Plan), more: map[string]map[string]bool{}}
	built := b.Built()
	out := &Result{Units: make([]*Unit, len(built))}
	redo := make([]bool, len(built))
	for i := range redo {
		redo[i] = true
	}
	for {
		if err := m.units(ctx, built, out.Units, redo); err != nil {
			return nil, err
		}
		names := fileNames(b.Plan.Name, out.Units)
		var objects []plan.SourceObject
		for i, u := range out.Units {
			u.Object.File = names[i]
			objects = append(objects, u.Object)
		}
		out.Build, err = b.FromSource(ctx, objects)
		var must *plan.CopyError
		if err == nil && !m.opt.AllIncludes && incomplete(out.Build.Plan) {
			m.opt.AllIncludes = true
			for i := range redo {
				redo[i] = true
			}
			continue
		}
		if !errors.As(err, &must) {
			break
		}
		if err := m.copyMore(must); err != nil {
			return nil, err
		}
		for i := range built {
			redo[i] = built[i].Source == must.Source
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make a plan of the extracted files: %w", err)
	}
	var files []*extract.File
	for _, u := range out.Units {
		files = append(files, u.File)
	}
	return out, opt.Policy.CheckUsed(files)
}

// incomplete reports whether a file declares a type unlike its unit: a header
// that would complete it was left out.
func incomplete(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Refusals, func(r plan.Refusal) bool {
		return r.Code == plan.CodeExtractedData && strings.Contains(r.Why, "declares it unlike the unit")
	})
}

// units extracts from the units to be done, two at a time.
func (m *maker) units(ctx context.Context, built []plan.BuiltUnit, out []*Unit, redo []bool) error {
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i := range built {
		if !redo[i] {
			continue
		}
		g.Go(func() (err error) {
			out[i], err = m.unit(ctx, &built[i])
			mu.Lock()
			defer mu.Unlock()
			if done++; m.opt.Progress != nil {
				m.opt.Progress("extract", done, len(built))
			}
			return err
		})
	}
	return g.Wait()
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
