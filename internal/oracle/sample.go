// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"kmend/internal/kbuild"
	"kmend/internal/patch"
)

// sampleDirs are the parts of the kernel that a sample is drawn from.
var sampleDirs = []string{"arch/x86", "block", "crypto", "drivers", "fs", "io_uring", "ipc", "kernel", "lib", "mm", "net", "security", "sound", "virt"}

// Sampler draws translation units that a configuration builds, in an order that
// only the seed decides: one of each part of the kernel in turn, so that
// drivers, which are most of it, do not crowd out the rest.
type Sampler struct {
	tree  *kbuild.Tree
	parts []*part
	next  int
}

// part is one directory of the sample.
type part struct {
	rest  []string          // sources not asked for yet
	ready []*kbuild.Command // built, in order
}

// sampleBatch is how many sources of each part are asked for at a time.
const sampleBatch = 12

// NewSampler lists the C files below sourceDir, which tree builds.
func NewSampler(ctx context.Context, tree *kbuild.Tree, sourceDir string, seed uint64) (*Sampler, error) {
	s := &Sampler{tree: tree}
	for i, d := range sampleDirs {
		list, err := files(ctx, sourceDir, d)
		if err != nil {
			return nil, err
		}
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		s.parts = append(s.parts, &part{rest: list})
	}
	return s, nil
}

// files lists the C files of the kernel below a directory, sorted; none if it is not
// there, as certs in older kernels.
func files(ctx context.Context, root, dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if rel = filepath.ToSlash(rel); err == nil && patch.Classify(rel) == patch.Source {
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the source of the kernel: %w", err)
	}
	slices.Sort(out)
	return out, nil
}

// Next returns the next unit, or nil when there is none left.
func (s *Sampler) Next(ctx context.Context) (*kbuild.Command, error) {
	for range s.parts {
		p := s.parts[s.next]
		s.next = (s.next + 1) % len(s.parts)
		if len(p.ready) == 0 {
			if err := s.fill(ctx); err != nil {
				return nil, err
			}
		}
		if len(p.ready) > 0 {
			c := p.ready[0]
			p.ready = p.ready[1:]
			return c, nil
		}
	}
	return nil, nil
}

// fill asks for the next sources of all parts that have no unit ready, in one
// run of make, until each has one or is at its end.
func (s *Sampler) fill(ctx context.Context) error {
	for {
		var ask []string
		owner := map[string]*part{}
		for _, p := range s.parts {
			if len(p.ready) > 0 {
				continue
			}
			n := min(sampleBatch, len(p.rest))
			for _, src := range p.rest[:n] {
				owner[src] = p
			}
			ask = append(ask, p.rest[:n]...)
			p.rest = p.rest[n:]
		}
		if len(ask) == 0 {
			return nil
		}
		built, err := s.tree.Built(ctx, ask)
		if err != nil {
			return fmt.Errorf("draw a sample: %w", err)
		}
		for _, c := range built {
			owner[c.Source].ready = append(owner[c.Source].ready, c)
		}
	}
}

// Pick chooses n of the functions of several units, each unit in turn giving
// one, in an order that only the seed decides. Units that run out give less.
func Pick(functions [][]string, n int, seed uint64) [][]string {
	out := make([][]string, len(functions))
	rest := make([][]string, len(functions))
	for i, list := range functions {
		rest[i] = slices.Clone(list)
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		r.Shuffle(len(rest[i]), func(a, b int) { rest[i][a], rest[i][b] = rest[i][b], rest[i][a] })
	}
	for taken := true; n > 0 && taken; {
		taken = false
		for i := range rest {
			if len(rest[i]) > 0 && n > 0 {
				out[i] = append(out[i], rest[i][0])
				rest[i] = rest[i][1:]
				n--
				taken = true
			}
		}
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}
